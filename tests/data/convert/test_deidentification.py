"""Nothing that the headers and names of an archive say of a person is in any byte of a site folder."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import pydicom
import pytest
import SimpleITK
from nibabel.nifti1 import Nifti1Extension
from pydicom.datadict import DicomDictionary
from pydicom.dataset import FileDataset
from pydicom.valuerep import VR

from data.convert.archive import AFFINE, ct
from data.convert.dicom_builder import write_series
from fedswin.data.convert.conversion import convert

NAME, DATE, TIME, AGE, UID = "ZQXVMARK", "19170317", "031717", "107Y", "1.2.826.0.1.3680043.8.498.777"
MARKERS = (NAME, DATE, TIME, AGE, UID)
VALUES = {
    **dict.fromkeys(("AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT", "CS"), NAME),
    **{"DA": DATE, "DT": DATE + TIME, "TM": TIME, "AS": AGE, "UI": UID},
}
NEEDED = {
    *("SpecificCharacterSet", "SOPClassUID", "Modality", "ImageType", "BurnedInAnnotation"),
    *("PhotometricInterpretation", "PixelPresentation", "VolumetricProperties"),
}
"""What a reader must be able to believe, and what tells of no person."""


def mark_everything(header: FileDataset, number: int) -> None:
    """Set every element of text, date and UID that the standard has, and some that it has not."""
    for tag, (vr, *_, keyword) in DicomDictionary.items():
        if tag >> 16 > 0x0007 and keyword and keyword not in NEEDED and vr in VALUES:
            header.add_new(tag, VR(vr), VALUES[vr])
    private = header.private_block(0x0099, NAME, create=True)
    private.add_new(0x01, "LO", NAME)
    private.add_new(0x02, "OB", NAME.encode() * 2)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / f"archive of {NAME}"
    for path in write_series(root / NAME / UID, change=mark_everything):
        path.rename(path.with_name(f"{NAME}_{DATE}_{path.name}.dcm"))
    image = nib.Nifti1Image(ct(1), AFFINE)
    for field in ("descrip", "aux_file", "intent_name", "db_name"):
        image.header[field] = NAME
    image.header.extensions.append(Nifti1Extension("comment", f"{NAME} {DATE}".encode()))
    (root / f"{NAME} two").mkdir()
    nib.save(image, root / f"{NAME} two" / "ct.nii")
    nib.save(nib.Nifti1Image((ct(1) > 0).astype("u1"), AFFINE, image.header), root / f"{NAME} two" / "label.nii")
    other = SimpleITK.GetImageFromArray(ct(2).T.copy())
    for key in ("Comment", "PatientName", "0010|0010"):
        other.SetMetaData(key, f"{NAME} {DATE}")
    for name in (f"{NAME}.nrrd", f"{NAME}.mha"):
        SimpleITK.WriteImage(other + (name[-1] == "a"), str(root / name))
    (root / f"{NAME}.zip").write_text(NAME)
    return root


def contents(folder: Path) -> bytes:
    """Every byte of a folder: the names, the files, and what is packed in them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    raw = [path.read_bytes() for path in files]
    unpacked = [gzip.decompress(content) for content in raw if content.startswith(b"\x1f\x8b")]
    return b"\n".join([*(str(path.relative_to(folder)).encode() for path in files), *raw, *unpacked])


def test_the_archive_of_this_test_holds_every_marker(archive):
    everything = contents(archive)
    assert all(marker.encode() in everything for marker in MARKERS)
    [dicom, *_] = archive.rglob("*.dcm")
    assert sum(str(element.value).startswith(MARKERS) for element in pydicom.dcmread(dicom)) > 1500
    assert all(NAME.encode() in path.read_bytes() for path in archive.rglob("*.nii"))


def test_no_marker_is_in_any_byte_of_the_site_folder(archive, tmp_path):
    done = convert(archive, tmp_path / "site")
    assert sorted(case.form for case in done.cases) == ["DICOM", "MetaImage", "NIfTI", "NRRD"]
    assert sum(case.label is not None for case in done.cases) == 1
    everything = contents(tmp_path / "site").lower()
    for marker in MARKERS:
        assert marker.lower().encode() not in everything, marker
    for path in (tmp_path / "site").rglob("*.nii.gz"):
        header = nib.load(path).header
        assert {header[field].item() for field in ("descrip", "aux_file", "intent_name", "db_name")} == {b""}
        assert list(header.extensions) == []
