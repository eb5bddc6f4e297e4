"""Plan files: the plans that ship, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.studies import fixed, write_plan
from fedswin.errors import FedSwinError
from fedswin.experiments.cells import cells_of, key_of
from fedswin.experiments.plan import load_plan

OWN_DATA = {"job": "finetune.yaml", "data": {"phantom": {}}}
ONE_ENCODER = {"seeds": None, "encoder_seeds": [0], "finetune_seeds": [0, 1]}
PLANS = sorted((Path(__file__).parents[2] / "simulator" / "plans").glob("*.yaml"))


@pytest.mark.parametrize("path", PLANS, ids=[path.stem for path in PLANS])
def test_every_plan_that_ships_is_sound_and_each_of_its_runs_is_another_one(path: Path) -> None:
    plan = load_plan(path)
    keys = [key_of(plan, cell) for cell in cells_of(plan)]
    assert len(set(keys)) == len(keys)


def test_the_main_grids_have_all_arms_three_amounts_of_labels_and_three_seeds_that_test_each_case_once() -> None:
    for name in ("phantoms", "sarcoma"):
        settings = load_plan(PLANS[0].with_name(f"{name}.yaml")).settings
        assert set(settings.arms) == {"scratch", "local", "federated", "central"}
        assert settings.labels == (1, 2, "all")
        assert sorted(seed % settings.folds for seed in settings.seeds) == list(range(settings.folds)) == [0, 1, 2]


def test_the_plan_on_the_head_and_neck_has_a_test_of_its_own_and_seeds_for_conclusions() -> None:
    plan = load_plan(PLANS[0].with_name("head_neck.yaml"))
    settings = plan.settings
    assert isinstance(settings.test_patients, int)
    assert settings.test_patients >= 30
    assert (settings.labels, settings.frozen) == ((1, 2, 5, "all"), (False, True))
    assert set(settings.arms) == {"scratch", "local", "federated", "central"}
    assert min(len(settings.encoder_seeds), len(settings.finetune_seeds)) >= 2
    assert plan.tasks["organs_at_risk"].augmentation.flip == 0  # left and right are classes
    for job in plan.tasks.values():
        assert (job.data.spacing, job.data.hu_window) == (
            plan.pretraining.data.spacing,
            plan.pretraining.data.hu_window,
        )


def test_table_4_has_every_combination_of_the_three_losses() -> None:
    plan = load_plan(PLANS[0].with_name("table_4.yaml"))
    assert len({frozenset(losses) for losses in plan.settings.pretraining.objectives}) == 2**3 - 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"armz": []}, "unknown key 'armz' (did you mean 'arms'?)"),
        ({"arms": ["scratch", "fedrated"]}, "arms.1"),
        ({"arms": []}, "arms"),
        ({"seeds": [1, 1]}, "names one twice"),
        ({"labels": [0]}, "labels.0"),
        ({"folds": 1}, "folds"),
        ({"folds": None}, "'folds' or by 'test_patients': give one of them"),
        ({"test_patients": 3}, "'folds' or by 'test_patients': give one of them"),
        ({"seeds": None}, "give one or the other"),
        ({"encoder_seeds": [0], "finetune_seeds": [0]}, "give one or the other"),
        (fixed(encoder_seeds=None), "encoder_seeds and finetune_seeds go together"),
        ({"seeds": None, "encoder_seeds": [0], "finetune_seeds": [0]}, "with 'folds' each seed has a test of its own"),
        ({"validation_patients": 1}, "with 'folds' each seed has a test of its own"),
        ({**ONE_ENCODER, "tasks": {"a": OWN_DATA, "b": {"job": "finetune.yaml"}}}, "each seed has a test of its own"),
        (fixed(left_out=["a"]), "left_out is with 'folds' alone"),
        (fixed(finetune_seeds=[1, 1]), "names one twice"),
        (fixed(end_points=["dise"]), "end_points.0"),
        ({"tasks": {"a": {"job": "finetune.yaml", "probe": {"trainer.batch": 1}}}}, "did you mean 'batch_size'?"),
        ({"pretraining": {"job": "finetune.yaml"}}, "where 'pretrain' is needed"),
        ({"pretraining": {"job": "pretrain.yaml", "set": {"trainer.batch": 1}}}, "did you mean 'batch_size'?"),
        ({"pretraining": {"job": "pretrain.yaml", "set": {"model.feature_size": 24}}}, "model.feature_size 24"),
        ({"pretraining": {"job": "nowhere.yaml"}}, "cannot read the job file"),
        (
            {"pretraining": {"job": "pretrain.yaml", "local": "a"}, "left_out": ["a"]},
            "which is also to pre-train alone",
        ),
        ({"pretraining": {"job": "pretrain.yaml", "set": {"federation.sample": 1}}}, "differ in their optimizer steps"),
        ({"tasks": {"a": {"job": "finetune.yaml", "set": {"federation.selection.patience": 1}}}}, "optimizer steps"),
        ({"data": {"phantom": {}, "shard": {"collection": "c", "by": "source"}}}, "made in one way"),
    ],
)
def test_what_is_wrong_in_a_plan_is_said_before_anything_runs(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(FedSwinError) as error:
        write_plan(tmp_path, **changes)
    assert message in str(error.value)
