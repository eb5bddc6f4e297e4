"""The run folder: what a study leaves behind, the same whether simulated, local, or fetched."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from fedswin.code_version import code_version
from fedswin.config import Job, load_job
from fedswin.curves import TENSORBOARD, Curves
from fedswin.durable import append_line, write_text_whole, written_whole
from fedswin.errors import FedSwinError
from fedswin.outcome import OUTCOME
from fedswin.output import refuse_output
from fedswin.pretraining.verdict import judge_record
from fedswin.provenance import (
    PROVENANCE,
    note_process,
    noted_round,
    read_provenance,
    update_provenance,
    versions,
    write_provenance,
)
from fedswin.records import METRICS, Record, attendance, read_records
from fedswin.run_lock import LOCK, lock_runs
from fedswin.selection import Selection
from fedswin.weights.file import Weights, load_weights, resolve_weights, save_weights

JOB = "job.yaml"


class RunFolder:
    """The shared part of a run folder: metrics, global models, curves, and the part of the provenance that grows.

    The server of a federation writes one in its job folder, ``fedswin train`` writes one directly.

    Args:
        folder: where it is; made if it is not there.
        job: the job that runs.
        first_round: the first global model that is going to be scored; a resumed study keeps the records
            before it and writes the others again.

    Attributes:
        folder: where it is.
        curves: where the curves of the sites are drawn, too.
        selection: which global model is the best, and whether the study should stop.
    """

    def __init__(self, folder: Path, job: Job, first_round: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._job = job
        self.curves = Curves(folder, job, first_round)
        kept = [record for record in read_records(folder) if record["round"] < first_round]
        with written_whole(folder / METRICS) as file:
            file.writelines(f"{json.dumps(record)}\n".encode() for record in kept)
        self._rounds = [attendance(record) for record in kept if record["status"] != "initial"]
        note_process(folder, first_round)
        chosen = self._stored("best")
        if chosen:  # a process that was stopped after it had written best.pt may not have noted it
            self._note_model("best", chosen.provenance, chosen.digest)
        selection = Selection(*job.key_metric, job.federation.selection.patience)
        self.selection = selection.resumed(chosen.provenance if chosen else None, kept)

    def save_last(self, tensors: Mapping[str, Tensor], round_number: int) -> None:
        """Write ``global/last.pt``, global model ``round_number``, which has not been scored yet."""
        self._save("last", tensors, {"round": round_number})

    def close_round(self, record: Record, tensors: Mapping[str, Tensor]) -> str | None:
        """Append the record of a scored global model, and keep that model if it is the best so far.

        The files of a pre-training model say whether it learns, and so does the provenance: ``learning``.

        Args:
            record: the line about global model ``record["round"]``.
            tensors: that model.

        Returns:
            What the study's log should say of the comparison with the best model, if anything.

        Raises:
            OSError: if something cannot be written. The same call may be made again.
        """
        selection = self.selection.after(record)
        learning = judge_record(self._job, record) if record["status"] != "failed" else None
        known = {"learning": learning.as_dict()} if learning else {}
        if selection.best and selection.best is not self.selection.best:
            self._save("best", tensors, {**selection.best, **known})
        if learning and noted_round(read_provenance(self.folder), "last") == record["round"]:
            self._save("last", tensors, {"round": record["round"], **known})
        self.selection = selection
        if record["status"] != "initial":
            rounds = [entry for entry in self._rounds if entry["round"] < record["round"]]
            self._rounds = [*rounds, attendance(record)]
            update_provenance(self.folder, rounds=self._rounds)
        # After best.pt, which thus knows every recorded model; a resumed study scores anew what has no record.
        append_line(self.folder / METRICS, json.dumps(_finite(record)))
        self.curves.draw(record)
        return selection.note

    def _save(self, name: str, tensors: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        provenance = {**about, "job_sha256": self._job.digest, "code": code_version(), "versions": versions()}
        weights = Weights(tensors, self._job, _finite(provenance))
        save_weights(resolve_weights(self.folder, name), weights)
        self._note_model(name, about, weights.digest)

    def _note_model(self, name: str, about: Mapping[str, Any], digest: str) -> None:
        known = read_provenance(self.folder)
        changes = {"models": {**known.get("models", {}), name: {"round": about["round"], "sha256": digest}}}
        if "learning" in about:
            changes["learning"] = {**known.get("learning", {}), name: about["learning"]}
        update_provenance(self.folder, **changes)

    def _stored(self, name: str) -> Weights | None:
        path = resolve_weights(self.folder, name)
        return load_weights(path) if path.exists() else None


def refuse_run(out: Path, *, overwrite: bool) -> None:
    """Make sure that a run, or a folder of runs, may be written to ``out``.

    Raises:
        FedSwinError: if it exists and ``overwrite`` is false, or it is something other than a run, or a process is
            writing it.
    """
    refuse_output(out, overwrite=overwrite, kind="a run", is_kind=_holds_runs)
    with lock_runs(out):  # deleting locks them again: this is to refuse before any work is done
        pass


def start_run(out: Path, job: Job) -> None:
    """Make an empty run folder of what is at ``out``, and write the job into it.

    The caller holds the lock of ``out`` (`lock_run`), which is all that stays of what is there.

    Raises:
        FedSwinError: if a run below ``out`` is being written.
    """
    out.mkdir(parents=True, exist_ok=True)
    for path in out.iterdir():
        if path.is_dir() and not path.is_symlink():
            delete_runs(path)
        elif path.name != LOCK:
            path.unlink()
    write_job(out, job)


def write_job(run: Path, job: Job) -> None:
    """Write ``job.yaml``, every setting of ``job``."""
    write_text_whole(run / JOB, job.to_yaml())


def describe_run(run: Path, job: Job, command: str, **more: Any) -> None:
    """Write ``job.yaml`` and ``provenance.json`` where they are missing: a study that goes on has them."""
    if not (run / JOB).exists():
        write_job(run, job)
    known = read_provenance(run)
    if "command" not in known:
        write_provenance(run, job, command, **{**more, "finished": False, **known})


def delete_runs(out: Path) -> None:
    """Delete the run, or the folder of runs, at ``out``.

    Raises:
        FedSwinError: if one of them is being written, and then nothing has been deleted.
    """
    with lock_runs(out):
        shutil.rmtree(out)


def _holds_runs(out: Path) -> bool:
    return out.is_dir() and (any(out.glob(f"**/{JOB}")) or all(path.name == LOCK for path in out.iterdir()))


def _finite(value: Any) -> Any:
    """Replace every number that JSON cannot hold by ``None``."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def require_run_of(out: Path, job: Job) -> None:
    """Make sure that ``out`` holds a run of ``job``, to go on with.

    Raises:
        FedSwinError: if it does not.
    """
    path = out / JOB
    if not path.exists():
        raise FedSwinError(f"{out} holds no run to resume. Run again without --resume.")
    if load_job(path).digest != job.digest:
        raise FedSwinError(f"{out} holds a run of another job. Resume it with its own job file, {path}.")


def copy_shared_part(source: Path, run: Path) -> None:
    """Copy what is the same in a run folder and in a study's folder at a server, as far as it is there."""
    for name in (JOB, PROVENANCE, METRICS, OUTCOME, "global", TENSORBOARD):
        if (source / name).is_dir():
            shutil.copytree(source / name, run / name)
        elif (source / name).exists():
            shutil.copy(source / name, run / name)
