"""From the image files of a site to sub-volumes: preprocessed once and cached, then cropped by seed."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
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

from fedswin.checksum import file_sha256
from fedswin.config import DataSettings, Job
from fedswin.data.cache import cache_folder
from fedswin.data.datalist import Case
from fedswin.data.disk_cache import DiskCache
from fedswin.data.prepared import Arrays, Prepared, as_kept

_FORMAT = 1
"""Of what is kept of a case. A change of `preprocessing` or `as_kept` that changes a bit needs another one."""
_AIR_HU = -500.0
_REDRAWS = 20


def preprocessing(job: Job) -> Compose:
    """Return the deterministic part of loading: RAS, spacing, intensities, foreground crop, padding.

    It maps ``{"image": path}`` to ``image`` (channels, X, Y, Z), float32, for CT of 0 to 1. For fine-tuning it maps
    ``"label": path`` and ``"class_indices": {label value: class index}`` to ``label`` (1, X, Y, Z), uint8 class
    indices, and the flat indices of its ``label_fg_indices`` and ``label_bg_indices``. A pre-training job has no label
    key anywhere, so it cannot open one.
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
    """The preprocessed cases of one split, in memory or on disk, with the same bits in both.

    Args:
        cases: the cases; for fine-tuning each must have a label.
        job: decides the preprocessing and the cache.
        progress: called after each case that is made ready at the start.

    Attributes:
        patients: a number for the patient of each case; pooled sites have patients of their own.

    Raises:
        FedSwinError: for fine-tuning, if the datalist of a case and the job do not fit; see `Annotation.class_indices`.
    """

    def __init__(self, cases: Sequence[Case], job: Job, progress: Callable[[str], None] = lambda _: None) -> None:
        own = [(case.site, case.patient) for case in cases]
        numbers = {patient: number for number, patient in enumerate(dict.fromkeys(own))}
        self.patients = [numbers[patient] for patient in own]
        entries = [_entry(case, job) for case in cases]
        kept = _keeper(job)
        self._cases: list[Prepared] = []
        for number, entry in enumerate(entries, start=1):
            self._cases.append(Prepared(kept(entry), job.data))
            progress(f"read case {number} of {len(entries)}")

    def __len__(self) -> int:
        return len(self._cases)

    def __getitem__(self, number: int) -> Prepared:
        return self._cases[number]


def case_order(cases: int, first: int, count: int, rng_of_epoch: Callable[[int], np.random.Generator]) -> list[int]:
    """Return which case each of ``count`` draws, from the ``first`` on, reads: every case once an epoch."""
    draws = range(first, first + count)
    orders = {epoch: rng_of_epoch(epoch).permutation(cases) for epoch in {draw // cases for draw in draws}}
    return [int(orders[draw // cases][draw % cases]) for draw in draws]


def random_crop(volume: Prepared, data: DataSettings, rng: np.random.Generator) -> Tensor:
    """Cut a random sub-volume of ``data.roi`` (channels, X, Y, Z) from ``volume``.

    A crop with less than 1 % of its voxels above air is drawn again, at most 20 times; then it is taken
    as it is.
    """
    for _ in range(_REDRAWS):
        starts = [int(rng.integers(size - side + 1)) for size, side in zip(volume.shape, data.roi, strict=True)]
        crop = volume.image(tuple(slice(start, start + side) for start, side in zip(starts, data.roi, strict=True)))
        if (crop > air_level(data)).float().mean() >= 0.01:
            break
    return crop


def air_level(data: DataSettings) -> float:
    """Return what -500 HU, between body and air, is in a windowed image, 0 to 1."""
    low, high = data.hu_window
    return min(max((_AIR_HU - low) / (high - low), 0.0), 1.0)


def _windowed(keys: Sequence[str], data: DataSettings) -> list[Callable[..., Any]]:
    level = air_level(data)
    return [
        ScaleIntensityRanged("image", *data.hu_window, 0.0, 1.0, clip=True),
        CropForegroundd(keys, source_key="image", select_fn=lambda image: image > level, allow_smaller=True),
    ]


def _standardised(keys: Sequence[str], data: DataSettings) -> list[Callable[..., Any]]:
    return [
        CropForegroundd(keys, source_key="image", allow_smaller=True),
        NormalizeIntensityd("image", nonzero=True, channel_wise=True),
    ]


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
    entry: dict[str, Any] = {"image": str(case.image)}
    if job.task == "finetune":
        if case.label is None:
            raise ValueError(f"{case.image} has no label")
        entry |= {"label": str(case.label), "class_indices": case.annotation.class_indices(job.segmentation)}
    return entry


def _keeper(job: Job) -> Callable[[dict[str, Any]], Arrays]:
    """Return what makes of the files of a case what is kept of it."""
    prepare = preprocessing(job)

    def make(entry: dict[str, Any]) -> Arrays:
        return as_kept(prepare(entry), job.data)

    if job.data.cache == "memory":
        return make
    cache = DiskCache(cache_folder())
    return lambda entry: cache.get(_identity(entry, job.data), lambda: make(entry))


def _identity(entry: Mapping[str, Any], data: DataSettings) -> dict[str, Any]:
    """Return all that decides what is kept of a case: contents of files, not their names or ages."""
    return {
        "format": _FORMAT,
        "monai": monai.__version__,
        "files": {key: file_sha256(Path(entry[key])) for key in ("image", "label") if key in entry},
        "class_indices": sorted(entry.get("class_indices", {}).items()),
        "hu_window": data.hu_window if data.is_ct else None,
        "spacing": data.spacing,
        "roi": data.roi,  # what is smaller is padded to it
    }
