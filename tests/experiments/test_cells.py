"""The grid of a plan, and the keys by which a finished run is found again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from experiments.studies import fixed, write_plan
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import cells_of, finetuning_job, grid_of, key_of, pretraining_job, pretraining_key
from fedswin.experiments.plan import load_plan

PLANS = Path(__file__).parents[2] / "simulator" / "plans"
PINNED = {
    "figure_6": ("794efb99a3458c93", "f6cb094a91e4f198"),
    "figure_6_decathlon": ("81a6667503b70289", "4ddbe88af74a8e56"),
    "figure_7": ("113a1436276a3187", "2087813f47bb4606"),
    "figure_8": ("f718e6e4cb1a4038", "2dbc62a359075810"),
    "phantoms": ("f718e6e4cb1a4038", "648177190b8c06b4"),
    "sarcoma": ("113a1436276a3187", "4ae29c6607cccb33"),
    "table_4": ("f718e6e4cb1a4038", "2dbc62a359075810"),
    "unseen_hospital": ("ed67032754690a91", "1ea82ca79446e86f"),
}
"""The keys of the first and of the last run of each plan that ships."""


def test_from_scratch_there_is_one_run_whatever_is_varied_in_pre_training(tmp_path: Path) -> None:
    objectives = [["rotation"], ["inpainting", "rotation"]]
    plan = write_plan(
        tmp_path, pretraining={"job": "pretrain.yaml", "objectives": objectives, "cases": [1, "all"]}, labels=[1, "all"]
    )
    cells = cells_of(plan)
    assert len([cell for cell in cells if cell.starts_from_scratch]) == 2
    assert len([cell for cell in cells if cell.arm == "federated"]) == 2 * 2 * 2
    assert len(cells) == len(set(cells))


def test_two_names_for_one_run_are_refused(tmp_path: Path) -> None:
    for twice in (
        {"shards": {"here": None, "there": None}},
        {"tasks": {"one": {"job": "finetune.yaml"}, "two": {"job": "finetune.yaml"}}},
    ):
        with pytest.raises(FedSwinError, match="these are the same run"):
            grid_of(write_plan(tmp_path, **twice))


def test_the_order_of_losses_says_nothing(tmp_path: Path) -> None:
    both = [["rotation", "inpainting"], ["inpainting", "rotation"]]
    grid = grid_of(write_plan(tmp_path, pretraining={"job": "pretrain.yaml", "objectives": both}))
    assert {cell.objective for cell in grid.values()} == {"", "inpainting + rotation"}


def test_cells_come_by_seed_so_that_a_part_of_them_is_a_grid(tmp_path: Path) -> None:
    cells = cells_of(write_plan(tmp_path, seeds=[3, 1], labels=[1, "all"]))
    assert [cell.seed for cell in cells] == [3] * 8 + [1] * 8


def test_the_jobs_of_a_cell_have_its_seed_and_its_losses_and_are_else_those_of_the_plan(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, pretraining={"job": "pretrain.yaml", "objectives": [["rotation", "contrastive"]]})
    cell = replace(next(cell for cell in cells_of(plan) if cell.arm == "central"), seed=7, encoder_seed=8)
    job = pretraining_job(plan, cell)
    assert job.pretraining.loss_weights.model_dump() == {"inpainting": 0, "rotation": 1, "contrastive": 1}
    assert (job.seed, finetuning_job(plan, cell).seed) == (8, 7)
    assert job.trainer == plan.pretraining.trainer
    assert job.federation == plan.pretraining.federation


def test_names_and_words_make_no_run_another_one(tmp_path: Path) -> None:
    one = write_plan(tmp_path)
    other = write_plan(
        tmp_path,
        "other",
        question="Another one?",
        reading="It does.",
        tasks={"knob": {"job": "finetune.yaml"}},
        shards={"here": None},
    )
    pairs = zip(cells_of(one), cells_of(other), strict=True)
    assert all(key_of(one, cell) == key_of(other, twin) for cell, twin in pairs)


@pytest.mark.parametrize(
    "changes",
    [
        {"folds": 3},
        {"shards": {"as they are": {"by": "iid", "sites": 2}}},
        {"tasks": {"lump": {"job": "finetune.yaml", "set": {"trainer.learning_rate": 0.5}}}},
        {"tasks": {"lump": {"job": "finetune.yaml", "sites": ["a"]}}},
        {"tasks": {"lump": {"job": "finetune.yaml", "data": {"phantom": {}}}}},
        {"data": {"phantom": {"seed": 5}}},
    ],
)
def test_whatever_changes_the_numbers_changes_every_key(tmp_path: Path, changes: dict[str, Any]) -> None:
    one, other = write_plan(tmp_path), write_plan(tmp_path, "other", **changes)
    assert not {key_of(one, cell) for cell in cells_of(one)} & {key_of(other, cell) for cell in cells_of(other)}


@pytest.mark.parametrize(("name", "keys"), PINNED.items())
def test_rows_that_are_there_keep_their_keys(name: str, keys: tuple[str, str]) -> None:
    """Who changes what a key is made of loses the recorded rows of every plan; figure_6_decathlon has none yet."""
    grid = grid_of(load_plan(PLANS / f"{name}.yaml"))
    assert (next(iter(grid)), list(grid)[-1]) == keys


def test_a_row_that_was_made_with_squared_dice_is_of_no_run_with_plain_dice(tmp_path: Path) -> None:
    """Squared Dice was no setting then, so a key that says nothing of it is of squared Dice; plain is the default."""
    plain, squared = (
        write_plan(
            tmp_path, name, tasks={"lump": {"job": "finetune.yaml", "set": {"segmentation.squared_dice": value}}}
        )
        for name, value in (("plain", False), ("squared", True))
    )
    unsaid = write_plan(tmp_path, "unsaid")
    keys = [[key_of(plan, cell) for cell in cells_of(plan)] for plan in (unsaid, plain, squared)]
    assert keys[0] == keys[1]
    assert not set(keys[0]) & set(keys[2])
    assert keys[2] == ["c504f10586c286cc", "98e744bda02de08c", "33d8d05171fd4da6", "a21d96db8fe9956c"]


def test_another_pre_training_leaves_the_runs_from_scratch_as_they_are(tmp_path: Path) -> None:
    one = write_plan(tmp_path)
    other = write_plan(tmp_path, "other", pretraining={"job": "pretrain.yaml", "set": {"trainer.learning_rate": 0.5}})
    same = [cell for cell in cells_of(one) if key_of(one, cell) == key_of(other, cell)]
    assert [cell.arm for cell in same] == ["scratch"]


def test_cells_with_more_or_fewer_labels_start_from_the_same_encoder(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, labels=[1, 2, "all"], seeds=[0, 1])
    encoders = {
        (cell.arm, cell.seed): pretraining_key(plan, cell) for cell in cells_of(plan) if not cell.starts_from_scratch
    }
    assert len(set(encoders.values())) == len(encoders) == 6
    assert all(
        pretraining_key(plan, cell) == encoders[cell.arm, cell.seed]
        for cell in cells_of(plan)
        if not cell.starts_from_scratch
    )


def test_encoders_and_fine_tunings_have_seeds_of_their_own_and_scratch_has_none_of_the_former(
    tmp_path: Path,
) -> None:
    plan = write_plan(tmp_path, **fixed(encoder_seeds=[3, 4], finetune_seeds=[0, 1, 2]))
    cells = cells_of(plan)
    assert [(cell.encoder_seed, cell.seed) for cell in cells if cell.arm == "scratch"] == [("", 0), ("", 1), ("", 2)]
    pairs = [(cell.encoder_seed, cell.seed) for cell in cells if cell.arm == "central"]
    assert pairs == [(3, 0), (3, 1), (3, 2), (4, 0), (4, 1), (4, 2)]
    central = [cell for cell in cells if cell.arm == "central"]
    assert len({pretraining_key(plan, cell) for cell in central}) == 2
    assert [pretraining_job(plan, cell).seed for cell in central] == [3, 3, 3, 4, 4, 4]
    assert [finetuning_job(plan, cell).seed for cell in central] == [0, 1, 2, 0, 1, 2]
    assert len(grid_of(plan)) == len(cells) == 3 * 2 * 3 + 3


def test_a_frozen_run_is_another_one_from_the_same_encoder(tmp_path: Path) -> None:
    probe = {"lump": {"job": "finetune.yaml", "probe": {"trainer.learning_rate": 0.5}}}
    plan = write_plan(tmp_path, tasks=probe, **fixed(frozen=[False, True]))
    tuned, frozen = (next(c for c in cells_of(plan) if (c.arm, c.frozen) == ("local", f)) for f in (False, True))
    assert pretraining_key(plan, tuned) == pretraining_key(plan, frozen)
    assert key_of(plan, tuned) != key_of(plan, frozen)
    job = finetuning_job(plan, frozen)
    assert (job.trainer.frozen, job.segmentation.decoder, job.trainer.learning_rate) == (["swinViT"], "linear", 0.5)
    assert finetuning_job(plan, tuned) == plan.tasks["lump"].model_copy(update={"name": "finetuning"})


@pytest.mark.parametrize(
    "changes",
    [
        {"test_patients": 5},
        {"test_patients": ["x"]},
        {"test_structures": "all"},
        {"validation_patients": 2},
        {"data_seed": 1},
        {"tasks": {"lump": {"job": "finetune.yaml", "set": {"segmentation.classes": {"lump": 2}}}}},
    ],
)
def test_another_test_changes_every_encoder_and_every_run(tmp_path: Path, changes: dict[str, Any]) -> None:
    one, other = write_plan(tmp_path, **fixed()), write_plan(tmp_path, "other", **fixed(**changes))
    for key in (key_of, pretraining_key):
        assert not {key(one, cell) for cell in cells_of(one)} & {key(other, cell) for cell in cells_of(other)}


def test_what_is_only_said_of_a_plan_changes_no_run(tmp_path: Path) -> None:
    one = write_plan(tmp_path, **fixed())
    other = write_plan(tmp_path, "other", **fixed(end_points=["hd95"], encoders="at_chance"))
    assert list(grid_of(one)) == list(grid_of(other))


def test_plans_that_ship_share_the_runs_that_they_have_in_common() -> None:
    def keys(name: str) -> set[str]:
        plan = load_plan(PLANS / f"{name}.yaml")
        return {key_of(plan, cell) for cell in cells_of(plan)}

    assert len(keys("figure_7") & keys("sarcoma")) == 2 * 3 * 3  # arms, labels, seeds
    assert len(keys("table_4") & keys("phantoms")) == 2 * 3
    assert len(keys("figure_8") & keys("phantoms")) == 2 * 3
