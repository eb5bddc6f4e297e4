"""How a study looks on a terminal: a line for each global model, and a table of the sites."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from fedswin.config import Job
from fedswin.run_folder import Record
from fedswin.status import Status

_BARS = "▁▂▃▄▅▆▇█"
_CURVE_LENGTH = 20


@dataclass(frozen=True)
class StudyView:
    """How far a study is.

    Attributes:
        job: the job; ``None`` before it has started.
        records: a line for each scored global model.
        status: what the sites do; ``None`` where there is no federation, or before it has begun.
        ended: how the study ended, in a sentence; empty while it runs.
        waiting: what is waited for, before it has started.
    """

    job: Job | None
    records: Sequence[Record]
    status: Status | None
    ended: str
    waiting: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: the job's name and length, the status, and every record."""
        return {
            "job": self.job and self.job.name,
            "rounds": self.job and self.job.federation.rounds,
            "ended": self.ended or None,
            "round": self.status and self.status.round,
            "sites": dict(self.status.sites) if self.status else {},
            "seconds_left": _seconds_left(self),
            "records": list(self.records),
        }


def record_line(job: Job, record: Record) -> str:
    """Return what the record of a global model says, as one line without a time."""
    metric, _ = job.key_metric
    value = record["global"].get(metric)
    score = f"{metric} {value:.4f}" if value is not None else f"{metric} not scored"
    losses = [site["train"]["loss"] for site in record["sites"].values() if site.get("train")]
    train = f", train loss {sum(losses) / len(losses):.4f}" if losses else ""
    status = {"initial": "start", "ok": "", "failed": "FAILED, the old model stays"}[record["status"]]
    note = f" ({status})" if status else ""
    return f"round {record['round']:>2} of {job.federation.rounds}: validation {score}{train}{note}"


def render(view: StudyView) -> Group:
    """Return the study as a heading, a table of its sites, and how it ended."""
    if view.job is None:
        return Group(Text(view.ended or f"The job has not started: {view.waiting.lower()}"))
    return Group(Text(_heading(view.job, view)), _table(view.job, view), Text(view.ended))


def sparkline(values: Sequence[float]) -> str:
    """Return a curve of a character each, from the lowest value to the highest."""
    if not values:
        return ""
    low, high = min(values), max(values)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((value - low) * scale)] for value in values)


def _heading(job: Job, view: StudyView) -> str:
    metric, mode = job.key_metric
    scored = {r["round"]: r["global"][metric] for r in view.records if r["global"].get(metric) is not None}
    number = view.status.round if view.status else max((record["round"] for record in view.records), default=0)
    parts = [f"{job.name}: round {number} of {job.federation.rounds}"]
    if scored:
        best = (min if mode == "min" else max)(scored, key=lambda key: scored[key])
        curve = sparkline(list(scored.values())[-_CURVE_LENGTH:])
        parts.append(f"{metric} {list(scored.values())[-1]:.4f} {curve} best {scored[best]:.4f} (round {best})")
    left = _seconds_left(view)
    if left:
        parts.append(f"about {int(left) // 60}:{int(left) % 60:02d} min left")
    return ", ".join(parts)


def _table(job: Job, view: StudyView) -> Table:
    metric, _ = job.key_metric
    table = Table("site", "now", "train loss", metric, "cases", "MB up", "MB down")
    doing = view.status.sites if view.status else {}
    for site in sorted({*doing, *(name for record in view.records for name in record["sites"])}):
        lines = [record["sites"][site] for record in view.records if site in record["sites"]]
        losses = [line["train"]["loss"] for line in lines if line.get("train")]
        scores = [line["metrics"][metric] for line in lines if line.get("metrics", {}).get(metric) is not None]
        table.add_row(
            site,
            "" if view.ended else doing.get(site, "away"),
            _last_and_curve(losses),
            _last_and_curve(scores),
            str(next((line["cases"] for line in reversed(lines) if "cases" in line), "")),
            _megabytes(line.get("bytes_up", 0) for line in lines),
            _megabytes(line.get("bytes_down", 0) for line in lines),
        )
    return table


def _last_and_curve(values: Sequence[float]) -> str:
    return f"{values[-1]:.4f} {sparkline(values[-_CURVE_LENGTH:])}" if values else ""


def _megabytes(counts: Any) -> str:
    return f"{sum(counts) / 1e6:.1f}"


def _seconds_left(view: StudyView) -> float | None:
    if view.ended or not view.job or not view.status or view.status.round_seconds is None:
        return None
    return (view.job.federation.rounds - view.status.round) * view.status.round_seconds
