"""How a study looks on a terminal: lines about each global model, and a table of the sites that fits the window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import fmean

from rich.console import Console, ConsoleOptions, RenderResult
from rich.filesize import decimal
from rich.table import Column, Table
from rich.text import Text

from fedswin.config import Job
from fedswin.operations.study_view import SiteView, StudyView
from fedswin.pretraining.verdict import judge_record, warning
from fedswin.records import Record

_BARS = "▁▂▃▄▅▆▇█"
_STYLES = {"gone": "bold red", "refused": "red", "late": "yellow", "training": "cyan", "waiting": "green"}
_URGENT = ("gone", "refused", "late", "training", "scoring", "preparing", "waiting", "sent")
"""States, those first that somebody should see where not all sites fit."""
_OTHER_LINES = 4
"""Lines of a table under way that are no site's: two of the heading, that of the columns, and the cursor's."""
_FIXED_WIDTH = 68
"""Columns that the table needs beside its two curves."""
_CURVE_LENGTHS = (6, 24)
_VERDICT_WIDTH = 13
"""Columns that the sites' verdicts need."""


def record_line(job: Job, record: Record) -> str:
    """Return what the record of a global model says, as one line without a time."""
    metric, _ = job.key_metric
    value = record["global"].get(metric)
    score = f"{metric} {value:.4f}" if value is not None else f"{metric} not scored"
    losses = [(site.get("train") or {}).get("loss") for site in record["sites"].values()]
    known = [loss for loss in losses if loss is not None]
    train = f", train loss {fmean(known):.4f}" if known else ""
    status = {"initial": "start", "ok": "", "failed": "FAILED, the old model stays"}[record["status"]]
    note = f" ({status})" if status else ""
    rounds = job.federation.rounds
    number = f"{record['round']:>{max(2, len(str(rounds)))}}"
    return f"round {number} of {rounds}: validation {score}{train}{note}"


def learning_lines(job: Job, before: Sequence[Record], record: Record) -> Iterator[str]:
    """Yield whether the global model of a pre-training learns, in a line, and a warning if something new is wrong.

    Args:
        job: the job.
        before: the records before it.
        record: its record.
    """
    if learning := judge_record(job, record):
        yield learning.line
    if text := warning(job, before, record):
        yield text


def record_notes(record: Record) -> Iterator[str]:
    """Yield what went amiss in the round that made a global model, a sentence each without a full stop."""
    if record["missing"]:
        yield f"no answer in time from {', '.join(record['missing'])}"
    for entry in record["late"]:
        yield f"the update of {entry['site']} for round {entry['round'] + 1} came after that was over"
    for entry in record["refused"]:
        yield f"the update of {entry['site']} was refused: {entry['reason']}"


def duration(seconds: float) -> str:
    """Return so many seconds in the units that a person would use."""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    if whole < 24 * 3600:
        return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
    return f"{whole // (24 * 3600)} d {whole % (24 * 3600) // 3600} h"


def sparkline(values: Sequence[float], length: int = 24) -> str:
    """Return the curve of ``values`` from the lowest to the highest, in a character for each.

    With more than ``length`` values a character stands for the mean of several, and the last for the last ones.
    """
    if not values:
        return ""
    count = min(length, len(values))
    edges = [number * len(values) // count for number in range(count + 1)]
    means = [fmean(values[first:end]) for first, end in pairwise(edges)]
    low, high = min(means), max(means)
    height = (high - low) or 1.0
    return "".join(_BARS[round((mean - low) / height * (len(_BARS) - 1))] for mean in means)


class StudyTable:
    """A study on a terminal: a heading, a line for each site, what went amiss in the last round, and how it ended.

    Where there are more sites than lines, those that somebody should see come first and the others are counted.

    Args:
        view: how far the study is.
        lines: how many lines it may have; ``None`` for as many as it needs.
    """

    def __init__(self, view: StudyView, lines: int | None = None) -> None:
        self._view = view
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it in the width that there is."""
        view = self._view
        if view.job is None:
            yield Text(view.ended or f"The job has not started: {view.waiting.lower()}")
            return
        amiss = "; ".join(record_notes(view.records[-1])) if view.records else ""
        texts = [Text(view.learning.line if view.learning else ""), Text(view.warning, "bold yellow")]
        learning = [line for text in texts if text for line in text.wrap(console, options.max_width)]  # whole
        shown, others = self._chosen(_OTHER_LINES + bool(amiss) + len(learning))
        free = options.max_width - _FIXED_WIDTH
        with_verdicts = bool(learning) and free >= _VERDICT_WIDTH + 2 * _CURVE_LENGTHS[0]
        free -= _VERDICT_WIDTH if with_verdicts else 0
        curve = min(max(free // 2, _CURVE_LENGTHS[0]), _CURVE_LENGTHS[1])
        yield _line(_heading(view.job, view))
        yield _line(_scores(view.job, view))
        yield from learning
        yield _table(view.job, shown, curve, with_verdicts=with_verdicts)
        if others:
            counts = Counter(site.state or "unknown" for site in others)
            yield _line(f"and {len(others)} more: {', '.join(f'{count} {state}' for state, count in counts.items())}")
        if amiss:
            yield _line(f"Round {view.records[-1]['round']}: {amiss}", "yellow")
        if view.ended:
            yield Text(view.ended, no_wrap=False, overflow="fold")  # whole, since it says what to type

    def _chosen(self, other_lines: int) -> tuple[list[SiteView], list[SiteView]]:
        """Return the sites that are shown, and those that are counted only."""
        sites = self._view.sites
        room = max(1, self._lines - other_lines) if self._lines else len(sites)
        if len(sites) <= room:
            return sites, []
        ordered = sorted(sites, key=lambda site: _URGENT.index(site.state) if site.state in _URGENT else len(_URGENT))
        return ordered[: room - 1], ordered[room - 1 :]


def _line(text: str, style: str = "") -> Text:
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _heading(job: Job, view: StudyView) -> str:
    parts = [f"{job.name}: round {view.round} of {job.federation.rounds}"]
    if (elapsed := view.seconds_elapsed) is not None:
        parts.append(f"{duration(elapsed)} so far")
    if (left := view.seconds_left) is not None:
        parts.append(f"about {duration(left)} left")
    return ", ".join(parts)


def _scores(job: Job, view: StudyView) -> str:
    metric, scores, best = job.key_metric[0], list(view.scores.values()), view.best
    if not best:
        return f"{metric}: no model has been scored yet"
    return f"{metric} {scores[-1]:.4f} {sparkline(scores)} best {best.value:.4f} (round {best.round})"


def _table(job: Job, sites: Sequence[SiteView], curve: int, *, with_verdicts: bool) -> Table:
    metric, _ = job.key_metric
    left = [Column(name, no_wrap=True, overflow="ellipsis") for name in ("site", "state", "train loss", metric)]
    right = [Column(name, no_wrap=True, overflow="ellipsis", justify="right") for name in ("for", "up", "down")]
    verdicts = [Column("pre-training", no_wrap=True, overflow="ellipsis")] * with_verdicts
    table = Table(*left[:2], right[0], *left[2:], *verdicts, *right[1:], box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for site in sites:
        step = f" {site.step.made}/{site.step.of}" if site.step and site.state == "training" else ""
        table.add_row(
            site.name,
            Text(f"{site.state}{step}", _STYLES.get(site.state, "")),
            "" if site.seconds is None else duration(site.seconds).removesuffix(" min"),
            _last_and_curve(site.losses, curve),
            _last_and_curve(site.scores, curve),
            *[site.learning.verdict if site.learning else ""] * with_verdicts,
            decimal(site.bytes_up),
            decimal(site.bytes_down),
        )
    return table


def _last_and_curve(values: Sequence[float], length: int) -> str:
    return f"{values[-1]:.4f} {sparkline(values, length)}" if values else ""
