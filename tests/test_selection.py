"""The best model against exact arithmetic, in any order of the sites, with sites away, and after any interruption."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedswin.records import Record, round_record
from fedswin.selection import Selection

Mode = Literal["min", "max"]
MODES = st.sampled_from(["min", "max"])
CASES = {"a": 3, "b": 1, "c": 7}
EVERYWHERE = st.fixed_dictionaries({name: st.integers(0, 4) for name in CASES})
"""What all sites say of a model; whole numbers, so that ties happen and sums are exact."""
ANYWHERE = st.fixed_dictionaries({name: st.none() | st.integers(0, 4) for name in CASES})
"""The same with sites away."""


class Model(NamedTuple):
    """A round's outcome: the sites' scores of the model, and whether it is that of the round before."""

    scores: dict[str, int | None]
    failed: bool


def models(scores: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[Model]]:
    """Draw a study, whose initial model cannot have failed."""
    later = st.lists(st.builds(Model, scores, st.booleans()), max_size=7)
    return st.tuples(st.builds(Model, scores, st.just(False)), later).map(lambda parts: [parts[0], *parts[1]])


def records(study: Sequence[Model]) -> list[Record]:
    return [
        record(number, model.scores, "failed" if model.failed else "ok" if number else "initial")
        for number, model in enumerate(study)
    ]


def record(number: int, scores: dict[str, int | None], status: str = "ok") -> Record:
    sites = {name: {"metrics": {"loss": value}, "validation_cases": CASES[name]} for name, value in scores.items()}
    return round_record(number, status, sites)


def after(lines: Sequence[Record], selection: Selection) -> Selection:
    return reduce(Selection.after, lines, selection)


@settings(deadline=None)
@given(models(EVERYWHERE), MODES)
def test_if_all_sites_score_all_models_the_first_extreme_one_is_the_best(study: list[Model], mode: Mode) -> None:
    sums = {
        number: sum(model.scores[name] * CASES[name] for name in CASES)
        for number, model in enumerate(study)
        if not model.failed
    }
    extreme = (max if mode == "max" else min)(sums.values())
    best = next(number for number, value in sums.items() if value == extreme)
    found = after(records(study), Selection("loss", mode))
    assert found.best["round"] == best
    assert found.without_gain == sum(number > best for number in sums)
    assert found.note is None


FLOATS = st.fixed_dictionaries({name: st.none() | st.floats(-1e3, 1e3) for name in CASES})


@settings(deadline=None)
@given(models(FLOATS), MODES, st.randoms())
def test_the_order_of_the_sites_does_not_matter(study: list[Model], mode: Mode, shuffler: random.Random) -> None:
    def shuffled(model: Model) -> Model:
        return model._replace(scores=dict(shuffler.sample(list(model.scores.items()), len(model.scores))))

    one, other = (after(records(models), Selection("loss", mode)) for models in (study, [*map(shuffled, study)]))
    assert one == other


@settings(deadline=None)
@given(models(ANYWHERE), MODES)
def test_a_model_gives_way_only_to_one_that_a_common_site_finds_better(study: list[Model], mode: Mode) -> None:
    """The mean over the common sites cannot be better unless one of them is, nor as good or worse if all are."""
    selection = Selection("loss", mode)
    for number, line in enumerate(records(study)):
        old, selection = selection, selection.after(line)
        scored = {name for name, value in study[number].scores.items() if value is not None}
        if old.best is None or not old.best["sites"] or study[number].failed:
            assert (selection.best["round"] == number) != study[number].failed
            continue
        common = scored & old.best["sites"].keys()
        gains = [study[number].scores[name] - study[old.best["round"]].scores[name] for name in common]
        gains = gains if mode == "max" else [-gain for gain in gains]
        if selection.best["round"] == number:
            assert any(gain > 0 for gain in gains)
        else:
            assert not gains or any(gain <= 0 for gain in gains)
        assert (selection.note is None) == (scored == old.best["sites"].keys())


@settings(deadline=None)
@given(models(EVERYWHERE), MODES, st.data())
def test_a_study_that_is_resumed_at_any_round_chooses_as_if_never_interrupted(
    study: list[Model], mode: Mode, data: st.DataObject
) -> None:
    """It goes on from a checkpoint of any age; ``best.pt`` and the records may be of later rounds."""
    lines, start = records(study), Selection("loss", mode)
    died_after = data.draw(st.integers(0, len(lines) - 1))
    first = data.draw(st.integers(0, died_after + 1))
    on_disk = after(lines[: died_after + 1], start).best
    assert after(lines[first:], start.resumed(on_disk, lines[:first])) == after(lines, start)


@settings(deadline=None)
@given(models(ANYWHERE), MODES, st.data())
def test_so_does_one_with_sites_away_if_the_last_record_alone_is_lost(
    study: list[Model], mode: Mode, data: st.DataObject
) -> None:
    lines, start = records(study), Selection("loss", mode)
    died_in = data.draw(st.integers(0, len(lines) - 1))
    on_disk = after(lines[: died_in + 1], start).best
    resumed = start.resumed(on_disk, lines[:died_in])
    assert resumed.best == on_disk
    again, whole = after(lines[died_in:], resumed), after(lines, start)
    assert (again.best, again.without_gain) == (whole.best, whole.without_gain)


def test_a_hard_site_that_is_away_does_not_make_a_model_look_good() -> None:
    first = record(0, {"a": 2, "b": 2, "c": 9})
    alone = Selection("loss", "min").after(first)
    worse = alone.after(record(1, {"a": 3, "b": 3, "c": None}))  # 3 on the mean, and the first has 6.45
    better = alone.after(record(1, {"a": 1, "b": 3, "c": None}))
    assert worse.best["round"] == 0
    assert better.best["round"] == 1
    said = "Compared on the sites that scored both global model 1 and the best one so far, 0: a, b."
    assert worse.note == better.note == said


def test_models_that_no_site_scored_both_are_not_compared_and_cost_no_patience() -> None:
    found = after([record(4, {"a": 2}), record(5, {"b": 1}), record(6, {})], Selection("loss", "min", patience=1))
    assert (found.best["round"], found.without_gain, found.should_stop) == (4, 0, False)
    assert found.note == "No site scored both global model 6 and the best one so far, 4, which stays the best."


def test_dice_is_compared_as_the_records_have_it_on_the_common_sites() -> None:
    """On a and b: 0.9 for the liver and 0.5 for the spleen, 0.7 in all; their own dice would give 0.7 and 0.8."""

    def line(number: int, **dice: dict[str, float]) -> Record:
        sites = {name: {"metrics": metrics, "validation_cases": 1} for name, metrics in dice.items()}
        return round_record(number, "ok", sites)

    liver = {"dice": 0.9, "dice_liver": 0.9}
    first = line(0, a=liver, b={"dice": 0.7, "dice_liver": 0.9, "dice_spleen": 0.5}, c=liver)
    start = Selection("dice", "max").after(first)
    assert start.after(line(1, a=liver, b={"dice": 0.75, "dice_liver": 0.87, "dice_spleen": 0.5})).best["round"] == 0
    assert start.after(line(1, a=liver, b={"dice": 0.75, "dice_liver": 0.9, "dice_spleen": 0.51})).best["round"] == 1


@pytest.mark.parametrize("scores", [{}, {"a": None, "b": None}])
def test_as_long_as_no_site_scores_the_newest_model_is_the_best(scores: dict[str, int | None]) -> None:
    unscored = after([record(number, scores) for number in range(3)], Selection("loss", "min", patience=1))
    assert (unscored.best["round"], unscored.should_stop) == (2, False)
    assert unscored.after(record(3, scores, "failed")).best["round"] == 2
    assert unscored.after(record(3, {"a": 4})).after(record(4, scores)).best["round"] == 3


def test_a_model_that_is_not_a_number_is_not_scored() -> None:
    start = Selection("loss", "min").after(record(0, {"a": 2}))
    assert start.after(record(1, {"a": float("nan")})).best["round"] == 0


def test_patience_ends_with_as_many_models_in_a_row_without_gain() -> None:
    losses = [5, 6, 4, 4, 7, 8]  # the best is model 2; of its equal, the next one, nothing is gained
    selection, stops = Selection("loss", "min", patience=2), []
    for number, loss in enumerate(losses):
        selection = selection.after(record(number, {"a": loss}))
        stops.append(selection.should_stop)
        selection = selection.after(record(number, {"a": loss}, "failed"))
    assert stops == [False, False, False, False, True, True]


def test_without_patience_a_study_does_not_stop() -> None:
    assert not after([record(number, {"a": number}) for number in range(99)], Selection("loss", "min")).should_stop


def test_a_study_whose_best_model_is_lost_takes_the_next_one() -> None:
    resumed = Selection("loss", "min").resumed(None, [record(0, {"a": 1})])
    assert resumed.after(record(1, {"a": 2})).best["round"] == 1


def test_a_metric_of_patients_is_compared_over_patients() -> None:
    """Site a has four cases of one patient, and site b two patients."""

    def scored(number: int, a: float, b: float) -> Record:
        one = {"metrics": {"rotation_accuracy": a}, "validation_cases": 4, "scored": {"rotation_accuracy": 1}}
        two = {"metrics": {"rotation_accuracy": b, "rotation_accuracy_sd": 0.1}, "validation_cases": 2}
        return round_record(number, "ok", {"a": one, "b": two})

    first, second = scored(0, 0.5, 0.3), scored(1, 0.3, 0.45)  # by cases the first would be the better one
    found = Selection("rotation_accuracy", "max").after_all([first, second])
    assert found.best
    assert (found.best["round"], found.best["global"]) == (1, second["global"])
