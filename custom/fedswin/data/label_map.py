"""Label maps as files: the reference of a case, and what a model predicts for an image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray

from fedswin.data.loading import to_class_indices
from fedswin.data.volume import read_volume, read_voxels, require_label_values, require_same_grid

_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def read_class_indices(path: Path, image: nib.Nifti1Image, indices: Mapping[int, int]) -> NDArray[np.uint8]:
    """Read the label map of ``image`` as class indices, on its own grid.

    Args:
        path: the label map.
        image: the image.
        indices: ``{label value: class index}``.

    Raises:
        VolumeError: if it cannot be read, lies off its image, or holds a value that ``indices`` does not know.
    """
    require_same_grid(path, image, read_volume(path))
    voxels = read_voxels(path)
    require_label_values(path, voxels, indices)
    return to_class_indices(torch.from_numpy(voxels.astype(np.int32)), indices).numpy()


def write_label_map(path: Path, indices: NDArray[np.uint8], classes: Mapping[str, int], image: nib.Nifti1Image) -> None:
    """Write class indices as label values, with the affine, qform and sform of the image they belong to.

    Of the image's header nothing else is taken over, for its free text may name the patient.

    Args:
        path: the file to write.
        indices: class indices, (X, Y, Z), of the image's shape.
        classes: the label value of each class, in the order of the indices 1, 2, …
        image: the image.
    """
    values = [0, *classes.values()]
    smallest = label_type(values)
    header = type(image.header)()
    for field in _GEOMETRY:
        header[field] = image.header[field]
    header.set_data_dtype(smallest)
    nib.save(type(image)(np.array(values, smallest)[indices], image.affine, header), path)


def label_type(values: Iterable[int]) -> np.dtype[Any]:
    """Return the smallest type of whole numbers, uint8 or larger, that holds all label values."""
    return np.result_type(np.uint8, *(np.min_scalar_type(value) for value in values))
