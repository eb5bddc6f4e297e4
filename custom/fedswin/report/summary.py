"""What a run came to, in sentences and a few figures."""

from __future__ import annotations

from collections.abc import Sequence

from fedswin.evaluation import ALL
from fedswin.pretraining.verdict import PAGE, judge_record
from fedswin.report.attendance import refusals
from fedswin.report.evaluation import EvaluationFacts
from fedswin.report.facts import RunFacts
from fedswin.report.wording import (
    MISSING,
    count,
    counted,
    duration,
    listed,
    metric_name,
    number_word,
    readable,
    significant,
    size,
)

FEW_CASES = 20
"""With fewer cases, a site's score says little, and the report says so."""

_VERBS = {
    "pretrain": ("pre-trained", "encoder", ", without labels"),
    "finetune": ("fine-tuned", "segmentation model", ""),
}


def sentences(run: RunFacts) -> list[str]:
    """Return what happened, so that someone understands it who does not know the method."""
    parts = (_what(run), _state(run), _best(run), _learning(run), _worst(run), _trouble(run))
    return [sentence for sentence in parts if sentence]


def figures(run: RunFacts) -> list[tuple[str, str]]:
    """Return the figures that stand at the head of a run, each with its name."""
    metric, _ = run.job.key_metric
    shown = [
        ("sites", MISSING if run.participants is None else str(len(run.participants))),
        ("training cases", count(run.training_cases)),
        ("rounds", f"{rounds_done(run)} of {run.job.federation.rounds}"),
        (f"best validation {metric_name(metric)}", significant(run.best_score)),
        ("time in rounds", duration(round_seconds(run))),
    ]
    traffic = sum(site.bytes_up + site.bytes_down for site in run.sites)
    return [*shown, ("sent and received", size(traffic))] if traffic else shown


def rounds_done(run: RunFacts) -> int:
    """Return the number of the newest global model."""
    return max((record["round"] for record in run.records), default=0)


def round_seconds(run: RunFacts) -> float | None:
    """Return how long the rounds took: in each, the longest that a site trained and waited."""
    times = [
        [s["seconds"] + (s.get("waiting") or 0) for s in record["sites"].values() if s.get("seconds") is not None]
        for record in run.rounds
    ]
    longest = [max(of_round) for of_round in times if of_round]
    return sum(longest) if longest else None


def verdict(evaluation: EvaluationFacts) -> str:
    """Return which models of an evaluation segment all cases best, and which is next; empty if there is but one."""
    scores = {model: sites.get(ALL, {}).get("dice") for model, sites in evaluation.models.items()}
    known = sorted(((value, model) for model, value in scores.items() if value is not None), reverse=True)
    if len(known) < 2:
        return ""
    shown = significant(known[0][0])  # those that read alike are equally good
    first = [model for value, model in known if significant(value) == shown]
    has = "has" if len(first) == 1 else "have"
    parts = [
        f"Over {counted(evaluation.cases.get(ALL), 'case', 'cases')}, {listed(first)} {has} the highest Dice, {shown}."
    ]
    parts += [f"The next is {model}, {significant(value)}." for value, model in known[len(first) :][:1]]
    if (evaluation.cases.get(ALL) or 0) < FEW_CASES:
        parts.append("So few cases do not tell which model is better.")
    return " ".join(parts)


def limits(runs: Sequence[RunFacts]) -> list[str]:
    """Return what must not be concluded from the report."""
    classes = any(run.classes for run in runs)
    return [
        "This is research software and no medical device. No model here has been approved for diagnosis or treatment.",
        "The scores hold for the sites, scanners and patients of this study. They say nothing of other hospitals.",
        "Validation scores choose the best model, and so they flatter it. Only test cases tell how good a model is.",
        _evidence(runs),
        "A class that a case does not show, or that was not annotated in it, has no part in that case's score."
        if classes
        else "A low pre-training loss is not yet a good segmentation. What the encoder is worth shows in fine-tuning.",
        "This page shows pictures of patients, since the study was told to collect them. Give it only to people who "
        "may see them."
        if any(run.pictures for run in runs)
        else "This page holds settings, counts, scores and times. It holds no image and no name of a patient or file.",
        *["The score of a site with one validation case is that of one patient."] * _has_score_of_one_case(runs),
    ]


def _has_score_of_one_case(runs: Sequence[RunFacts]) -> bool:
    return any(site.validation == 1 and site.best for run in runs for site in run.sites)


def _evidence(runs: Sequence[RunFacts]) -> str:
    """Return on how many cases the scores rest."""
    scored = [[site.validation or 0 for site in run.sites if run.job.key_metric[0] in site.best] for run in runs]
    if not all(map(sum, scored)):
        return "A run here has no validation score. How good its models are is not known."
    fewest = min(cases for sites in scored for cases in sites)
    start = "The validation sets are small: that" if fewest < FEW_CASES else "The validation set"
    smallest = f"{start} of the site with the fewest has {counted(fewest, 'case', 'cases')}."
    return f"{smallest} Each run has one seed, so a small difference may be chance."


def _what(run: RunFacts) -> str:
    verb, product, manner = _VERBS[run.job.task]
    if not run.trained_sites:
        return f"No {product} has been {verb}{'' if run.has_ended else ' yet'}."
    steps = counted(run.job.federation.local_steps, "step", "steps")
    length = f"for {counted(rounds_done(run), 'round', 'rounds')} of {steps}"
    cases = f" on {counted(run.training_cases, 'case', 'cases')}" if run.training_cases is not None else ""
    if run.kind == "central":
        sites = "several sites" if run.participants is None else counted(len(run.participants), "site", "sites")
        return f"The cases of {sites} were pooled, and one {product} was {verb} {length}{cases}{manner}."
    if run.kind == "local":
        return f"The site {run.sites[0].name} {verb} one {product} by itself {length}{cases}{manner}."
    together = " together" if len(run.trained_sites) > 1 else ""
    return f"{_who(run)} {verb} one {product}{together} {length}{cases}{manner}."


def _who(run: RunFacts) -> str:
    """Return how many sites trained, and of how many."""
    trained, asked = len(run.trained_sites), len(run.sites)
    among = "" if trained == asked else f"of {asked} "
    return f"{number_word(trained)} {among}{'site' if asked == 1 else 'sites'}"


def _state(run: RunFacts) -> str:
    planned = run.job.federation.rounds
    if not run.has_ended:
        return f"The run has not ended: {rounds_done(run)} of {counted(planned, 'round is', 'rounds are')} done."
    return "" if run.outcome is None or run.outcome.ended == "completed" else run.outcome.message


def _best(run: RunFacts) -> str:
    if run.best is None:
        return "No score has been recorded yet."
    if run.best_score is None:
        return "No site has reported a score, so that the newest model counts as the best."
    metric = run.job.key_metric[0]
    scored = sum(metric in site.best for site in run.sites)
    where = f" at {counted(scored, 'site', 'sites')}" if run.kind == "federated" else ""
    cases = f", over {counted(run.validation_cases, 'case', 'cases')}{where}" if run.validation_cases else ""
    number = run.best["round"]
    which = f"that of round {number}" if number else "the initial one"
    model = "global model" if run.kind == "federated" else "model"
    found = f"The best {model} is {which}: validation {metric_name(metric)} {significant(run.best_score)}{cases}."
    return found if run.unrecorded_best is None else f"{found} {_unrecorded(run.unrecorded_best)}"


def _learning(run: RunFacts) -> str:
    """Say whether the best model learns, and the last one if that comes to something else."""
    best = judge_record(run.job, run.best) if run.best else None
    if not best:
        return ""
    last = next((found for record in reversed(run.records) if (found := judge_record(run.job, record))), best)
    parts = [f"Whether it learns: {best.line}."]
    if last.verdict != best.verdict:
        parts.append(f"The last model, of round {last.round}: {last.line}.")
    if best.is_bad or last.is_bad:
        parts.append(f"What to do: {PAGE}.")
    return " ".join(parts)


def _unrecorded(number: int) -> str:
    return f"best.pt holds the model of round {number}. The run was cut off before its scores were recorded."


def _worst(run: RunFacts) -> str:
    metric, mode = run.job.key_metric
    parts = []
    if run.worst_sites:
        worst = [site for site in run.sites if site.name in run.worst_sites]
        value = significant(worst[0].best[metric])
        cases = counted(sum(site.validation or 0 for site in worst), "case", "cases")
        extreme = "lowest" if mode == "max" else "highest"
        parts.append(f"It does worst at {listed(run.worst_sites)} ({extreme} {metric_name(metric)}, {value}; {cases}).")
    if names := run.worst_classes:
        which = "class that it segments worst is" if len(names) == 1 else "classes that it segments worst are"
        value = significant(run.class_score(names[0]))
        parts.append(f"The {which} {listed([readable(name) for name in names])} (Dice {value}).")
    return " ".join(parts)


def _trouble(run: RunFacts) -> str:
    failed = [record["round"] for record in run.rounds if record["status"] == "failed"]
    refused = refusals(run.rounds)
    missed = sum(len(record.get("missing", [])) for record in run.rounds)
    parts = []
    if failed:
        parts.append(f"{counted(len(failed), 'round', 'rounds')} failed, and kept the model of the round before.")
    if refused:
        parts.append(f"{counted(len(refused), 'update was', 'updates were')} refused.")
    if missed:
        parts.append(f"{counted(missed, 'answer', 'answers')} did not come in time.")
    return " ".join(parts)
