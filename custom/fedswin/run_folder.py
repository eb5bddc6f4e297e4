"""The run folder: what a study leaves behind, the same whether simulated, local, or fetched."""

from __future__ import annotations

import json
import math
import platform
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from fedswin.config import Job
from fedswin.output import refuse_output
from fedswin.training.scores import Score, mean_scores
from fedswin.weights.file import Weights, save_weights

METRICS = "metrics.jsonl"

Record = dict[str, Any]
"""A line of ``metrics.jsonl``; line r is about global model r, 0 being the initial one."""


class RunFolder:
    """The shared part of a run folder: metrics, global models, curves of the global model.

    The server of a federation writes one in its job folder, ``fedswin train`` writes one directly.

    Args:
        folder: where it is; made if it is not there.
        job: the job that runs.
        first_round: the first global model that is going to be scored; a resumed study keeps the records
            before it and writes the others again.
    """

    def __init__(self, folder: Path, job: Job, first_round: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._job = job
        self._best: float | None = None
        self._curves = SummaryWriter(str(folder / "tensorboard" / "global"), purge_step=first_round)
        kept = [record for record in read_records(folder) if record["round"] < first_round]
        (folder / METRICS).write_text("".join(json.dumps(record) + "\n" for record in kept))
        for record in kept:
            self._is_best(record)

    def save_last(self, tensors: Mapping[str, Tensor], round_number: int) -> None:
        """Write ``global/last.pt``, global model ``round_number``."""
        self._save("last", tensors, {"round": round_number})

    def close_round(self, record: Record, tensors: Mapping[str, Tensor]) -> None:
        """Append the record of a scored global model, and keep that model if it is the best so far.

        Args:
            record: the line about global model ``record["round"]``.
            tensors: that model.
        """
        with (self.folder / METRICS).open("a") as file:
            file.write(json.dumps(_finite(record)) + "\n")
        for name, value in record["global"].items():
            self._curves.add_scalar(f"validation/{name}", value, record["round"])
        self._curves.flush()
        if self._is_best(record):
            self._save("best", tensors, {"round": record["round"], "global": record["global"]})

    def _is_best(self, record: Record) -> bool:
        metric, mode = self._job.key_metric
        value = record["global"].get(metric)
        if record["status"] == "failed":  # it is the model of the round before
            return False
        if value is None:  # without validation cases the newest model is as good as any
            return self._best is None
        if self._best is not None and (value <= self._best if mode == "max" else value >= self._best):
            return False
        self._best = value
        return True

    def _save(self, name: str, tensors: Mapping[str, Tensor], about: Record) -> None:
        provenance = {**about, "job_sha256": self._job.digest, "versions": versions()}
        save_weights(self.folder / "global" / f"{name}.pt", Weights(tensors, self._job, _finite(provenance)))


def round_record(round_number: int, status: str, sites: Mapping[str, Record], **more: Any) -> Record:
    """Return the line about global model ``round_number``.

    A global metric is the mean over the sites that report it, each weighted by its validation cases. Only ``dice``,
    which picks ``best.pt``, is instead the mean of the global Dice of the classes: sites may have annotated different
    classes, and their own ``dice`` would count an easy organ as often as there are sites that annotated nothing else.

    Args:
        round_number: r.
        status: ``initial``, ``ok`` or ``failed``.
        sites: what each site said: ``metrics`` of model r, and ``train``, ``weight``, ``cases`` … of the
            round that made it.
        more: ``refused``, ``late`` and ``missing``.
    """
    scores = [entry.get("metrics") or {} for entry in sites.values()]
    weights = [entry.get("validation_cases") or 0 for entry in sites.values()]
    return {
        "round": round_number,
        "status": status,
        "global": _global_scores(scores, weights),
        "sites": dict(sites),
        **{key: more.get(key, []) for key in ("refused", "late", "missing")},
    }


def _global_scores(scores: Sequence[Mapping[str, Score]], weights: Sequence[float]) -> dict[str, float]:
    means = mean_scores(scores, weights)
    by_class = [{"dice": value} for name, value in means.items() if name.startswith("dice_")]
    return means | mean_scores(by_class)


def read_records(run: Path) -> list[Record]:
    """Return the lines of ``metrics.jsonl`` of a run; a line that is still being written is left out."""
    path = run / METRICS
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().split("\n")[:-1]]


def write_provenance(run: Path, job: Job, command: str, **more: Any) -> None:
    """Write ``provenance.json``: what was run, from what, with which software."""
    content = {
        "command": command,
        "job_sha256": job.digest,
        "seed": job.seed,
        "versions": versions(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        **more,
    }
    (run / "provenance.json").write_text(json.dumps(content, indent=2) + "\n")


def versions() -> dict[str, str]:
    """Return the versions of FedSwin and of what the numbers depend on."""
    return {name: version(name) for name in ("fedswin", "nvflare", "torch", "monai", "numpy", "nibabel")}


def refuse_run(out: Path, *, overwrite: bool) -> None:
    """Make sure that a run, or a folder of runs, may be written to ``out``.

    Raises:
        FedSwinError: if it exists and ``overwrite`` is false, or it is something other than a run.
    """
    refuse_output(out, overwrite=overwrite, kind="a run", is_kind=_holds_runs)


def start_run(out: Path, job: Job) -> None:
    """Make an empty run folder in place of what is at ``out``, and write the job into it."""
    if out.exists():
        shutil.rmtree(out)
    out.mkdir(parents=True)
    (out / "job.yaml").write_text(job.to_yaml())


def _holds_runs(out: Path) -> bool:
    return out.is_dir() and (any(out.glob("**/job.yaml")) or not any(out.iterdir()))


def _finite(value: Any) -> Any:
    """Replace every number that JSON cannot hold by ``None``."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
