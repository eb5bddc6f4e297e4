"""What a run came to, in sentences and a few figures."""

from __future__ import annotations

from collections.abc import Sequence

from fedswin.report.attendance import refusals
from fedswin.report.evaluation import ALL, EvaluationFacts
from fedswin.report.facts import RunFacts
from fedswin.report.wording import counted, duration, metric_name, number_word, readable, significant, size

_VERBS = {
    "pretrain": ("pre-trained", "encoder", ", without labels"),
    "finetune": ("fine-tuned", "segmentation model", ""),
}


def sentences(run: RunFacts) -> list[str]:
    """Return what happened, so that someone understands it who does not know the method."""
    return [sentence for sentence in (_what(run), _state(run), _best(run), _worst(run), _trouble(run)) if sentence]


def figures(run: RunFacts) -> list[tuple[str, str]]:
    """Return the figures that stand at the head of a run, each with its name."""
    metric, _ = run.job.key_metric
    shown = [
        ("sites", str(len(run.sites))),
        ("training cases", counted(run.training_cases, "", "").strip()),
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
    longest = [
        max(line["seconds"] + (line.get("waiting") or 0) for line in record["sites"].values() if "seconds" in line)
        for record in run.rounds
        if any("seconds" in line for line in record["sites"].values())
    ]
    return sum(longest) if longest else None


def verdict(evaluation: EvaluationFacts) -> str:
    """Return which model of an evaluation segments all cases best, and which is next; empty if there is but one."""
    scores = {model: sites.get(ALL, {}).get("dice") for model, sites in evaluation.models.items()}
    known = sorted(((value, model) for model, value in scores.items() if value is not None), reverse=True)
    if len(known) < 2:
        return ""
    (best, first), (next_best, second) = known[:2]
    cases = counted(evaluation.cases.get(ALL), "case", "cases")
    return (
        f"Over {cases}, {first} has the highest Dice, {significant(best)}. "
        f"The next is {second}, {significant(next_best)}."
    )


def limits(runs: Sequence[RunFacts]) -> list[str]:
    """Return what must not be concluded from the report."""
    fewest = min((run.validation_cases or 0 for run in runs), default=0)
    classes = any(run.classes for run in runs)
    return [
        "This is research software and no medical device. No model here has been approved for diagnosis or treatment.",
        "The scores hold for the sites, scanners and patients of this study. They say nothing of other hospitals.",
        "Validation scores choose the best model, and so they flatter it. Only test cases tell how good a model is.",
        f"The validation sets are small: the smallest score here is a mean over {counted(fewest, 'case', 'cases')}. "
        "Each comes from one seed, so a small difference may be chance."
        if fewest
        else "Some run here has no validation cases. How good its models are is not known.",
        "A class that a case does not show, or that its site has not annotated, has no part in that case's score."
        if classes
        else "A low pre-training loss is not yet a good segmentation. What the encoder is worth shows in fine-tuning.",
        "This page shows pictures of patients, since the study was told to collect them. Give it only to people who "
        "may see them."
        if any(run.pictures for run in runs)
        else "This page holds settings, counts, scores and times. It holds no image and no patient data.",
    ]


def _what(run: RunFacts) -> str:
    verb, product, manner = _VERBS[run.job.task]
    done = rounds_done(run)
    length = f"for {counted(done, 'round', 'rounds')} of {counted(run.job.federation.local_steps, 'step', 'steps')}"
    cases = f" on {counted(run.training_cases, 'case', 'cases')}" if run.training_cases is not None else ""
    if run.kind == "central":
        return f"The cases of all sites were pooled, and one {product} was {verb} {length}{cases}{manner}."
    if run.kind == "local":
        names = " and ".join(site.name for site in run.sites)
        return f"The site {names} {verb} one {product} by itself {length}{cases}{manner}."
    who = f"{number_word(len(run.sites))} {'site' if len(run.sites) == 1 else 'sites'}"
    return f"{who} {verb} one {product} together {length}{cases}{manner}."


def _state(run: RunFacts) -> str:
    planned = run.job.federation.rounds
    if not run.has_ended:
        return f"The run has not ended: {rounds_done(run)} of {counted(planned, 'round is', 'rounds are')} done."
    return "" if run.outcome is None or run.outcome.ended == "completed" else run.outcome.message


def _best(run: RunFacts) -> str:
    if run.best is None:
        return "No global model has been scored yet."
    if run.best_score is None:
        return "No site has scored a model, for lack of validation cases, so that the newest model counts as the best."
    metric = run.job.key_metric[0]
    scored = sum(metric in site.best for site in run.sites)
    where = f" at {counted(scored, 'site', 'sites')}" if run.kind == "federated" else ""
    cases = f", over {counted(run.validation_cases, 'case', 'cases')}{where}" if run.validation_cases else ""
    number = run.best["round"]
    which = f"that of round {number}" if number else "the initial one"
    model = "global model" if run.kind == "federated" else "model"
    return f"The best {model} is {which}: validation {metric_name(metric)} {significant(run.best_score)}{cases}."


def _worst(run: RunFacts) -> str:
    metric, mode = run.job.key_metric
    parts = []
    if site := run.worst_site:
        score = f"{'lowest' if mode == 'max' else 'highest'} {metric_name(metric)}, {significant(site.best[metric])}"
        parts.append(f"It does worst at {site.name} ({score}; {counted(site.validation, 'case', 'cases')}).")
    if name := run.worst_class:
        parts.append(
            f"The class that it segments worst is {readable(name)} (Dice {significant(run.class_score(name))})."
        )
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
