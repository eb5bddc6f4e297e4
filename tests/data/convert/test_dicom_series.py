"""Which files make a volume, and why others do not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedCTImageStorage,
    SecondaryCaptureImageStorage,
    generate_uid,
)

from data.convert.dicom_builder import write_series
from fedswin.data.convert.dicom_series import find_series
from fedswin.data.convert.source import LeftOut, Source


def find(folder: Path) -> tuple[list[Source], list[LeftOut]]:
    return find_series([path for path in sorted(folder.rglob("*")) if path.is_file()])


def at(*heights: float) -> list[tuple[float, float, float]]:
    return [(0.0, 0.0, height) for height in heights]


def only_reason(folder: Path) -> str:
    """The reason for which all files of ``folder`` are left out."""
    sources, left_out = find(folder)
    assert sources == []
    [reason] = {left.reason for left in left_out}
    assert sum(len(left.files) for left in left_out) == len([path for path in folder.rglob("*") if path.is_file()])
    return reason


def test_slices_are_sorted_by_where_they_lie_whatever_their_names(tmp_path):
    write_series(tmp_path, PatientID="somebody")
    [source], left_out = find(tmp_path)
    heights = [pydicom.dcmread(path).ImagePositionPatient[2] for path in source.files]
    assert heights == sorted(heights)
    assert (source.form, source.patient, left_out) == ("DICOM", "somebody", [])


def test_series_that_lie_in_one_folder_are_told_apart(tmp_path):
    first = write_series(tmp_path / "a")
    second = write_series(tmp_path / "b", at(0, 3, 6, 9))
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    for number, path in enumerate([*first, *second]):
        shutil.move(path, mixed / f"{number}.dcm")
    sources, left_out = find(mixed)
    assert sorted(len(source.files) for source in sources) == [4, 6]
    assert left_out == []


def test_acquisitions_at_the_same_places_are_volumes_of_their_own(tmp_path):
    def number_phases(header, number):
        header.AcquisitionNumber = 1 + number % 2
        header.RescaleIntercept = -1024 + 100 * (number % 2)

    write_series(tmp_path, [place for place in at(0, 2, 4, 6) for _ in range(2)], change=number_phases)
    sources, left_out = find(tmp_path)
    assert [len(source.files) for source in sources] == [4, 4]
    assert left_out == []


def test_acquisition_numbers_that_count_slices_split_nothing(tmp_path):
    write_series(tmp_path, change=lambda header, number: setattr(header, "AcquisitionNumber", number))
    sources, _ = find(tmp_path)
    assert [len(source.files) for source in sources] == [6]


def test_rounding_in_the_headers_splits_no_series(tmp_path):
    def turn(header, number):
        header.ImageOrientationPatient = [1, 0, 0, 0, 0.995 + 1e-7 * (-1) ** number, 0.0998749]

    write_series(tmp_path, change=turn)
    sources, _ = find(tmp_path)
    assert [len(source.files) for source in sources] == [6]


def test_without_a_patient_id_a_study_is_a_patient(tmp_path):
    for name in ("one", "two"):
        write_series(tmp_path / name, PatientID="", StudyInstanceUID=generate_uid(entropy_srcs=[name]))
    sources, _ = find(tmp_path)
    assert len({source.patient for source in sources}) == 2


def test_a_slice_that_is_there_twice_is_taken_once(tmp_path):
    paths = write_series(tmp_path)
    shutil.copy(paths[2], tmp_path / "copy")
    [source], [left] = find(tmp_path)
    assert len(source.files) == 6
    assert (len(left.files), left.reason) == (1, "a copy of another slice")


def test_different_slices_at_one_place_are_refused(tmp_path):
    def shift(header, number):
        header.RescaleIntercept = -1024 + number

    write_series(tmp_path, at(0, 0, 2, 2, 4, 4), change=shift)
    assert only_reason(tmp_path) == "different slices at the same place"


def test_missing_slices_are_counted(tmp_path):
    write_series(tmp_path, at(*(2 * k for k in range(20) if k not in (7, 12, 13))))
    assert only_reason(tmp_path) == "slices are missing: 3 of 20"


@pytest.mark.parametrize("count", [1, 2])
def test_one_slice_or_two_are_no_volume(tmp_path, count):
    write_series(tmp_path, at(*range(count)))
    assert only_reason(tmp_path) == f"too few slices for a volume: {count}"


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Modality": "MR"}, "MR, not CT"),
        ({"Modality": "SMITH"}, "another modality, not CT"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "a scout (localizer)"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "a secondary capture (a screenshot or the like)"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "a secondary capture (a screenshot or the like)"),
        ({"SamplesPerPixel": 3}, "in colour, so not HU"),
        ({"BurnedInAnnotation": "YES"}, "text is burnt into its pixels, which may be a name"),
        ({"SOPClassUID": EnhancedCTImageStorage}, "enhanced multi-frame CT"),
        ({"NumberOfFrames": 5}, "enhanced multi-frame CT"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "not MONOCHROME2, so not HU"),
        ({"PixelSpacing": [0.0, 1.0]}, "a slice whose geometry is damaged"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "a slice whose geometry is damaged"),
        ({"Rows": 40000}, "cut off: 240 bytes cannot hold 40000 x 12 pixels of 16 bits"),
    ],
)
def test_what_is_no_slice_of_ct_is_left_out_with_the_reason(tmp_path, elements, reason):
    write_series(tmp_path, change=lambda header, number: [setattr(header, *item) for item in elements.items()])
    assert only_reason(tmp_path) == reason


@pytest.mark.parametrize(
    ("missing", "reason"),
    [
        ("RescaleIntercept", "without a rescale to HU"),
        ("ImagePositionPatient", "without ImagePositionPatient"),
        ("Rows", "no image (a report, a directory or the like)"),
    ],
)
def test_a_header_that_lacks_what_a_volume_needs_is_left_out(tmp_path, missing, reason):
    for path in write_series(tmp_path):
        header = pydicom.dcmread(path)
        del header[missing]
        header.save_as(path)
    assert only_reason(tmp_path) == reason


def test_what_is_not_dicom_and_what_is_deflated_is_left_out(tmp_path):
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "empty").touch()
    assert only_reason(tmp_path) == "not DICOM"
    header = pydicom.dcmread(write_series(tmp_path / "series")[0])
    header.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    header.save_as(tmp_path / "series" / "deflated")
    _, left_out = find(tmp_path)
    assert "deflated as a whole" in {left.reason for left in left_out}


def test_tilt_and_uneven_steps_are_volumes_to_be_judged_when_read(tmp_path):
    write_series(tmp_path, [(0.0, 0.3 * k, 2.0 * k) for k in range(6)])
    write_series(tmp_path / "uneven", at(0, 4, 8, 12, 19, 26))
    sources, left_out = find(tmp_path)
    assert [len(source.files) for source in sources] == [6, 6]
    assert left_out == []


def test_reasons_hold_nothing_of_the_header(tmp_path):
    marker = "MARKER"
    for number, elements in enumerate(
        [{"Modality": marker}, {"ImageType": [marker]}, {"PhotometricInterpretation": marker}]
    ):
        write_series(tmp_path / f"{marker}{number}", PatientID=marker, PatientName=marker, **elements)
    sources, left_out = find(tmp_path)
    assert len(sources) == 1, "an odd image type is no fault"
    assert [left for left in left_out if marker in left.reason + left.fix] == []
