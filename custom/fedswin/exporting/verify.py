"""``fedswin export --verify``: whether a file holds the model of a run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedswin.config import load_job
from fedswin.errors import FedSwinError
from fedswin.exporting.exported import read_exported
from fedswin.provenance import PROVENANCE, read_provenance
from fedswin.run_folder import JOB
from fedswin.weights.file import Weights, load_weights, resolve_weights

_MODELS = ("best", "last")


def verify(run: Path, file: Path) -> list[str]:
    """Check that ``file`` holds a model of ``run``, and that the run agrees with itself.

    Args:
        run: a run folder.
        file: a weights file, or what ``fedswin export`` made, of any form.

    Returns:
        What agrees, in sentences.

    Raises:
        FedSwinError: if something differs, or something cannot be read.
    """
    job = load_job(run / JOB).digest
    models = {name: load_weights(path) for name in _MODELS if (path := resolve_weights(run, name)).exists()}
    if not models:
        raise FedSwinError(f"{run / 'global'} holds no model to compare with. Give a run that has one.")
    agreed = _agree_with_provenance(run, models)
    found = read_exported(file)
    if found.job_sha256 is None:
        raise FedSwinError(f"{file} names no job of FedSwin. Give a file that fedswin export made.")
    if found.job_sha256 != job:
        raise FedSwinError(
            f"{file} is of another job: its digest is {found.job_sha256}, and that of {run / JOB} is {job}."
        )
    same = [name for name, weights in models.items() if found.is_of(weights)]
    if not same:
        compared = " or ".join(f"global/{name}.pt" for name in models)
        raise FedSwinError(
            f"The tensors in {file} are not those of {compared} in {run}. It was made of another model, or it was "
            "changed since. Export it again."
        )
    which = " and of ".join(f"global/{name}.pt" for name in same)
    return [*agreed, f"The job in {file} is that of the run.", f"Its tensors are those of {which}."]


def _agree_with_provenance(run: Path, models: Mapping[str, Weights]) -> list[str]:
    known = read_provenance(run).get("models", {})
    noted = {name: entry["sha256"] for name, entry in known.items() if name in models}
    for name, digest in noted.items():
        if models[name].digest != digest:
            raise FedSwinError(
                f"{run / 'global' / f'{name}.pt'} is not the model that {run / PROVENANCE} notes: its tensors have the "
                f"SHA-256 {models[name].digest}, noted is {digest}. Fetch the run again."
            )
    return [f"global/{name}.pt is the model that {PROVENANCE} notes." for name in noted]
