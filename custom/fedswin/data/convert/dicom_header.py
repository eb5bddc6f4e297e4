"""The header of one DICOM file, read without trusting it: which slice it is, or why it is no slice of CT."""

from __future__ import annotations

import mmap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage

from fedswin.data.convert.source import ConversionRefusedError

_TAGS = [
    *("SpecificCharacterSet", "SOPClassUID", "Modality", "ImageType", "BurnedInAnnotation"),
    *("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "AcquisitionNumber"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames"),
    *("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "RescaleSlope", "RescaleIntercept"),
]
_META_BYTES = 4096
"""The transfer syntax of a file stands within so many bytes of its beginning."""
_MODALITIES = {
    *("CR", "DX", "KO", "MG", "MR", "NM", "OT", "PR", "PT", "REG"),
    *("RF", "RTDOSE", "RTPLAN", "RTSTRUCT", "SC", "SEG", "SR", "US", "XA"),
}
"""Those that a reason may name: anything else might be no modality at all."""
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENHANCED = (EnhancedCTImageStorage, LegacyConvertedEnhancedCTImageStorage)
_SCREENSHOTS = {"SCREEN SAVE", "SCREEN CAPTURE", "DOSE_INFO", "DOSE INFO"}
_PIXELS_A_BYTE = 1000
"""More than any lossless compression of CT comes to: the most that a compressed slice may claim."""


@dataclass(frozen=True)
class Slice:
    """What the header of a file says of a slice of CT.

    Attributes:
        path: the file.
        series: its SeriesInstanceUID.
        patient: its PatientID, or where that is empty the StudyInstanceUID.
        acquisition: its AcquisitionNumber, if it has one.
        shape: (columns, rows), as voxels are indexed here.
        spacing: mm between columns, and between rows.
        axes: (2, 3), the unit vectors along a row and along a column, in the LPS space of DICOM.
        position: (3,), the centre of the first pixel in mm, LPS.
        pixels_at: where in the file the pixels begin.
    """

    path: Path
    series: str
    patient: str
    acquisition: str
    shape: tuple[int, int]
    spacing: tuple[float, float]
    axes: NDArray[np.float64]
    position: NDArray[np.float64]
    pixels_at: int

    @property
    def normal(self) -> NDArray[np.float64]:
        """The unit vector across the slice."""
        return np.cross(self.axes[0], self.axes[1])


def read_slice(path: Path) -> Slice:
    """Read the header of a file.

    Raises:
        ConversionRefusedError: if it is not DICOM, no single slice of CT, or claims what the file cannot hold.
    """
    try:
        return _read(path)
    except ConversionRefusedError:
        raise
    except Exception as error:  # a damaged header makes pydicom raise almost anything
        raise ConversionRefusedError(f"a DICOM header that cannot be read ({type(error).__name__})") from None


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def _read(path: Path) -> Slice:
    if not is_dicom(path):
        raise ConversionRefusedError("not DICOM")
    # Not the file itself: asked for the length that a damaged header claims, it would set aside as much memory.
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # pydicom's, about values that are checked here
        if (
            DeflatedExplicitVRLittleEndian.encode() in content[:_META_BYTES]
        ):  # pydicom would inflate it, whatever its size
            raise ConversionRefusedError("deflated as a whole", "Unpack it, with dcmconv for example.")
        header = pydicom.dcmread(content, stop_before_pixels=True, specific_tags=_TAGS)
        pixels_at = content.tell()
        _refuse_other_kinds(header)
        _refuse_impossible_size(header, len(content) - pixels_at - (8 if header.is_implicit_VR else 12))
        return _slice(path, header, pixels_at)


def _refuse_other_kinds(header: Dataset) -> None:
    kind = [str(part).upper() for part in header.get("ImageType") or ()]
    if "Rows" not in header:
        raise ConversionRefusedError("no image (a report, a directory or the like)")
    if str(header.SOPClassUID).startswith(_SECONDARY_CAPTURE) or _SCREENSHOTS.intersection(kind):
        raise ConversionRefusedError("a secondary capture (a screenshot or the like)")
    if header.get("Modality") != "CT":
        raise ConversionRefusedError(f"{_modality(header)}, not CT")
    if header.get("SamplesPerPixel", 1) != 1:
        raise ConversionRefusedError("in colour, so not HU")
    if "LOCALIZER" in kind:
        raise ConversionRefusedError("a scout (localizer)")
    if str(header.get("BurnedInAnnotation", "")).upper() == "YES":
        raise ConversionRefusedError("text is burnt into its pixels, which may be a name")
    if header.SOPClassUID in _ENHANCED or int(header.get("NumberOfFrames") or 1) != 1:
        raise ConversionRefusedError("enhanced multi-frame CT", "Export it as one file a slice.")
    if header.get("PhotometricInterpretation") != "MONOCHROME2":
        raise ConversionRefusedError("not MONOCHROME2, so not HU")
    if "RescaleIntercept" not in header or "RescaleSlope" not in header:
        raise ConversionRefusedError("without a rescale to HU")


def _modality(header: Dataset) -> str:
    value = str(header.get("Modality", ""))
    return value if value in _MODALITIES else "another modality"


def _refuse_impossible_size(header: Dataset, available: int) -> None:
    rows, columns, bits = int(header.Rows), int(header.Columns), int(header.BitsAllocated)
    is_compressed = bool(header.file_meta.TransferSyntaxUID.is_compressed)
    claimed = rows * columns if is_compressed else rows * columns * bits // 8
    if min(rows, columns) < 1 or claimed > available * (_PIXELS_A_BYTE if is_compressed else 1):
        raise ConversionRefusedError(f"cut off: {available} bytes cannot hold {rows} x {columns} pixels of {bits} bits")


def _slice(path: Path, header: Dataset, pixels_at: int) -> Slice:
    spacing = _numbers(header, "PixelSpacing", 2)
    axes = _numbers(header, "ImageOrientationPatient", 6).reshape(2, 3)
    if spacing.min() <= 0 or not np.allclose(axes @ axes.T, np.eye(2), atol=1e-3):
        raise ConversionRefusedError("a slice whose geometry is damaged")
    return Slice(
        path=path,
        series=str(header.SeriesInstanceUID),
        patient=str(header.get("PatientID") or header.get("StudyInstanceUID") or ""),
        acquisition=str(header.get("AcquisitionNumber", "") or ""),
        shape=(int(header.Columns), int(header.Rows)),
        spacing=(float(spacing[1]), float(spacing[0])),
        axes=axes / np.linalg.norm(axes, axis=1, keepdims=True),
        position=_numbers(header, "ImagePositionPatient", 3),
        pixels_at=pixels_at,
    )


def _numbers(header: Dataset, key: str, count: int) -> NDArray[np.float64]:
    value: Any = header.get(key)
    if value is None or len(value) != count:
        raise ConversionRefusedError(f"without {key}")
    numbers = np.array([float(part) for part in value])
    if not np.isfinite(numbers).all():
        raise ConversionRefusedError("a slice whose geometry is damaged")
    return numbers
