"""``metrics.jsonl`` of a run folder: a line for each global model, how it was made and how the sites score it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fedswin.training.scores import global_scores, pooled_scores

METRICS = "metrics.jsonl"

Record = dict[str, Any]
"""A line of ``metrics.jsonl``; line r is about global model r, 0 being the initial one."""


def round_record(round_number: int, status: str, sites: Mapping[str, Record], **more: Any) -> Record:
    """Return the line about global model ``round_number``.

    Args:
        round_number: r.
        status: ``initial``, ``ok`` or ``failed``.
        sites: what each site said: ``metrics`` of model r, and ``train``, ``weight``, ``cases`` … of the
            round that made it.
        more: ``refused``, ``late`` and ``missing``.
    """
    scores, pooled = global_scores(sites), pooled_scores(sites)
    differing = {name: value for name, value in pooled.items() if value != scores.get(name)}
    return {
        "round": round_number,
        "status": status,
        "global": scores,
        **({"pooled": differing} if differing else {}),
        "sites": dict(sites),
        **{key: more.get(key, []) for key in ("refused", "late", "missing")},
    }


def read_records(run: Path) -> list[Record]:
    """Return the lines of ``metrics.jsonl`` of a run.

    A line that is still being written, or that its writer did not live to complete, is left out.
    """
    path = run / METRICS
    return list(_whole_records(path.read_bytes())) if path.exists() else []


def _whole_records(content: bytes) -> Iterator[Record]:
    for line in content.split(b"\n")[:-1]:
        try:
            yield json.loads(line)
        except ValueError:  # torn: no part of a record is itself a record
            continue


def attendance(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return who took part in the round that made the global model of ``record``, a line of ``metrics.jsonl``."""
    return {
        "round": record["round"],
        "answered": [name for name, site in record["sites"].items() if "weight" in site],
        "refused": [entry["site"] for entry in record["refused"]],
        "late": [entry["site"] for entry in record["late"]],
        "missing": list(record["missing"]),
    }
