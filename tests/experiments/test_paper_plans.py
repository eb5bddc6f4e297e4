"""The plans of the paper's own experiments: their counts, what they share, and how they stand to the paper's tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fedswin.cli import app
from fedswin.experiments.cells import cells_of, finetuning_job, key_of, pretraining_job, pretraining_key
from fedswin.experiments.plan import Plan, load_plan

ROOT = Path(__file__).parents[2]
PLANS = ROOT / "simulator" / "plans"
BTCV_CASES, FOLDS = 30, 5  # section 5.1 and 5.2 of the paper
COUNTS = {  # encoders and rows, by hand
    "table_1_btcv": (2, FOLDS * (1 + 2)),
    "table_4_btcv": (6 * 2, FOLDS * (1 + 6 * 2)),
    "figure_7_btcv": (2, FOLDS * 6 * (1 + 2)),
    "figure_8_btcv": (3 * 2, FOLDS * (1 + 3 * 2)),
    "tables_2_3_decathlon_ct": (2, 6 * FOLDS * (1 + 2)),
    "tables_2_3_decathlon_mri": (0, 4 * FOLDS),
}
PRETRAINED = [name for name in COUNTS if COUNTS[name][0]]


def plan_of(name: str) -> Plan:
    return load_plan(PLANS / f"{name}.yaml")


def keys(name: str) -> set[str]:
    plan = plan_of(name)
    return {key_of(plan, cell) for cell in cells_of(plan)}


def encoders(name: str) -> set[str]:
    plan = plan_of(name)
    return {pretraining_key(plan, cell) for cell in cells_of(plan) if not cell.starts_from_scratch}


@pytest.mark.parametrize("name", COUNTS)
def test_a_dry_run_counts_the_cells_and_reads_no_data(name: str, tmp_path: Path) -> None:
    shown = CliRunner().invoke(
        app, ["experiment", str(PLANS / f"{name}.yaml"), "--out", str(tmp_path), "--dry-run"], env={"COLUMNS": "120"}
    )
    assert shown.exit_code == 0, shown.output
    counted = {
        what: int(number) for what, number in re.findall(r"^(\w+)s: \d+ of (\d+) are", shown.output, re.MULTILINE)
    }
    assert (counted["encoder"], counted["row"]) == COUNTS[name]
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("name", COUNTS)
def test_the_table_of_plans_says_the_counts(name: str) -> None:
    [line] = re.findall(rf"^\| \[{name}\.yaml\].*$", (PLANS / "README.md").read_text(), re.MULTILINE)
    assert [int(cell) for cell in line.split("|") if cell.strip().isdigit()] == list(COUNTS[name])


@pytest.mark.parametrize("name", COUNTS)
def test_the_description_says_where_the_data_are_the_hardware_and_what_differs(name: str) -> None:
    plan = plan_of(name)
    variables = set(re.findall(r"\$\w+", str(plan.settings.model_dump(exclude={"description"}))))
    assert set(re.findall(r"\$\w+", plan.settings.description)) == variables
    assert "a GPU of 32 GB" in plan.settings.description
    assert "It differs from the paper" in plan.settings.description


@pytest.mark.parametrize("name", PRETRAINED)
def test_pre_training_is_the_papers_and_one_encoder_has_a_fold_for_each_seed_of_fine_tuning(name: str) -> None:
    plan = plan_of(name)
    by_arm: dict[tuple, set] = {}
    for cell in cells_of(plan):
        if not cell.starts_from_scratch:
            job = pretraining_job(plan, cell)
            assert (job.total_steps, job.trainer.batch_size, job.trainer.learning_rate) == (450_000, 4, 4e-4)
            alike = by_arm.setdefault((cell.arm, cell.objective, cell.cases), set())
            alike.add((pretraining_key(plan, cell), cell.seed % FOLDS))
    for alike in by_arm.values():
        assert len({key for key, _ in alike}) == 1
        assert {fold for _, fold in alike} == set(range(FOLDS))


def test_the_plans_on_btcv_share_the_runs_of_table_1() -> None:
    for name in ("table_4_btcv", "figure_7_btcv", "figure_8_btcv"):
        assert keys("table_1_btcv") < keys(name)
    assert encoders("table_1_btcv") == encoders("figure_7_btcv") == encoders("tables_2_3_decathlon_ct")
    assert len(set.union(*map(encoders, PRETRAINED))) == 16  # as the table of plans says


def test_table_4_has_the_rows_of_the_papers_table() -> None:
    cells = cells_of(plan_of("table_4_btcv"))
    losses = {frozenset(cell.objective.split(" + ")) - {""} for cell in cells}
    alone = [{"rotation"}, {"contrastive"}, {"inpainting"}]
    together = [{"inpainting", "rotation"}, {"inpainting", "contrastive"}, {"inpainting", "contrastive", "rotation"}]
    assert losses == {frozenset(row) for row in ({}, *alone, *together)}


def test_figure_7_has_the_papers_shares_of_the_training_cases_of_a_fold() -> None:
    training = BTCV_CASES - BTCV_CASES // FOLDS
    shares = [round(share * training) for share in (0.1, 0.2, 0.4, 0.6, 0.8)]
    assert list(plan_of("figure_7_btcv").settings.labels) == [*shares, "all"]


def test_figure_8_has_the_papers_numbers_of_scans() -> None:
    settings = plan_of("figure_8_btcv").settings
    numbers = [len(settings.data.sites) * amount for amount in settings.pretraining.cases if amount != "all"]
    assert numbers == [100, 3000]


def test_the_two_plans_of_the_decathlon_have_its_ten_tasks_and_no_mri_task_is_pre_trained() -> None:
    tasks = {}
    for name in ("tables_2_3_decathlon_ct", "tables_2_3_decathlon_mri"):
        plan = plan_of(name)
        for cell in cells_of(plan):
            job, collection = finetuning_job(plan, cell), plan.settings.tasks[cell.task].data.shard.collection
            tasks[re.search(r"/Task(\d\d)_\w+/dataset\.json$", collection)[1]] = plan.settings.tasks[cell.task].job
            assert cell.starts_from_scratch or job.data.channels == plan.pretraining.data.channels
    files = sorted((ROOT / "jobs").glob("finetune_msd_task*.yaml"))
    assert len(files) == 10
    assert tasks == {re.search(r"task(\d\d)", file.name)[1]: f"../../jobs/{file.name}" for file in files}
