"""Random crops and augmentations of fine-tuning, all MONAI's."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from monai.transforms import (
    Compose,
    EnsureTyped,
    Lambdad,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandRotate90d,
    RandScaleIntensityd,
    RandShiftIntensityd,
)

from fedswin.config import Job
from fedswin.data.prepared import as_read


def training_transforms(job: Job) -> Compose:
    """Return crop, flips, quarter turns and intensity changes for what `Prepared.stored` returns.

    Half of the crops are centred on an organ voxel. The result is a list with one
    ``{"image", "label"}``, both (1, X, Y, Z) of ``data.roi``.
    """
    keys, chance = ["image", "label"], job.augmentation
    crop = RandCropByPosNegLabeld(
        keys,
        label_key="label",
        spatial_size=job.data.roi,
        pos=1,
        neg=1,
        num_samples=1,
        fg_indices_key="label_fg_indices",
        bg_indices_key="label_bg_indices",
    )
    read = Lambdad("image", lambda kept: as_read(kept, job.data))
    flips = [RandFlipd(keys, prob=chance.flip, spatial_axis=axis) for axis in range(3)]
    turns = [
        RandRotate90d(keys, prob=chance.rotate90, spatial_axes=plane) for plane in _square_planes(job.data.roi)[:1]
    ]
    intensity = [
        RandScaleIntensityd("image", factors=0.1, prob=chance.scale_intensity),
        RandShiftIntensityd("image", offsets=0.1, prob=chance.shift_intensity),
    ]
    return Compose([crop, read, *flips, *turns, *intensity, EnsureTyped(keys, track_meta=False)])


def _square_planes(roi: Sequence[int]) -> list[tuple[int, int]]:
    """The planes in which a quarter turn keeps the shape of the sub-volume."""
    return [(first, second) for first, second in combinations(range(3), 2) if roi[first] == roi[second]]
