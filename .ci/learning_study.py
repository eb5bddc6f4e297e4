"""Which settings let a small pre-training learn: runs that differ from a base in one thing, a CSV, and a page.

    python .ci/learning_study.py run phantoms SITES --out RUNS --seeds 0,1,2
    python .ci/learning_study.py page

SITES is a folder of sites, whose cases are pooled, as these make it:

    fedswin data make simulator/three_phantom_hospitals.yaml SITES
    fedswin data shard COLLECTION SITES --by iid --sites 1 --only 'head_neck/*[37]'

A run that is in the CSV is not run again. Settings that a run does not name are those of the job.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import mean

PROJECT = Path(__file__).resolve().parents[1]
ROWS = PROJECT / "simulator" / "learning_study.csv"
PAGE = PROJECT / "simulator" / "learning_study.md"
FIGURES = ("rotation_accuracy", "contrastive_share", "feature_spread", "feature_rank", "inpainting")
COLUMNS = ("data", "change", "seed", "step", "verdict", *FIGURES)

JOBS = {"phantoms": "jobs/demo/pretrain.yaml", "head and neck": "jobs/experiments/pretrain_head_neck.yaml"}
LENGTH = {"phantoms": (5, 40), "head and neck": (6, 100)}
"""Rounds, each of which is scored, and steps of a round."""
CHANGES = {
    "none": [],
    "window -1000 to 1000 (the paper's)": ["data.hu_window=[-1000, 1000]"],
    "learning rate 1e-4": ["trainer.learning_rate=1e-4"],
    "learning rate 1e-3": ["trainer.learning_rate=1e-3"],
    "learning rate 3e-3": ["trainer.learning_rate=3e-3"],
    "warm-up of 4 steps": ["trainer.warmup_steps=4"],
    "learning rate 3e-3, warm-up of 4 steps": ["trainer.learning_rate=3e-3", "trainer.warmup_steps=4"],
    "batch of 2": ["trainer.batch_size=2"],
    "batch of 4": ["trainer.batch_size=4"],
    "head transposed": ["pretraining.reconstruction_head=transposed"],
    "without inpainting": ["pretraining.loss_weights.inpainting=0"],
    "without rotation": ["pretraining.loss_weights.rotation=0"],
    "without contrastive coding": ["pretraining.loss_weights.contrastive=0"],
    "spacing 4 mm": ["data.spacing=[4, 4, 4]"],
}
"""Token pooling is none of them: at a ROI of 32 the bottleneck has one token."""
SAME = {
    "phantoms": {"batch of 2"},
    "head and neck": {"batch of 4", "spacing 4 mm"},
}
"""What is the base's own."""
INTRODUCTION = """# Which settings let a small pre-training learn

`.ci/learning_study.py` ran this and made the page; [the CSV](learning_study.csv) has every scored model. Each run
trains on the pooled cases of all sites, from its own seed, and a line differs from the job in what it says.
*Learned* counts the runs whose last model passes [the rule](../custom/fedswin/pretraining/verdict.py), *first* is
the earliest step at which one did, and *least spread* is the lowest of any model on the way. The other figures are
means over the seeds, of the last model; chance is 0.25 for the rotation accuracy and 1 for the contrastive share.
What to do about it: [when pre-training does not learn](../jobs/when_pretraining_does_not_learn.md).
"""


def run(data: str, sites: Path, out: Path, seeds: list[int]) -> None:
    """Train what is missing in the CSV, and append the scores of each run when it has ended."""
    for seed in seeds:
        for change, settings in CHANGES.items():
            if change in SAME[data] or any(
                (row["data"], row["change"], row["seed"]) == (data, change, str(seed)) for row in read()
            ):
                continue
            folder = out / f"{data} {change} {seed}".translate(str.maketrans(" (),'", "_____"))
            rounds, steps = LENGTH[data]
            length = [f"federation.rounds={rounds}", f"federation.local_steps={steps}", "federation.min_sites=1"]
            fixed = [f"seed={seed}", "trainer.cpu_threads=1", "pretraining.validation_batches=8"]
            sets = [part for setting in [*length, *fixed, *settings] for part in ("--set", setting)]
            command = [
                "fedswin",
                "train",
                JOBS[data],
                "--data",
                str(sites),
                "--pool",
                "--out",
                str(folder),
                *sets,
                "--overwrite",
            ]
            subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.DEVNULL)
            append(data, change, seed, steps, folder)
            print(data, change, seed, flush=True)


def append(data: str, change: str, seed: int, steps: int, folder: Path) -> None:
    """Write what a run folder says of each scored model."""
    from fedswin.config import load_job
    from fedswin.pretraining.verdict import judge_record

    job = load_job(folder / "job.yaml")
    is_new = not ROWS.exists()
    with ROWS.open("a", newline="") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(COLUMNS)
        for line in (folder / "metrics.jsonl").read_text().splitlines():
            record = json.loads(line)
            found = judge_record(job, record)
            figures = [record["global"].get(name) for name in FIGURES]
            told = ["" if value is None else f"{value:.4f}" for value in figures]
            writer.writerow([data, change, seed, record["round"] * steps, found.verdict if found else "", *told])


def read() -> list[dict[str, str]]:
    """Return the rows that are there."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="") as file:
        return list(csv.DictReader(file))


def page() -> str:
    """Return the page: a table for each collection, a line for each change."""
    parts = [INTRODUCTION]
    for data in JOBS:
        by_change = defaultdict(list)
        for row in read():
            if row["data"] == data:
                by_change[row["change"]].append(row)
        if by_change:
            rounds, steps = LENGTH[data]
            parts.append(
                f"## {data[0].upper()}{data[1:]}: [{Path(JOBS[data]).name}](../{JOBS[data]}), {rounds * steps} steps\n"
            )
            heads = (
                "change",
                "learned",
                "first",
                "rotation accuracy",
                "contrastive share",
                "spread",
                "least spread",
                "rank",
            )
            lines = [heads, ("---",) * len(heads), *(_line(change, rows) for change, rows in by_change.items())]
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n")
    return "\n".join(parts)


def _line(change: str, rows: list[dict[str, str]]) -> tuple[str, ...]:
    last_step = max(int(row["step"]) for row in rows)
    last = [row for row in rows if int(row["step"]) == last_step]
    learned = sum(row["verdict"] == "learns" for row in last)
    first = [int(row["step"]) for row in rows if row["verdict"] == "learns"]
    values = {name: [float(row[name]) for row in last if row[name]] for name in FIGURES}
    rotation, share, spread, rank = (f"{mean(values[name]):.2f}" if values[name] else "–" for name in FIGURES[:4])
    least = min(float(row["feature_spread"]) for row in rows)
    return (
        change,
        f"{learned} of {len(last)}",
        str(min(first)) if first else "–",
        rotation,
        share,
        spread,
        f"{least:.3f}",
        rank,
    )


def main() -> None:
    """Run or write what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    runner = commands.add_parser("run")
    runner.add_argument("data", choices=list(JOBS))
    runner.add_argument("sites", type=Path)
    runner.add_argument("--out", type=Path, required=True)
    runner.add_argument("--seeds", default="0,1,2")
    commands.add_parser("page")
    given = parser.parse_args()
    if given.command == "run":
        run(given.data, given.sites.resolve(), given.out.resolve(), [int(seed) for seed in given.seeds.split(",")])
    PAGE.write_text(page())


if __name__ == "__main__":
    sys.exit(main())
