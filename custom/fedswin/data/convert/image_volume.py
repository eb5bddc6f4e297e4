"""Read a volume, or a label map, from a file of NIfTI, NRRD or MetaImage."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from fedswin.data.convert.image_files import form_of
from fedswin.data.convert.source import ConversionRefusedError, Volume
from fedswin.data.convert.stack import LPS_TO_RAS
from fedswin.data.convert.text_header import find_data
from fedswin.data.convert.voxel_type import compact
from fedswin.data.volume import (
    UnreadableError,
    VolumeError,
    read_volume,
    read_voxels,
    require_affine,
    require_bytes,
    require_same_grid,
)

_DAMAGED = "truncated or damaged"
_COPY = "Copy or convert it again."
_NO_MEMORY = "allocate memory"  # as SimpleITK says it
_IO = {"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}


def read_file(path: Path) -> Volume:
    """Read a volume; nothing of its header but the geometry is taken over.

    Raises:
        ConversionRefusedError: if it cannot be read, claims more than its file holds, or is no 3-D volume of finite
            numbers.
        MemoryError: if it is what it says, and too large for this process.
    """
    try:
        if form_of(path) == "NIfTI":
            return Volume(compact(read_voxels(path)), np.asarray(read_volume(path).affine, np.float64))
        return _read_by_itk(path)
    except UnreadableError as error:
        if isinstance(error.__context__, MemoryError):
            raise MemoryError from None
        raise ConversionRefusedError(_DAMAGED, _COPY) from None  # the message may quote the path
    except VolumeError as error:
        raise ConversionRefusedError(error.problem, error.fix) from None


def read_label(path: Path, image: Volume) -> NDArray[Any]:
    """Read the label map of an image, (x, y, z), uint8 where its values fit, else int16.

    Raises:
        ConversionRefusedError: as `read_file`; also if it is not on the image's grid, or its values are no whole
            numbers of 16 bits.
    """
    label = read_file(path)
    try:
        require_same_grid(path, nib.Nifti1Image(*image[:2]), nib.Nifti1Image(*label[:2]))
    except VolumeError as error:
        raise ConversionRefusedError(error.problem, error.fix) from None
    if label.voxels.dtype != np.int16:
        fix = "Make it again with nearest-neighbour interpolation."
        raise ConversionRefusedError("values that are no whole numbers of 16 bits", fix)
    small = label.voxels.astype(np.uint8)
    return small if np.array_equal(small, label.voxels) else label.voxels


def _read_by_itk(path: Path) -> Volume:
    data = find_data(path)
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(_IO[form_of(path)])
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        claimed = math.prod(reader.GetSize()) * _voxel_bytes(reader)
        require_bytes(data.path, claimed, is_packed=data.is_packed)
        voxels = SimpleITK.GetArrayFromImage(reader.Execute()).T
    except RuntimeError as error:
        if _NO_MEMORY in str(error):
            raise MemoryError from None
        raise ConversionRefusedError(_DAMAGED, _COPY) from None  # the message holds the path
    bad = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if bad:
        raise ConversionRefusedError(f"{bad} of {voxels.size} voxels are NaN or infinite", "Convert it again.")
    return Volume(compact(voxels), _affine(path, reader))


def _voxel_bytes(reader: SimpleITK.ImageFileReader) -> int:
    if reader.GetDimension() != 3 or reader.GetNumberOfComponents() != 1:
        shape = f"{reader.GetDimension()}-D with {reader.GetNumberOfComponents()} numbers a voxel"
        raise ConversionRefusedError(f"no 3-D volume: {shape}", "Give each 3-D volume its own file.")
    voxel = SimpleITK.GetArrayViewFromImage(SimpleITK.Image([1, 1, 1], reader.GetPixelID()))
    if voxel.dtype.kind not in "iuf":
        raise ConversionRefusedError("its voxels are no real numbers", "Convert it to int16 or float32.")
    return voxel.itemsize


def _affine(path: Path, reader: SimpleITK.ImageFileReader) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (3, 3)) * reader.GetSpacing()
    affine[:3, 3] = reader.GetOrigin()
    require_affine(path, affine)
    return LPS_TO_RAS @ affine
