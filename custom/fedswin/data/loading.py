"""From the image files of a site to sub-volumes: preprocessed once and cached, then cropped by seed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.data import CacheDataset, Dataset, PersistentDataset
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureTyped,
    FgBgToIndicesd,
    LoadImaged,
    MapLabelValue,
    NormalizeIntensityd,
    Orientationd,
    ScaleIntensityRanged,
    Spacingd,
    SpatialPadd,
    Transform,
)
from torch import Tensor

from fedswin.config import DataSettings, Job
from fedswin.data.cache import cache_folder
from fedswin.data.datalist import Case

Item = dict[str, Tensor]
"""A preprocessed case in RAS: ``image`` (channels, X, Y, Z), float32, for CT of 0 to 1. For fine-tuning also ``label``
(1, X, Y, Z), uint8 class indices, and the flat indices of its ``label_fg_indices`` and ``label_bg_indices``."""

_AIR_HU = -500.0
_REDRAWS = 20


def preprocessing(job: Job) -> Compose:
    """Return the deterministic part of loading: RAS, spacing, intensities, foreground crop, padding.

    It maps ``{"image": path}`` (for fine-tuning also ``"label": path`` and ``"class_indices": {label value: class
    index}``) to an `Item`. A pre-training job has no label key anywhere, so it cannot open one.
    """
    finetuning = job.task == "finetune"
    keys = ["image", "label"] if finetuning else ["image"]
    steps = _grid_and_intensities(job.data, keys)
    if finetuning:
        steps += [_ClassIndices(), FgBgToIndicesd("label", image_key="image" if job.data.is_ct else None)]
    return Compose([*steps, EnsureTyped(keys, track_meta=False)])


def image_preprocessing(data: DataSettings) -> Compose:
    """Return what `preprocessing` does to an image, for an image without a label.

    It maps ``{"image": path}`` to ``{"image": MetaTensor}`` of shape (channels, X, Y, Z), whose ``affine`` says where
    the preprocessed voxels lie, and whose ``meta["original_affine"]`` says where those of the file do.
    """
    return Compose(_grid_and_intensities(data, ["image"]))


def to_class_indices(label: Tensor, indices: Mapping[int, int]) -> Tensor:
    """Replace label values by class indices, uint8, as ``indices`` says: ``{label value: class index}``."""
    return MapLabelValue(list(indices.keys()), list(indices.values()), dtype=torch.uint8)(label)


class Volumes:
    """The preprocessed cases of one split, in memory or on disk.

    Args:
        cases: the cases; for fine-tuning each must have a label.
        job: decides the preprocessing and the cache.
        progress: called after each case that is made ready at the start.

    Raises:
        FedSwinError: for fine-tuning, if the datalist of a case and the job do not fit; see `Annotation.class_indices`.
    """

    def __init__(self, cases: Sequence[Case], job: Job, progress: Callable[[str], None] = lambda _: None) -> None:
        entries = [_entry(case, job) for case in cases]
        self._dataset = _dataset(entries, preprocessing(job), job.data.cache)
        for number in range(len(entries)):
            self._dataset[number]
            progress(f"read case {number + 1} of {len(entries)}")

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, number: int) -> Item:
        return dict(self._dataset[number])


def case_order(cases: int, first: int, count: int, rng_of_epoch: Callable[[int], np.random.Generator]) -> list[int]:
    """Return which case each of ``count`` draws, from the ``first`` on, reads: every case once an epoch."""
    draws = range(first, first + count)
    orders = {epoch: rng_of_epoch(epoch).permutation(cases) for epoch in {draw // cases for draw in draws}}
    return [int(orders[draw // cases][draw % cases]) for draw in draws]


def random_crop(volume: Tensor, data: DataSettings, rng: np.random.Generator) -> Tensor:
    """Cut a random sub-volume of ``data.roi`` from ``volume`` (1, X, Y, Z).

    A crop with less than 1 % of its voxels above air is drawn again, at most 20 times; then it is taken
    as it is.
    """
    for _ in range(_REDRAWS):
        starts = [int(rng.integers(size - side + 1)) for size, side in zip(volume.shape[1:], data.roi, strict=True)]
        x, y, z = (slice(start, start + side) for start, side in zip(starts, data.roi, strict=True))
        crop = volume[:, x, y, z]
        if (crop > air_level(data)).float().mean() >= 0.01:
            break
    return crop


def air_level(data: DataSettings) -> float:
    """Return what -500 HU, between body and air, is in a windowed image, 0 to 1."""
    low, high = data.hu_window
    return min(max((_AIR_HU - low) / (high - low), 0.0), 1.0)


def _windowed(keys: Sequence[str], data: DataSettings) -> list[Callable[..., Any]]:
    return [
        ScaleIntensityRanged("image", *data.hu_window, 0.0, 1.0, clip=True),
        CropForegroundd(keys, source_key="image", select_fn=_AboveAir(data), allow_smaller=True),
    ]


def _standardised(keys: Sequence[str], data: DataSettings) -> list[Callable[..., Any]]:
    return [
        CropForegroundd(keys, source_key="image", allow_smaller=True),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    ]


class _AboveAir:
    """Tells body from air in a windowed image; a class, so that a cache on disk can name it."""

    def __init__(self, data: DataSettings) -> None:
        self.level = air_level(data)

    def __call__(self, image: Tensor) -> Tensor:
        return image > self.level


def _grid_and_intensities(data: DataSettings, keys: list[str]) -> list[Callable[..., Any]]:
    steps: list[Callable[..., Any]] = [
        _nifti_reader(keys),
        Orientationd(keys, axcodes="RAS", labels=None),
    ]
    if data.spacing:
        modes = ["bilinear" if key == "image" else "nearest" for key in keys]
        steps.append(Spacingd(keys, pixdim=data.spacing, mode=modes))
    intensities = _windowed if data.is_ct else _standardised
    return [*steps, *intensities(keys, data), SpatialPadd(keys, data.roi)]


def _nifti_reader(keys: list[str]) -> LoadImaged:
    """Return MONAI's reader. It makes every reader that it knows, and one of them tells that its library is missing."""
    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "NvImgCodecPydicomReader")
        return LoadImaged(keys, reader="NibabelReader", image_only=True, ensure_channel_first=True)


class _ClassIndices(Transform):
    """Turns label values into class indices, by each case's own table: sites may number their labels differently."""

    def __call__(self, entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "label": to_class_indices(entry["label"], entry["class_indices"])}


def _entry(case: Case, job: Job) -> dict[str, Any]:
    entry: dict[str, Any] = {"image": str(case.image), "stamp": _stamp(case.image), "settings": repr(job.data)}
    if job.task == "finetune":
        if case.label is None:
            raise ValueError(f"{case.image} has no label")
        entry |= {"label": str(case.label), "stamp_of_label": _stamp(case.label)}
        entry["class_indices"] = case.annotation.class_indices(job.segmentation)
    return entry


def _stamp(path: Path) -> list[int]:
    """What changes when the file does; a cache on disk is keyed by the whole entry."""
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _dataset(entries: list[dict[str, Any]], transform: Compose, cache: str) -> Dataset:
    if cache == "memory":
        return CacheDataset(entries, transform, runtime_cache=True, progress=False, copy_cache=False, num_workers=None)
    return PersistentDataset(entries, transform, cache_dir=cache_folder())
