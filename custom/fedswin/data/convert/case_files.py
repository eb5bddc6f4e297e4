"""The files of a converted case, and its record, which is written last.

So if there is a record its files were written whole, and it is believed only while they still are. It is found by what
the volume is, the digest of its voxels, and says nothing of where that came from. That is how a conversion goes on.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from fedswin.checksum import file_sha256
from fedswin.data.convert.source import Volume
from fedswin.durable import write_text_whole, written_whole

IMAGES, LABELS, RECORDS = "images", "labels", "records"
"""The folders of a conversion; the last one goes when it is complete."""

_NAME_BYTES = 6  # among 10,000 cases two get the same name once in 5 million conversions
_AFFINE_DECIMALS = 3


@dataclass(frozen=True)
class ConvertedCase:
    """What was written, and all that is ever told of it.

    Attributes:
        name: drawn by chance.
        form: what the source was: ``DICOM``, ``NIfTI``, ``NRRD`` or ``MetaImage``.
        shape: voxels along x, y, z.
        spacing: mm along x, y, z.
        notes: what was done to the voxels beyond reading, and what is odd about them.
        voxels: the digest of the image; see `volume_digest`.
        files: the SHA-256 of each file, by its path in the site folder.
    """

    name: str
    form: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    notes: tuple[str, ...]
    voxels: str
    files: dict[str, str]

    @property
    def image(self) -> str:
        """The image's path in the site folder."""
        return f"{IMAGES}/{self.name}.nii.gz"

    @property
    def label(self) -> str | None:
        """The label map's path in the site folder, if there is one."""
        path = f"{LABELS}/{self.name}.nii.gz"
        return path if path in self.files else None


def volume_digest(volume: Volume) -> str:
    """Return the SHA-256 of the shape, the affine to a micrometre, the type and the values of a volume."""
    affine = np.round(volume.affine, _AFFINE_DECIMALS) + 0.0  # which turns -0 into 0
    digest = hashlib.sha256(repr((volume.voxels.shape, affine.tolist(), str(volume.voxels.dtype))).encode())
    digest.update(np.ascontiguousarray(volume.voxels).data)
    return digest.hexdigest()


def write_case(folder: Path, form: str, volume: Volume, label: NDArray[Any] | None) -> ConvertedCase:
    """Write a case under a new name, or find it if this folder holds the same voxels with the same label map.

    Args:
        folder: of the conversion.
        form: as in `ConvertedCase`.
        volume: the image.
        label: its label map, (x, y, z).

    Raises:
        OSError: if it cannot be written.
    """
    voxels = volume_digest(volume)
    label_voxels = "" if label is None else volume_digest(volume._replace(voxels=label))
    record = folder / RECORDS / f"{hashlib.sha256((voxels + label_voxels).encode()).hexdigest()}.json"
    return _read_record(folder, record) or _write(folder, record, form, voxels, volume, label)


def _write(
    folder: Path, record: Path, form: str, voxels: str, volume: Volume, label: NDArray[Any] | None
) -> ConvertedCase:
    name = f"case_{secrets.token_hex(_NAME_BYTES)}"
    arrays = {IMAGES: volume.voxels} if label is None else {IMAGES: volume.voxels, LABELS: label}
    files = {}
    for part, array in arrays.items():
        path = folder / part / f"{name}.nii.gz"
        _write_nifti(path, array, volume.affine)
        files[f"{part}/{path.name}"] = file_sha256(path)
    spacing = tuple(np.linalg.norm(volume.affine[:3, :3], axis=0).round(_AFFINE_DECIMALS).tolist())
    case = ConvertedCase(name, form, volume.voxels.shape, spacing, volume.notes, voxels, files)
    write_text_whole(record, json.dumps(asdict(case)))
    return case


def _write_nifti(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    image = nib.Nifti1Image(voxels, affine)
    image.set_qform(affine, code="scanner")
    image.set_sform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    with (
        written_whole(path) as file,
        gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=file, mtime=0) as packed,
    ):
        image.to_stream(packed)


def _read_record(folder: Path, record: Path) -> ConvertedCase | None:
    try:
        case = ConvertedCase(**json.loads(record.read_text()))
        is_whole = all(file_sha256(folder / path) == digest for path, digest in case.files.items())
    except FileNotFoundError:
        return None
    return case if is_whole else None
