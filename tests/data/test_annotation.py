"""A site's label values become the job's classes, and what a site does not annotate is known by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedswin.config import SegmentationSettings
from fedswin.data.annotation import Annotation, own_annotation, read_annotation
from fedswin.errors import FedSwinError

SETTINGS = SegmentationSettings(classes={"liver": 6, "kidneys": [2, 3], "spleen": 1}, background=[9])
LIVER, KIDNEYS, SPLEEN = 1, 2, 3
SOURCE = Path("a/datalist.json")


def read(**content: Any) -> Annotation:
    return read_annotation(SOURCE, content)


def test_without_a_word_the_job_s_values_and_all_its_classes_count() -> None:
    assert read() == Annotation()
    expected = {0: 0, 9: 0, 6: LIVER, 2: KIDNEYS, 3: KIDNEYS, 1: SPLEEN}
    assert read().class_indices(SETTINGS) == expected
    assert read().annotated_indices(SETTINGS) == (LIVER, KIDNEYS, SPLEEN)


def test_the_site_s_values_come_before_the_job_s() -> None:
    annotation = read(label_map={"1": "liver", "7": "spleen", "6": 0, "4": "background"})
    expected = {0: 0, 9: 0, 1: LIVER, 7: SPLEEN, 6: 0, 4: 0, 2: KIDNEYS, 3: KIDNEYS}
    assert annotation.class_indices(SETTINGS) == expected


def test_annotated_classes_are_in_the_job_s_order() -> None:
    assert read(annotated=["spleen", "liver"]).annotated_indices(SETTINGS) == (LIVER, SPLEEN)


@given(st.dictionaries(st.integers(1, 300), st.sampled_from(["liver", "kidneys", "spleen", "background", 0])))
def test_every_value_means_what_its_site_says_or_else_what_the_job_says(label_map: dict[int, str | int]) -> None:
    annotation = read(label_map={str(value): name for value, name in label_map.items()}, annotated=["kidneys"])
    names = ["background", *SETTINGS.classes]
    own = {6: "liver", 2: "kidneys", 3: "kidneys", 1: "spleen", 9: "background", 0: "background"}
    meant = own | {value: name or "background" for value, name in label_map.items()}
    if "kidneys" in meant.values():
        found = {value: names[index] for value, index in annotation.class_indices(SETTINGS).items()}
        assert found == meant
    else:
        with pytest.raises(FedSwinError, match="no label value stands for the class 'kidneys'"):
            annotation.class_indices(SETTINGS)


VALUES = st.sets(st.sampled_from([1, 2, 3, 6, 7, 8, 9]), min_size=1)


@given(VALUES, st.dictionaries(st.sampled_from([1, 7, 8]), st.sampled_from(["liver", "kidneys", "background"])))
def test_a_class_of_which_a_value_was_not_drawn_is_not_annotated(drawn: set[int], label_map: dict[int, str]) -> None:
    """Kidneys are 2 and 3: where 3 was not drawn, it is among the background."""
    annotation = read(annotated=sorted(drawn), label_map={str(value): name for value, name in label_map.items()})
    own = {"liver": {6}, "kidneys": {2, 3}, "spleen": {1} - label_map.keys()}
    of_site = {name: {value for value, other in label_map.items() if other == name} for name in own}
    needed = {name: of_site[name] or values for name, values in own.items()}
    found = annotation.annotated_classes(SETTINGS)
    assert set(found) == {name for name, values in needed.items() if values and values <= drawn}
    assert found.items() <= SETTINGS.class_indices.items()
    assert annotation.annotated_indices(SETTINGS) == tuple(sorted(found.values()))
    for value in (6, 2, 3):
        if value not in drawn:
            assert annotation.stray_class([0, value], SETTINGS) == ("liver" if value == 6 else "kidneys")
    assert annotation.stray_class([0, 9, *drawn], SETTINGS) is None


def test_values_may_be_of_structures_that_the_job_leaves_alone() -> None:
    annotation = read(annotated=[6, 9, 5])
    assert annotation.annotated_classes(SETTINGS) == {"liver": LIVER}
    assert annotation.class_indices(SETTINGS) == read().class_indices(SETTINGS)


def test_a_case_goes_by_its_own_list_and_by_its_site_s_label_map() -> None:
    of_site = read(annotated=["liver"], label_map={"7": "spleen"})
    assert own_annotation(SOURCE, "test[0]", {"image": "a"}, of_site) is of_site
    own = own_annotation(SOURCE, "test[0]", {"annotated": ["spleen"]}, of_site)
    assert own == Annotation(("spleen",), {7: "spleen"})
    assert own.annotated_classes(SETTINGS) == {"spleen": SPLEEN}
    assert own_annotation(SOURCE, "test[0]", {"annotated": []}, of_site).annotated_classes(SETTINGS) == {}
    with pytest.raises(FedSwinError, match=r"a/datalist.json: test\[0\]: 'annotated' is 'liver'. It must be a list"):
        own_annotation(SOURCE, "test[0]", {"annotated": "liver"}, of_site)
    wrong = own_annotation(SOURCE, "test[0]", {"annotated": ["splen"]}, of_site)
    with pytest.raises(FedSwinError, match=r"test\[0\]: 'annotated' names 'splen', .* \(did you mean 'spleen'"):
        wrong.class_indices(SETTINGS)


MALFORMED = [
    ({"annotated": "liver"}, "'annotated' is 'liver'. It must be a list"),
    ({"annotated": []}, "'annotated' is \\[\\]"),
    ({"annotated": None}, "'annotated' is None"),
    ({"annotated": ["liver", 3]}, "'annotated' is \\['liver', 3\\]"),
    ({"annotated": ["liver", "spleen", "liver"]}, "names 'liver' twice"),
    ({"annotated": [1, 1]}, "names 1 twice"),
    ({"annotated": [0]}, "'annotated' is \\[0\\]"),
    ({"annotated": [-1]}, "'annotated' is"),
    ({"annotated": [1.0]}, "'annotated' is"),
    ({"annotated": [True]}, "'annotated' is"),
    ({"annotated": [["liver"]]}, "'annotated' is"),
    ({"annotated": {"liver": 1}}, "'annotated' is"),
    ({"label_map": ["liver"]}, "'label_map' is \\['liver'\\]. It must be an object"),
    ({"label_map": None}, "'label_map' is None"),
    ({"label_map": "totalsegmentator"}, "did you mean 'totalsegmentator_v2'"),
    ({"label_map": {"liver": 1}}, "has the key 'liver'"),
    ({"label_map": {"01": "liver"}}, "has the key '01'"),
    ({"label_map": {"-1": "liver"}}, "has the key '-1'"),
    ({"label_map": {"1.0": "liver"}}, "has the key '1.0'"),
    ({"label_map": {"1" * 5000: "liver"}}, "has the key '1111"),
    ({"label_map": {"7": 1}}, "maps 7 to 1. A label value stands for the name of a class"),
    ({"label_map": {"7": False}}, "maps 7 to False"),
    ({"label_map": {"7": ["liver"]}}, "maps 7 to \\['liver'\\]"),
    ({"label_map": {"0": "liver"}}, "maps 0 to 'liver'. 0 is always background"),
]


@pytest.mark.parametrize(("content", "complaint"), MALFORMED)
def test_what_is_malformed_is_refused_with_its_place(content: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FedSwinError, match=complaint) as refusal:
        read(**content)
    assert str(refusal.value).startswith("a/datalist.json: ")


FOREIGN = [
    ({"annotated": ["livr"]}, "'annotated' names 'livr', which is not a class of the job \\(did you mean 'liver'"),
    ({"label_map": {"7": "spleeen"}}, "'label_map' names 'spleeen', .* \\(did you mean 'spleen'"),
    ({"annotated": ["background"]}, "'annotated' names 'background'"),
    ({"label_map": {"1": "background"}}, "no label value stands for the class 'spleen'. Give it one in 'label_map'"),
]


@pytest.mark.parametrize(("content", "complaint"), FOREIGN)
def test_what_does_not_fit_the_job_is_refused_when_the_job_is_known(content: dict[str, Any], complaint: str) -> None:
    annotation = read(**content)
    with pytest.raises(FedSwinError, match=complaint) as refusal:
        annotation.class_indices(SETTINGS)
    assert str(refusal.value).startswith("a/datalist.json: ")


def test_a_class_that_has_no_value_need_not_have_one_where_it_is_not_annotated() -> None:
    annotation = read(label_map={"1": "background"}, annotated=["liver", "kidneys"])
    assert annotation.class_indices(SETTINGS)[1] == 0
