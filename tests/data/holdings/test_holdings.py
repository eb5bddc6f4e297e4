"""What a site holds is counted from headers and label maps, and shown as a table and as a picture."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from rich.console import Console

from data.volumes import write_image
from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case, Site
from fedswin.data.holdings import Holdings, cases_by_class, holdings
from fedswin.data.holdings.count import annotated_by_class
from fedswin.data.holdings.plot import draw_holdings, refuse_plot
from fedswin.data.holdings.table import render_holdings
from fedswin.errors import FedSwinError


@pytest.fixture
def site(tmp_path: Path) -> Site:
    def case(name: str, patient: str, axes: str, spacing: tuple[float, float, float], labelled: bool = True) -> Case:
        image = write_image(tmp_path / f"{name}.nii.gz", spacing, axes)
        return Case(image, tmp_path / f"{name} label.nii.gz" if labelled else None, patient)

    training = [case("a", "p", "RAS", (1, 2, 3)), case("b", "p", "PIR", (3, 4, 7)), case("c", "q", "LPS", (2, 9, 5))]
    broken = Case(tmp_path / "broken.nii.gz", None, "r")
    broken.image.write_text("this is no NIfTI")
    return Site("north", tmp_path, {"training": training, "test": [case("d", "s", "LSA", (2, 3, 5), False), broken]})


def test_cases_patients_and_voxel_sizes_along_the_patient_s_axes_are_counted(site: Site) -> None:
    held = holdings(site)
    assert held.cases == {"training": 3, "validation": 0, "test": 2}
    assert (held.patients, held.labelled, held.unreadable, held.classes) == (4, 3, 1, None)
    np.testing.assert_allclose(held.spacings, [(1, 2, 3), (3, 4, 7), (2, 9, 5), (2, 3, 5)])
    assert held.spacing == {"min": (1, 2, 3), "median": (2, 3.5, 5), "max": (3, 9, 7)}


def test_classes_are_counted_by_case(site: Site) -> None:
    a, b, c = (case.label for case in site.cases("training"))
    held = holdings(
        site, {a: frozenset({"10", "9"}), b: frozenset({"9"}), c: frozenset(), Path("elsewhere"): frozenset("1")}
    )
    assert held.classes == {"9": 2, "10": 1}
    assert list(held.classes) == ["9", "10"]
    other = Holdings({}, 0, 0, {"2": 5}, (), 0)
    assert cases_by_class({"north": held, "south": other}) == {
        "2": {"north": 0, "south": 5},
        "9": {"north": 2, "south": 0},
        "10": {"north": 1, "south": 0},
    }


def test_what_was_annotated_is_counted_by_labelled_case(tmp_path: Path) -> None:
    label, image = tmp_path / "label", tmp_path / "ct"
    annotated = [(1, 2), (2,), (), None]
    cases = [Case(image, label, str(n), Annotation(own, {2: "liver"})) for n, own in enumerate(annotated)]
    held = holdings(Site("a", tmp_path, {"training": cases, "test": [Case(image, None, "x", Annotation((1,)))]}))
    assert held.annotated == {"1": 1, "liver": 2}
    assert held.labelled == 3
    assert annotated_by_class({"a": held, "b": counted(None)}) == {"1": {"a": 1, "b": 0}, "liver": {"a": 2, "b": 0}}
    assert "cases that annotate" in rendered({"a": held})
    assert "cases that annotate" not in rendered({"b": counted(None)})


def test_images_of_several_channels_have_a_voxel_size(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((2, 2, 2, 4), np.int16), np.diag([1.0, 2.0, 3.0, 1.0])), tmp_path / "mri.nii")
    held = holdings(Site("mri", tmp_path, {"training": [Case(tmp_path / "mri.nii")]}))
    assert (held.spacings, held.unreadable) == (((1, 2, 3),), 0)


def rendered(sites: dict[str, Holdings], width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(render_holdings(sites))
    return console.file.getvalue()


def counted(classes: dict[str, int] | None, unreadable: int = 0, spacings: int = 1) -> Holdings:
    return Holdings(
        {"training": 2, "validation": 1, "test": 0}, 3, 2, classes, ((1.0, 1.25, 5.0),) * spacings, unreadable
    )


def test_the_tables_fit_80_columns_and_hold_every_number() -> None:
    text = rendered({"hospital_a": counted({"1": 12}), "hospital_b": counted({"7": 34}, spacings=0)})
    assert max(map(len, text.splitlines())) <= 80
    rows = [[cell.strip() for cell in line.strip("│\n").split("│")] for line in text.splitlines() if "│" in line]
    assert ["hospital_a", "3", "2", "1", "0", "2", "0"] in rows
    assert ["hospital_a", "1.00 (1.00-1.00)", "1.25 (1.25-1.25)", "5.00 (5.00-5.00)"] in rows
    assert ["hospital_b", "-", "-", "-"] in rows
    assert ["1", "12", "0"] in rows
    assert ["7", "0", "34"] in rows


def test_classes_are_shown_if_they_were_read_and_no_more_than_fit_a_screen() -> None:
    assert "cases that show" not in rendered({"a": counted(None)})
    many = rendered({"a": counted({str(value): 1 for value in range(117)})})
    assert "and 87 classes more" in many
    assert len(many.splitlines()) < 60


def test_unreadable_headers_are_told_with_what_to_do() -> None:
    assert "data check" not in rendered({"a": counted(None)})
    assert "'fedswin data check' says which" in rendered({"a": counted(None, unreadable=1)})


def test_the_picture_gives_each_site_an_area_in_proportion_to_its_cases(tmp_path: Path) -> None:
    image_module = pytest.importorskip("PIL.Image")
    pytest.importorskip("matplotlib")
    sites = {name: Holdings({"training": n}, n, n, {"1": n}, (), 0) for name, n in (("a", 30), ("b", 90), ("c", 0))}
    draw_holdings(sites, tmp_path / "holdings.png")
    with image_module.open(tmp_path / "holdings.png") as picture:
        assert picture.format == "PNG"
        pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    _, areas = np.unique(pixels[np.ptp(pixels, axis=1) > 60], axis=0, return_counts=True)
    *_, smaller, larger = np.sort(areas)
    assert smaller > 1000
    assert larger / smaller == pytest.approx(3, rel=0.05)


def test_a_picture_is_refused_where_something_is_or_matplotlib_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "holdings.png"
    refuse_plot(out, overwrite=False)
    draw_holdings({"a": counted(None)}, out)
    with pytest.raises(FedSwinError, match=r"holdings\.png exists"):
        refuse_plot(out, overwrite=False)
    refuse_plot(out, overwrite=True)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FedSwinError, match="something other than a PNG"):
        refuse_plot(tmp_path / "thesis.txt", overwrite=True)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(FedSwinError, match=r'pip install "fedswin\[report\]"'):
        refuse_plot(tmp_path / "new.png", overwrite=False)


def test_a_picture_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    with pytest.raises(FedSwinError, match="cannot write the picture"):
        draw_holdings({"a": counted(None)}, tmp_path / "file" / "holdings.png")
