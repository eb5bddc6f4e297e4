"""``provenance.json`` of a run folder: what was run, by which code, from what, on whose cases, and who answered."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

import fedswin
from fedswin.code_version import code_version
from fedswin.config import Job, Precision
from fedswin.data.datalist import REGIONS
from fedswin.durable import write_text_whole
from fedswin.errors import FedSwinError
from fedswin.scalars import is_count

PROVENANCE = "provenance.json"


def write_provenance(run: Path, job: Job, command: str, **more: Any) -> None:
    """Write what is known before a study begins.

    Args:
        run: the run folder.
        job: the job.
        command: the command of FedSwin that runs it.
        more: further entries, such as ``parent``: the hashes of the weights that the study starts from.
    """
    content = {
        "command": command,
        "job_sha256": job.digest,
        "seeds": {"job": job.seed},
        **_software(),
        "platform": platform.platform(),
        **more,
    }
    _write(run, content)


def read_provenance(run: Path) -> dict[str, Any]:
    """Return the provenance of the run, in today's form if an older version wrote it; empty if there is none yet.

    Raises:
        FedSwinError: if it is damaged.
    """
    path = run / PROVENANCE
    try:
        return _in_todays_form(dict(json.loads(path.read_text()))) if path.exists() else {}
    except ValueError:
        raise FedSwinError(f"{path} is damaged: it is no JSON object. Fetch or copy the run again.") from None


def _in_todays_form(content: dict[str, Any]) -> dict[str, Any]:
    """Sites were a list of names once, and the hash of the file that a study started from stood with the hand-over."""
    if isinstance(content.get("sites"), list):
        content["sites"] = {name: {} for name in content["sites"]}
    handover = content.get("handover")
    if isinstance(handover, dict) and "file_sha256" in handover:
        content["parent"] = {"file_sha256": handover.pop("file_sha256"), **(content.get("parent") or {})}
    return content


def noted_round(content: Mapping[str, Any], name: str) -> int | None:
    """Return the round of the model in ``global/<name>.pt``, if the provenance notes it."""
    return content.get("models", {}).get(name, {}).get("round")


def note_process(run: Path, first_round: int) -> None:
    """Note that a process goes on with a study, if it runs other software than the one before it.

    Args:
        run: the run folder.
        first_round: the first global model that the process scores.
    """
    known = read_provenance(run)
    others = known.get("continued", [])
    before, now = (others[-1] if others else known), _software()
    if "code" in before and any(before[key] != value for key, value in now.items()):
        update_provenance(run, continued=[*others, {"first_round": first_round, **now}])


def update_provenance(run: Path, **changes: Any) -> None:
    """Change entries."""
    _write(run, {**read_provenance(run), **changes})


def holdings(job: Job, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is recorded of a site's cases and machine: known words and numbers, whatever it told.

    Args:
        job: the job.
        told: ``cases``, ``validation_cases``, ``labels`` (of each class, the training cases that annotate it) and
            ``regions`` (some of `fedswin.data.datalist.REGIONS`), and the ``precision`` of its steps; any of them may
            be missing.
    """
    labels, regions = told.get("labels"), told.get("regions")
    counts = labels if isinstance(labels, Mapping) else {}
    named = regions if isinstance(regions, Sequence) else ()
    precision = told.get("precision")
    return {
        **({"precision": precision} if precision in get_args(Precision) else {}),
        "cases": {"training": _count(told.get("cases")), "validation": _count(told.get("validation_cases"))},
        "labels": {name: _count(counts[name]) for name in job.segmentation.classes if name in counts},
        "regions": [name for name in REGIONS if name in named],
    }


def _count(value: Any) -> int:
    return value if is_count(value) else 0


def versions() -> dict[str, str]:
    """Return the versions of FedSwin and of what the numbers depend on."""
    others = {name: version(name) for name in ("nvflare", "torch", "monai", "numpy", "nibabel")}
    return {"fedswin": fedswin.__version__, **others}


def _software() -> dict[str, Any]:
    return {"code": code_version(), "versions": versions(), "python": platform.python_version()}


def _write(run: Path, content: Mapping[str, Any]) -> None:
    write_text_whole(run / PROVENANCE, f"{json.dumps(content, indent=2)}\n")
