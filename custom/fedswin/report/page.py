"""The report: one HTML file without a script, which loads nothing."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from fedswin import __version__
from fedswin.durable import write_text_whole
from fedswin.errors import FedSwinError
from fedswin.output import refuse_output
from fedswin.report import curves, tables
from fedswin.report.attendance import Span, State, attendance, spans
from fedswin.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart
from fedswin.report.evaluation import EvaluationFacts
from fedswin.report.facts import Group, RunFacts
from fedswin.report.provenance import provenance
from fedswin.report.summary import figures, limits, sentences, verdict
from fedswin.report.tables import Table
from fedswin.report.wording import breakable
from fedswin.templates import templates_of

_MARK = b'<meta name="generator" content="FedSwin report'


@dataclass(frozen=True)
class RunView:
    """A run as the template shows it.

    Attributes:
        facts: what is known of the run.
        anchor: the name of its place on the page.
        sentences: what it came to.
        figures: the figures at its head.
        scores: the curves of its scores.
        training: the curves of its training.
        who: who took part.
        labels: who has annotated what.
        best: the best model's scores.
        spans: for each site, what it did in which rounds.
        missed: for each site, the rounds in which it did not train.
        refusals: the updates that were refused.
        traffic: bytes and time.
        settings: the settings that differ.
        same_job_as: the name of an earlier run with the same job, but for the fold.
        provenance: names and values.
    """

    facts: RunFacts
    anchor: str
    sentences: Sequence[str]
    figures: Sequence[tuple[str, str]]
    scores: Sequence[Chart]
    training: Sequence[Chart]
    who: Table
    labels: Table | None
    best: Table | None
    spans: Mapping[str, Sequence[Span]]
    missed: Mapping[str, Mapping[State, str]]
    refusals: Table | None
    traffic: Table | None
    settings: Table | None
    same_job_as: str | None
    provenance: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class GroupView:
    """A run, or the folds of a cross-validation with the table over them."""

    name: str
    folds: Table | None
    runs: Sequence[RunView]


def refuse_report(out: Path, *, overwrite: bool) -> None:
    """Make sure that a report may be written to ``out``.

    Raises:
        FedSwinError: if it exists and ``overwrite`` is false, or it is something other than a report.
    """
    refuse_output(out, overwrite=overwrite, kind="a report", is_kind=_is_report)


def write_report(groups: Sequence[Group], evaluation: EvaluationFacts | None, out: Path) -> None:
    """Write the report of ``groups`` to ``out``, whole or not at all; an existing file is replaced.

    Raises:
        FedSwinError: if it cannot be written.
    """
    page = render(groups, evaluation)
    try:
        write_text_whole(out, page)
    except OSError as error:
        raise FedSwinError(f"{out}: cannot write the report ({error.strerror}). Choose another folder.") from None


def render(groups: Sequence[Group], evaluation: EvaluationFacts | None = None) -> str:
    """Return the page.

    Args:
        groups: the runs.
        evaluation: scores of their models on cases that no training has read.
    """
    runs = [run for group in groups for run in group.runs]
    environment = templates_of("fedswin.report")
    environment.filters["breakable"] = breakable
    return environment.get_template("page.html.j2").render(
        title=_title(groups),
        kind=f"Report of a {'federated ' if any(run.kind == 'federated' for run in runs) else ''}study",
        groups=_views(groups),
        runs=runs,
        comparisons=_comparisons(groups),
        evaluation=evaluation,
        verdict=verdict(evaluation) if evaluation else "",
        evaluation_tables=tables.evaluation_tables(evaluation) if evaluation else [],
        limits=limits(runs),
        version=__version__,
        made=datetime.now(timezone.utc).strftime("%d %B %Y, %H:%M UTC"),
        frame={
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": WIDTH - RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
        },
    )


def _is_report(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return _MARK in file.read(1000)


def _title(groups: Sequence[Group]) -> str:
    names = list(dict.fromkeys(run.job.name for group in groups for run in group.runs))
    return ", ".join(names)


def _comparisons(groups: Sequence[Group]) -> list[tuple[Table, Chart | None]]:
    """Return a table and a chart for each task that several runs have; of cross-validations the table alone."""
    alike = [[group for group in groups if group.runs[0].job.task == task] for task in ("pretrain", "finetune")]
    return [(tables.comparison_table(some), _comparison_chart(some)) for some in alike if len(some) > 1]


def _comparison_chart(groups: Sequence[Group]) -> Chart | None:
    runs = [group.runs[0] for group in groups if not group.has_folds]
    return curves.comparison_chart(runs) if len(runs) > 1 else None


def _views(groups: Sequence[Group]) -> list[GroupView]:
    numbers = itertools.count(1)
    first_with: dict[str, str] = {}
    views = []
    for group in groups:
        folds = tables.folds_table(group.runs) if group.has_folds else None
        views.append(GroupView(group.name, folds, [_view(run, next(numbers), first_with) for run in group.runs]))
    return views


def _view(run: RunFacts, number: int, first_with: dict[str, str]) -> RunView:
    """Return a run for the template; ``first_with`` gets the name of the first run with its job, but for the fold."""
    same_job_as = first_with.setdefault(run.job.changed("data", fold=None).digest, run.name)
    is_federated = run.kind == "federated"
    states = attendance(run.rounds, [site.name for site in run.sites]) if is_federated and run.rounds else {}
    return RunView(
        facts=run,
        anchor=f"run-{number}",
        sentences=sentences(run),
        figures=figures(run),
        scores=curves.score_charts(run),
        training=curves.training_charts(run),
        who=tables.sites_table(run),
        labels=tables.labels_table(run),
        best=tables.scores_table(run) if run.best_score is not None else None,
        spans={site: spans(own) for site, own in states.items()},
        missed=tables.attendance_rows(states),
        refusals=tables.refusals_table(run),
        traffic=tables.traffic_table(run) if any(site.trained for site in run.sites) else None,
        settings=tables.settings_table(run),
        same_job_as=None if same_job_as == run.name else same_job_as,
        provenance=provenance(run),
    )
