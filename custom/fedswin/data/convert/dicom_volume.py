"""Read a DICOM series as one volume in HU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from fedswin.data.convert.dicom_header import read_slice
from fedswin.data.convert.regrid import regrid
from fedswin.data.convert.source import ConversionRefusedError, Source, Volume
from fedswin.data.convert.stack import Stack
from fedswin.data.convert.voxel_type import compact


def read_series(source: Source, *, resample: bool) -> Volume:
    """Read the slices that `fedswin.data.convert.dicom_series.find_series` put together.

    The geometry is judged from the headers before any pixel is decoded. SimpleITK decodes the pixels, compressed or
    not, and applies each slice's own rescale to HU.

    Args:
        source: the series.
        resample: bring a tilted or uneven stack onto a regular grid, instead of refusing it.

    Raises:
        ConversionRefusedError: if a file cannot be read, or the stack is no regular grid.
    """
    stack = Stack([read_slice(path) for path in source.files])
    if not resample:
        stack.require_regular()
    voxels = np.empty((*stack.slices[0].shape, len(stack.slices)), np.float32)
    for number, item in enumerate(stack.slices):
        voxels[..., number] = _pixels(item.path, item.shape)
    if stack.is_tilted or not stack.has_even_steps:
        volume = regrid(stack, voxels)
        return volume._replace(voxels=compact(np.round(volume.voxels)))
    return Volume(compact(voxels), stack.affine(stack.heights[-1] / (len(stack.slices) - 1)))


def _pixels(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    reader.SetOutputPixelType(SimpleITK.sitkFloat32)
    try:
        image = reader.Execute()
    except RuntimeError:  # its message holds the path
        raise ConversionRefusedError("pixels that cannot be decoded") from None
    if image.GetSize()[:2] != shape or image.GetNumberOfComponentsPerPixel() != 1:
        raise ConversionRefusedError("pixels that are not what the header says")
    return np.ascontiguousarray(SimpleITK.GetArrayFromImage(image).reshape(shape[::-1]).T)
