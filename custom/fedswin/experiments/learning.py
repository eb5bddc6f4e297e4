"""Whether an encoder has learned anything, as its run recorded it: only then do rows tell of the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedswin.provenance import read_provenance
from fedswin.scalars import is_number

if TYPE_CHECKING:
    from fedswin.experiments.plan import Plan
    from fedswin.experiments.rows import Row

LEARNS, AT_CHANCE, COLLAPSED, NOT_KNOWN = "learns", "at chance", "collapsed", "not known"
NOT_RECORDED = ""
"""What a row says that was written before runs told of it, or that has no encoder."""
_VERDICTS = (LEARNS, AT_CHANCE, COLLAPSED, NOT_KNOWN)
_FIGURES = (
    "rotation_accuracy",
    "rotation_accuracy_bound",
    "patients",
    "contrastive_share",
    "feature_spread",
    "feature_rank",
    "round",
)
ENCODER_FIGURES = tuple(f"encoder_{name}" for name in _FIGURES)
"""The measures of a row that say what the verdict rests on."""
_LEARNING, _STARTED_FROM = "learning", "last"


def read_learning(run: Path) -> tuple[str, dict[str, float]]:
    """Return the verdict on the last model of a run of pre-training, and its figures; "not known" if there is none."""
    learning = read_provenance(run).get(_LEARNING)
    told = learning.get(_STARTED_FROM) if isinstance(learning, Mapping) else None
    about: Mapping[str, Any] = told if isinstance(told, Mapping) else {}
    verdict = about.get("verdict")
    figures = {f"encoder_{name}": float(about[name]) for name in _FIGURES if is_number(about.get(name))}
    return (verdict if verdict in _VERDICTS else NOT_KNOWN), figures


def with_later_verdicts(plan: Plan, rows: Sequence[Row]) -> list[Row]:
    """Return the rows with what the plan says of encoders that were measured after the rows had been recorded."""
    if plan.settings.encoders is None:
        return list(rows)
    return [row if row.cell.starts_from_scratch or row.about["encoder"] else _marked(row, AT_CHANCE) for row in rows]


def remark_on(verdicts: Sequence[str]) -> str:
    """Return what keeps a conclusion from being drawn from runs whose encoders have these verdicts; else nothing."""
    failed = [verdict for verdict in verdicts if verdict in (AT_CHANCE, COLLAPSED)]
    if failed:
        kind = AT_CHANCE if AT_CHANCE in failed else COLLAPSED
        return f"encoder {kind}" + (f" in {len(failed)} of {len(verdicts)} runs" if len(failed) < len(verdicts) else "")
    if NOT_RECORDED in verdicts:
        return "learning not recorded"
    return "learning not known" if NOT_KNOWN in verdicts else ""


def _marked(row: Row, verdict: str) -> Row:
    return replace(row, about={**row.about, "encoder": verdict})
