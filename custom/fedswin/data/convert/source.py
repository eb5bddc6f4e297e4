"""What a tree of files holds: volumes that can be converted, and what is left out, with the reason."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class ConversionRefusedError(Exception):
    """Something that is not converted: the ``reason``, and the ``fix`` if there is one.

    Both are free of what identifies a person: no path, name, date or id, only kinds and numbers.
    """

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}. {fix}".strip())
        self.reason, self.fix = reason, fix


@dataclass(frozen=True)
class Source:
    """The files of one volume, before it is read.

    Attributes:
        files: absolute paths; one file, or the slices of a DICOM series in the order of the table.
        form: ``DICOM``, ``NIfTI``, ``NRRD`` or ``MetaImage``.
        patient: tells patients apart, never written anywhere: a DICOM PatientID (or, without
            one, StudyInstanceUID), elsewhere the folder of the file, or the file in a Decathlon's ``imagesTr``.
        label: the label map that belongs to the image, if there is one.
    """

    files: tuple[Path, ...]
    form: str
    patient: str
    label: Path | None = None


class LeftOut(NamedTuple):
    """Files that are no volume of CT, as `ConversionRefusedError` says it."""

    files: tuple[Path, ...]
    reason: str
    fix: str = ""


class Volume(NamedTuple):
    """A volume in memory.

    Attributes:
        voxels: (x, y, z); HU for CT, int16 where the rescaled values are whole numbers and fit, else float32.
        affine: (4, 4), voxel indices to mm in the RAS space of NIfTI.
        notes: what was done to it beyond reading, such as a resampling.
    """

    voxels: NDArray[Any]
    affine: NDArray[np.float64]
    notes: tuple[str, ...] = ()
