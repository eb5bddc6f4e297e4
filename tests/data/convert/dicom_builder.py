"""Writes DICOM series of chosen geometry and content."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, RLELossless, generate_uid

AXES = np.array([[1.0, 0, 0], [0, 1, 0]])
SHAPE = (12, 10)
"""Columns, rows."""
SPACING = (0.75, 1.25)
"""Mm between columns, between rows."""


def linear_hu(position: NDArray[np.float64]) -> NDArray[np.float64]:
    """HU that are a linear function of the position in mm, LPS (..., 3)."""
    return position @ np.array([2.0, -3.0, 5.0]) + 40.0


def positions(first: NDArray[np.float64], axes: NDArray[np.float64] = AXES) -> NDArray[np.float64]:
    """The position of each pixel of a slice, (columns, rows, 3)."""
    columns, rows = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    return first + columns[..., None] * axes[0] * SPACING[0] + rows[..., None] * axes[1] * SPACING[1]


def write_series(
    folder: Path,
    places: Sequence[Sequence[float]] = tuple((0.0, 0.0, 2.0 * k) for k in range(6)),
    *,
    axes: NDArray[np.float64] = AXES,
    hu: Callable[[NDArray[np.float64]], NDArray[np.float64]] = linear_hu,
    slope: float = 1.0,
    intercept: float = -1024.0,
    change: Callable[[FileDataset, int], Any] = lambda header, number: None,
    **elements: Any,
) -> list[Path]:
    """Write a slice at each of ``places`` and return the files, in an order that says nothing.

    Args:
        folder: made if it is not there.
        places: the position of the first pixel of each slice in mm, LPS.
        axes: along a row and along a column.
        hu: the value at a position.
        slope, intercept: the rescale.
        change: does something to each header, given the number of the slice.
        elements: DICOM elements that replace those of every header.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    order = np.random.default_rng(len(places)).permutation(len(places))
    paths = [folder / f"IM{place:04d}" for place in order]
    for number, (path, place) in enumerate(zip(paths, places, strict=True)):
        header = _header(series, np.asarray(place, float), axes)
        header.RescaleSlope, header.RescaleIntercept = slope, intercept
        for name, value in elements.items():
            setattr(header, name, value)
        change(header, number)
        values = hu(positions(np.asarray(place, float), axes))
        stored = np.round((values - float(header.RescaleIntercept)) / float(header.RescaleSlope))
        header.PixelData = stored.astype(np.int16).T.tobytes()
        header.save_as(path, enforce_file_format=True)
    return sorted(paths)


def _header(series: str, place: NDArray[np.float64], axes: NDArray[np.float64]) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
    header.SOPClassUID, header.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    header.Modality, header.ImageType, header.PatientID = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"], "p1"
    header.SeriesInstanceUID, header.AcquisitionNumber = series, 1
    header.ImagePositionPatient = [float(f"{value:.6f}") for value in place]
    header.ImageOrientationPatient = [float(f"{value:.8f}") for value in axes.ravel()]
    header.PixelSpacing = [SPACING[1], SPACING[0]]
    header.Columns, header.Rows = SHAPE
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 1
    return header


def compress(path: Path, compressor: str) -> None:
    """Write a file anew with its pixels compressed without loss: ``RLE``, ``JPEG``, ``JPEGLS`` or ``JPEG2000``."""
    header = pydicom.dcmread(path)
    if compressor == "RLE":
        header.compress(RLELossless)
    else:
        packed = pydicom.dcmread(_packed_by_gdcm(header.pixel_array, path.with_suffix(".packed"), compressor))
        header.file_meta.TransferSyntaxUID, header.PixelData = packed.file_meta.TransferSyntaxUID, packed.PixelData
        header["PixelData"].is_undefined_length = True
    header.save_as(path, enforce_file_format=True)


def _packed_by_gdcm(pixels: NDArray[Any], path: Path, compressor: str) -> io.BytesIO:
    writer = SimpleITK.ImageFileWriter()
    writer.SetImageIO("GDCMImageIO")
    writer.SetFileName(str(path))
    writer.UseCompressionOn()
    writer.SetCompressor(compressor)
    writer.Execute(SimpleITK.GetImageFromArray(pixels.astype(np.int16)))
    content = io.BytesIO(path.read_bytes())
    path.unlink()
    return content
