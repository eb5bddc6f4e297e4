"""The tables of a report, as text."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from fedswin.evaluation import ALL
from fedswin.pretraining.verdict import judge_record, judge_site
from fedswin.report.attendance import State, refusals
from fedswin.report.deviations import deviations
from fedswin.report.evaluation import EvaluationFacts
from fedswin.report.facts import Group, RunFacts, SiteFacts
from fedswin.report.summary import rounds_done
from fedswin.report.wording import (
    MISSING,
    count,
    counted,
    duration,
    listed,
    metric_name,
    ranges,
    readable,
    significant,
    size,
)

_KINDS = {"federated": "federated", "local": "one site alone", "central": "all cases pooled"}
_MOST_REFUSALS = 50
_MOST_COLUMNS = 8
_MOST_SPANS = 6


@dataclass(frozen=True)
class Table:
    """A table, ready for the template.

    Attributes:
        caption: what it shows; empty if its section's heading says so.
        columns: the heads of its columns, with their units.
        rows: the texts of its cells; the first of a row is its head.
        worst: row and column of the cells that are flagged.
        flag: what they are flagged as.
        best: row and column of the cells that are the best of their column.
        texts: the columns that hold texts and no numbers.
        note: what must be known to read it.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    worst: frozenset[tuple[int, int]] = frozenset()
    flag: str = "worst"
    best: frozenset[tuple[int, int]] = frozenset()
    texts: frozenset[int] = field(default=frozenset({0}))
    note: str = ""


def sites_table(run: RunFacts) -> Table:
    """Return who took part, with how much, and whose cases a pool holds."""
    has_regions = any(site.regions for site in run.sites)
    columns = ["site", "training cases", "validation cases", "rounds trained", *["body regions"] * has_regions]
    rows = [
        [site.name, count(site.training), count(site.validation), str(site.trained)]
        + [listed(site.regions)] * has_regions
        for site in run.sites
    ]
    note = f"The cases are those of {listed(run.participants)}." if run.kind == "central" and run.participants else ""
    return Table("", columns, rows, texts=frozenset({0, 4}), note=note)


def labels_table(run: RunFacts) -> Table | None:
    """Return how many training cases annotate each class, by site; ``None`` where no one has said."""
    if not any(site.labelled for site in run.sites):
        return None
    rows = [
        [readable(name), *(count(site.labelled.get(name, 0)) if site.labelled else MISSING for site in run.sites)]
        for name in run.classes
    ]
    table = Table("Training cases that annotate each class", ["class", *(site.name for site in run.sites)], rows)
    return _turned(table) if len(run.sites) > _MOST_COLUMNS else table


def scores_table(run: RunFacts) -> Table:
    """Return the best model's scores: a row for each metric, a column for each site, the worst of both flagged."""
    sites = run.sites if len(run.sites) > 1 else ()
    pooled = run.best.get("pooled", {}) if run.best else {}
    rows = [
        ["validation cases", count(run.validation_cases), *(count(site.validation) for site in sites)],
        *([metric_name(name), _whole(run, name), *(_score(site, name) for site in sites)] for name in run.job.metrics),
        *([f"{metric_name(name)}, over cases", significant(mean)] + [""] * len(sites) for name, mean in pooled.items()),
    ]
    rows += [["whether it learns", *verdicts]] if any(verdicts := _verdicts(run, sites)) else []
    number = run.best["round"] if run.best else MISSING
    note = f"The best model is chosen by {metric_name(run.job.key_metric[0])}. n: cases in which a score is defined."
    note += " A rotation accuracy is a mean over patients." if "rotation_accuracy" in run.job.metrics else ""
    note += " Over cases: the mean over all cases instead of over sites." if pooled else ""
    columns = ["metric", "all sites" if sites else "score", *(site.name for site in sites)]
    table = Table(f"Scores of the best model, round {number}", columns, rows, _worst_scores(run), note=note)
    return _turned(table) if len(sites) > _MOST_COLUMNS else table


def traffic_table(run: RunFacts) -> Table:
    """Return what each site sent and was sent, and where its time went."""
    measured = [*["waiting"] * _any(run, "waiting"), *["memory"] * _any(run, "memory")]
    heads = {"waiting": "waiting for others", "memory": "peak memory"}
    columns = ["site", "training", "training, a round", "sent", "received", *(heads[name] for name in measured)]
    texts = {"waiting": duration, "memory": size}
    rows = [
        [site.name, duration(site.seconds), duration(_a_round(site)), size(site.bytes_up), size(site.bytes_down)]
        + [texts[name](getattr(site, name)) for name in measured]
        for site in run.sites
    ]
    if len(run.sites) > 1:
        seconds, up, down = (sum(getattr(s, name) for s in run.sites) for name in ("seconds", "bytes_up", "bytes_down"))
        rows.append(["all sites", duration(seconds), MISSING, size(up), size(down), *[MISSING] * len(measured)])
    worst = frozenset({(run.sites.index(run.slowest_site), 2)}) if run.slowest_site else frozenset()
    return Table("", columns, rows, worst, flag="slowest")


def attendance_rows(states: Mapping[str, Mapping[int, State]]) -> dict[str, dict[State, str]]:
    """Return for each site the rounds in which it did other than train, or, if there are many, how many they are."""
    kinds: tuple[State, ...] = ("scored", "late", "refused", "missing", "absent")
    return {
        site: {kind: _rounds([number for number, state in own.items() if state == kind]) for kind in kinds}
        for site, own in states.items()
    }


def refusals_table(run: RunFacts) -> Table | None:
    """Return the updates that were refused, the newest if there are many; ``None`` if there are none."""
    rounds: dict[tuple[str, str], list[int]] = {}
    for refusal in refusals(run.rounds):
        rounds.setdefault((refusal.site, refusal.reason), []).append(refusal.round)
    rows = [[site, ranges(numbers), reason] for (site, reason), numbers in rounds.items()]
    left = len(rows) - _MOST_REFUSALS
    note = f"{left} earlier ones are in metrics.jsonl." if left > 0 else ""
    shown = rows[-_MOST_REFUSALS:]
    return (
        Table("Refused updates", ["site", "rounds", "reason"], shown, texts=frozenset({0, 1, 2}), note=note)
        if rows
        else None
    )


def settings_table(run: RunFacts) -> Table | None:
    """Return the settings that are not as usual; ``None`` if all are."""
    rows = [[found.setting, found.value, found.usual, found.source] for found in deviations(run.job)]
    columns = ["setting", "this run", "usual", "where the usual value comes from"]
    return Table("", columns, rows, texts=frozenset(range(4))) if rows else None


def folds_table(runs: Sequence[RunFacts]) -> Table:
    """Return the score of each fold's best model, with the mean and the spread over the folds."""
    names = list(runs[0].job.metrics)
    scores = [[run.best["global"].get(name) if run.best else None for name in names] for run in runs]
    rows = [
        [run.name.rpartition("/")[2], str(run.best["round"]) if run.best else MISSING, count(run.validation_cases)]
        + [significant(value) for value in own]
        for run, own in zip(runs, scores, strict=True)
    ]
    columns = [[value for value in column if value is not None] for column in zip(*scores, strict=True)]
    rows.append(["mean", "", "", *(significant(_mean(column)) for column in columns)])
    rows.append(["standard deviation", "", "", *(significant(_deviation(column)) for column in columns)])
    heads = ["fold", "best round", "validation cases", *map(metric_name, names)]
    return Table("The best model of each fold", heads, rows, note="Each fold validates on other patients.")


def comparison_table(groups: Sequence[Group]) -> Table:
    """Return runs and cross-validations side by side, each with the score of its own validation cases."""
    metric, _ = groups[0].runs[0].job.key_metric
    columns = ["run", "trained", "sites", "training cases", "steps", "best round"]
    columns += [f"validation {metric_name(metric)}", "validation cases"]
    note = "±: the standard deviation over folds." if any(group.has_folds for group in groups) else ""
    rows = [_comparison_row(group, metric) for group in groups]
    return Table("The runs", columns, rows, texts=frozenset({0, 1, 2}), note=note)


def _comparison_row(group: Group, metric: str) -> list[str]:
    runs, first = group.runs, group.runs[0]
    scores = [run.best["global"].get(metric) if run.best else None for run in runs]
    return [
        group.name,
        _KINDS[first.kind],
        listed(first.participants or ()),
        _range([run.training_cases for run in runs]),
        _range([rounds_done(run) * run.job.federation.local_steps for run in runs]),
        _range([run.best["round"] if run.best else None for run in runs]),
        _over_folds(scores) if group.has_folds else significant(scores[0]),
        count(sum(known) if (known := [run.validation_cases for run in runs if run.validation_cases]) else None),
    ]


def _over_folds(scores: Sequence[float | None]) -> str:
    """Return the mean over the folds that have a score, their spread, and how many they are."""
    known = [score for score in scores if score is not None]
    spread = f" ± {significant(_deviation(known))}" if len(known) > 1 else ""
    which = "" if len(known) == len(scores) else f"{len(known)} of "
    return f"{significant(_mean(known))}{spread} ({which}{counted(len(scores), 'fold', 'folds')})"


def _range(numbers: Sequence[int | None]) -> str:
    known = sorted({number for number in numbers if number is not None})
    return "–".join(map(count, known if len(known) < 2 else (known[0], known[-1]))) or MISSING


def _mean(values: Sequence[float]) -> float | None:
    return statistics.mean(values) if values else None


def _deviation(values: Sequence[float]) -> float | None:
    """Return the standard deviation; ``None`` of fewer than two values, or if it is too large for a number."""
    try:
        return statistics.stdev(values) if len(values) > 1 else None
    except OverflowError:
        return None


def evaluation_tables(evaluation: EvaluationFacts) -> list[Table]:
    """Return Dice, HD, HD95 and NSD of models by sites, and Dice of models by classes."""
    sites = list(dict.fromkeys(site for scores in evaluation.models.values() for site in scores))
    tolerances = listed([f"{significant(mm)} mm" for mm in sorted(evaluation.tolerances)])
    tables = [
        _matrix(evaluation, sites, "dice", "Dice, 0 to 1; more is better"),
        _matrix(evaluation, sites, "hd", "HD in mm; less is better", less=True),
        _matrix(evaluation, sites, "hd95", "HD95 in mm; less is better", less=True),
        _matrix(evaluation, sites, "nsd", f"NSD, 0 to 1, tolerance {tolerances}; more is better"),
    ]
    return [table for table in (*tables, _class_matrix(evaluation)) if table]


def _matrix(
    evaluation: EvaluationFacts, sites: Sequence[str], metric: str, caption: str, *, less: bool = False
) -> Table | None:
    values = [[scores.get(site, {}).get(metric) for site in sites] for scores in evaluation.models.values()]
    heads = [f"{'all cases' if site == ALL else site} ({_n(evaluation.cases.get(site))})" for site in sites]
    return _models(evaluation, caption, heads, values, less=less)


def _class_matrix(evaluation: EvaluationFacts) -> Table | None:
    whole = [scores.get(ALL, {}) for scores in evaluation.models.values()]
    classes = list(dict.fromkeys(name for scores in whole for name in scores if name.startswith("dice_")))
    values = [[scores.get(name) for name in classes] for scores in whole]
    heads = [readable(name.removeprefix("dice_")) for name in classes]
    return _models(evaluation, "Dice of each class, all cases; more is better", heads, values)


def _models(
    evaluation: EvaluationFacts,
    caption: str,
    heads: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    less: bool = False,
) -> Table | None:
    if all(value is None for row in values for value in row):
        return None
    rows = [[name, *map(significant, row)] for name, row in zip(evaluation.models, values, strict=True)]
    best: set[tuple[int, int]] = set()
    for column, cells in enumerate(zip(*values, strict=True), start=1):
        known = [value for value in cells if value is not None]
        if len(known) > 1:  # those that read alike are equally good
            shown = significant((min if less else max)(known))
            best |= {(number, column) for number, row in enumerate(rows) if row[column] == shown}
    note = "Bold: the best of its column." if len(rows) > 1 else ""
    return Table(caption, ["model", *heads], rows, best=frozenset(best), note=note)


def _rounds(numbers: Sequence[int]) -> str:
    text = ranges(numbers)
    return text if text.count(",") < _MOST_SPANS else f"{len(numbers)} rounds"


def _turned(table: Table) -> Table:
    """Return a table with its columns as rows, so that it fits on paper."""
    columns, *rows = zip(table.columns, *table.rows, strict=True)
    return replace(
        table, columns=columns, rows=rows, worst=frozenset((column - 1, row + 1) for row, column in table.worst)
    )


def _worst_scores(run: RunFacts) -> frozenset[tuple[int, int]]:
    """Return where the worst classes and sites stand in the table of scores, below its row of cases."""
    metrics, sites = list(run.job.metrics), [site.name for site in run.sites]
    worst_classes = {(1 + metrics.index(f"dice_{name}"), 1) for name in run.worst_classes}
    worst_sites = {(1 + metrics.index(run.job.key_metric[0]), 2 + sites.index(name)) for name in run.worst_sites}
    return frozenset(worst_classes | worst_sites)


def _verdicts(run: RunFacts, sites: Sequence[SiteFacts]) -> list[str]:
    """Return the verdicts on the best model of a pre-training, of all sites and of each; empty where there is none."""
    if not run.best:
        return []
    found = [judge_record(run.job, run.best), *(judge_site(run.job, run.best["sites"].get(s.name, {})) for s in sites)]
    return [learning.verdict if learning else "" for learning in found]


def _whole(run: RunFacts, metric: str) -> str:
    return significant(run.best["global"].get(metric) if run.best else None)


def _score(site: SiteFacts, metric: str) -> str:
    """Return a score, with the number of its cases where the metric is not defined in all of them."""
    scored = site.scored.get(metric, site.validation)
    cases = f" ({_n(scored)})" if scored != site.validation and metric in site.best else ""
    return significant(site.best.get(metric)) + cases


def _n(cases: int | None) -> str:
    return f"n\u00a0=\u00a0{count(cases)}"


def _any(run: RunFacts, name: str) -> bool:
    return any(getattr(site, name) is not None for site in run.sites)


def _a_round(site: SiteFacts) -> float | None:
    return site.seconds / site.trained if site.trained else None
