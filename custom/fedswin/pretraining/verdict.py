"""Whether a pre-training learns: the rule, its thresholds, and the line that says it. Free of torch.

A model can look trained, with a falling loss, while it does not learn: inpainting alone lowers the loss, and an encoder
that maps every view to one point solves that, too. So each figure here is compared with its own chance.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from scipy.special import stdtrit

from fedswin.config import Job
from fedswin.scalars import is_count, is_number
from fedswin.training.scores import Sample, combined, rotation_samples

Verdict = Literal["learns", "at chance", "collapsed", "not known"]

ROTATION_CHANCE = 0.25
"""One of four rotations."""
CONFIDENCE = 0.95
"""Of the one-sided interval whose lower bound must be above chance."""
HIGHEST_CONTRASTIVE_SHARE = 0.90
"""Of ln(2 N - 1), the loss of codes that are all alike. What is above counts as chance: an initialisation tells
scans apart a little without having learned, and came to 0.92 to 1.00 on real CT (C of 12 to 48, N of 2 to 8)."""
LOWEST_SPREAD = 0.02
"""What is below counts as collapsed: initialisations came to 0.05 to 0.19 on phantoms and real CT, a collapsed encoder
comes to about 0.001, and the threshold is between them."""
FEWEST_PATIENTS = 2
"""One patient says nothing of how patients differ."""
WARN_AFTER = 0.25
"""Share of the steps after which a run at chance is warned of; before, it is too early. A collapse is told as soon as
it is seen; but features may narrow in the first steps and widen again (on phantoms from 0.06 to 0.009 and then 0.33),
so until then it is said that they may."""
PLATEAU_STEPS = 500
"""Too early, too: small encoders were at chance for as many as 350 steps, and then learned."""
WARN_SHORT_AFTER = 0.75
"""Share of the steps after which a run that is hardly longer than that is warned of."""
PAGE = "jobs/when_pretraining_does_not_learn.md"
"""Says what to do."""

_RANGES = {
    "rotation_accuracy": (0.0, 1.0),
    "rotation_accuracy_sd": (0.0, 0.7072),  # of two shares of 0 and 1
    "rotation_accuracy_bound": (0.0, 1.0),
    "contrastive_share": (0.0, 1e4),  # a low temperature raises it
    "feature_spread": (0.0, 1.001),  # see `fedswin.pretraining.diagnostics.feature_spread`
    "feature_rank": (0.0, 1e4),
}
_MOST_PATIENTS = 10**9


@dataclass(frozen=True)
class Learning:
    """The figures that tell whether a model learns; ``None`` for what is not known, or what the job does not train.

    Attributes:
        rotation_accuracy: mean over patients of each patient's share of views whose rotation is predicted.
        rotation_accuracy_bound: lower bound of its one-sided 95 % interval over patients; ``None`` with fewer than two.
        patients: how many patients that is.
        contrastive_share: the contrastive loss as a share of ln(2 N - 1), its value at chance.
        feature_spread: standard deviation of the features over views, mean over features.
        feature_rank: RankMe of the features over views.
        feature_rank_limit: what the rank is at most: the smaller of the number of views and of features.
        round: the round of the model.
        rotation_withheld: whether the job trains rotation prediction, and no plausible accuracy of it is told.
    """

    rotation_accuracy: float | None = None
    rotation_accuracy_bound: float | None = None
    patients: int | None = None
    contrastive_share: float | None = None
    feature_spread: float | None = None
    feature_rank: float | None = None
    feature_rank_limit: int | None = None
    round: int | None = None
    rotation_withheld: bool = False

    @property
    def is_measured(self) -> bool:
        """Whether there is a figure that runs before these diagnostics do not have."""
        return any(value is not None for value in (self.contrastive_share, self.feature_spread, self.feature_rank))

    @property
    def verdict(self) -> Verdict:
        """Whether the model learns: every figure that is there must be beyond its chance."""
        if self.feature_spread is not None and self.feature_spread < LOWEST_SPREAD:
            return "collapsed"
        if self._doubt:
            return "not known"
        return "at chance" if self._at_chance else "learns"

    @property
    def is_bad(self) -> bool:
        """Whether it is known not to learn."""
        return self.verdict in ("at chance", "collapsed")

    @property
    def line(self) -> str:
        """The figures and what they come to, in one line."""
        figures = [
            (f"rotation {{:.2f}} (chance {ROTATION_CHANCE})", self.rotation_accuracy),
            ("contrastive {:.2f} of chance", self.contrastive_share),
            ("features spread {:#.2g}", self.feature_spread),
            (f"rank {{:.0f}}{f' of {self.feature_rank_limit}' if self.feature_rank_limit else ''}", self.feature_rank),
        ]
        known = ", ".join(text.format(value) for text, value in figures if value is not None)
        ends = {
            "learns": "it learns",
            "collapsed": "collapsed",
            "at chance": ", ".join(self._at_chance),
            "not known": self._doubt,
        }
        return f"{known}: {ends[self.verdict]}" if known else ends[self.verdict]

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for ``provenance.json`` and weights files."""
        return {"verdict": self.verdict, **asdict(self)}

    @property
    def _at_chance(self) -> list[str]:
        """What is at chance, in words."""
        parts = []
        if self.rotation_accuracy_bound is not None and self.rotation_accuracy_bound <= ROTATION_CHANCE:
            parts.append(f"rotation at chance (lower bound {self.rotation_accuracy_bound:.2f})")
        if self.contrastive_share is not None and self.contrastive_share > HIGHEST_CONTRASTIVE_SHARE:
            parts.append("contrastive at chance")
        return parts

    @property
    def _doubt(self) -> str:
        """Why it cannot be told, in words; empty if it can."""
        if self.rotation_accuracy is not None and self.rotation_accuracy_bound is None:
            few = (self.patients or 0) < FEWEST_PATIENTS
            return "too few validation patients to tell" if few else "not known how far patients differ"
        if self.rotation_accuracy is None and self.contrastive_share is None:
            measured = self.feature_spread is not None  # which an initialisation has, too
            return "neither rotation nor contrastive to tell by" if measured else "no validation case to tell by"
        return "the rotation accuracy is not told" if self.rotation_withheld else ""


def judge(job: Job, metrics: Mapping[str, Any], patients: int | None, sites: int = 1) -> Learning:
    """Return the figures of a model that tell whether it learns. What is no plausible number counts as not known.

    Args:
        job: the pre-training job.
        metrics: the scores of the model, at one site or of all.
        patients: over how many patients ``rotation_accuracy`` is a mean.
        sites: how many sites' validation views that is.
    """
    known = {name: metrics[name] for name in _RANGES if is_plausible(name, metrics.get(name))}
    mean, deviation = known.get("rotation_accuracy"), known.get("rotation_accuracy_sd")
    counted = patients if is_count(patients) and 0 < patients <= _MOST_PATIENTS else None
    sample = None if mean is None or counted is None else Sample(counted, mean, deviation)
    views = views_of(job)
    return Learning(
        rotation_accuracy=mean,
        rotation_accuracy_bound=lower_bound(sample, views * max(1, sites)) if sample else None,
        patients=None if mean is None else counted,
        contrastive_share=known.get("contrastive_share"),
        feature_spread=known.get("feature_spread"),
        feature_rank=known.get("feature_rank"),
        feature_rank_limit=min(views, 16 * job.model.feature_size) if "feature_rank" in known else None,
        rotation_withheld=mean is None and job.pretraining.loss_weights.rotation > 0,
    )


def judge_record(job: Job, record: Mapping[str, Any]) -> Learning | None:
    """Return the figures of the global model of ``record``, a line of ``metrics.jsonl``.

    ``None`` if the job is of no pre-training, or nothing was measured, as in older runs.
    """
    if job.task != "pretrain":
        return None
    samples = rotation_samples(_plausible_sites(record["sites"]))
    sample = combined(samples)
    rotation = {"rotation_accuracy": sample.mean, "rotation_accuracy_sd": sample.deviation} if sample else {}
    found = judge(job, {**record["global"], **rotation}, sample.patients if sample else None, len(samples))
    return replace(found, round=record["round"]) if found.is_measured else None


def judge_site(job: Job, site: Mapping[str, Any]) -> Learning | None:
    """Return the figures of a global model at one site, given the site's part of a line of ``metrics.jsonl``.

    ``None`` as for `judge_record`.
    """
    if job.task != "pretrain":
        return None
    metrics = site.get("metrics") or {}
    found = judge(job, metrics, (site.get("scored") or {}).get("rotation_accuracy", site.get("validation_cases")))
    return found if found.is_measured else None


def read_learning(told: Any) -> Learning | None:
    """Return what a file says of a model's learning, as `Learning.as_dict` wrote it; ``None`` if it says nothing.

    Only plausible numbers under known names are taken, and the verdict is made of them anew.
    """
    if not isinstance(told, Mapping):
        return None
    figures = {name: told[name] for name in _RANGES if name in Learning.__annotations__ and name in told}
    known: dict[str, Any] = {name: value for name, value in figures.items() if is_plausible(name, value)}
    for name in ("patients", "feature_rank_limit", "round"):
        if is_count(told.get(name)) and told[name] <= _MOST_PATIENTS:
            known[name] = told[name]
    if known.get("rotation_accuracy_bound", 0.0) > known.get("rotation_accuracy", 0.0):
        del known["rotation_accuracy_bound"]  # no interval has it
    found = Learning(**known, rotation_withheld=told.get("rotation_withheld") is True)
    return found if found.is_measured else None


def lower_bound(sample: Sample, views: int) -> float | None:
    """Return the lower bound of the one-sided 95 % t interval of the mean over patients, 0 at least.

    The standard error is that between patients, and at least that of as many independent views, be their share right
    as found or as by chance: or few patients with equal shares would leave no doubt.

    Args:
        sample: the patients' shares of views that are right.
        views: how many views they are of.

    Returns:
        ``None`` of fewer than two patients, or if it is not known how they differ.
    """
    patients, mean, deviation = sample
    if patients < FEWEST_PATIENTS or deviation is None:
        return None
    of_a_view = max(mean * (1 - mean), ROTATION_CHANCE * (1 - ROTATION_CHANCE))
    error = max(deviation / math.sqrt(patients), math.sqrt(of_a_view / views))
    return max(0.0, mean - float(stdtrit(patients - 1, CONFIDENCE)) * error)


def views_of(job: Job) -> int:
    """Return how many views a site validates a pre-training model on: two of each sub-volume."""
    return 2 * job.trainer.batch_size * job.pretraining.validation_batches


def is_plausible(name: str, value: Any) -> bool:
    """Whether ``value`` can be the metric ``name``, if that is one of the diagnostics; any other name may have any."""
    low, high = _RANGES.get(name, (-math.inf, math.inf))
    return is_number(value) and low <= value <= high


def warning(job: Job, before: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> str:
    """Return what to warn of now that ``record`` is there; empty if nothing new is wrong.

    Args:
        job: the job.
        before: the records before it; what they were warned of is not repeated until it changes.
        record: the newest line of ``metrics.jsonl``.
    """
    trouble = _trouble(job, record)
    if not trouble:
        return ""
    known = (found for found in (_trouble(job, earlier) for earlier in reversed(before)) if found is not None)
    return "" if next(known, "") == trouble else warning_text(job, record)


def warning_text(job: Job, record: Mapping[str, Any]) -> str:
    """Return what is wrong with the global model of ``record``, new or not; empty if nothing is."""
    trouble = _trouble(job, record)
    share = record["round"] / job.federation.rounds
    return f"Warning: after {share:.0%} of its steps, the pre-training {trouble}. What to do: {PAGE}" if trouble else ""


def _trouble(job: Job, record: Mapping[str, Any]) -> str | None:
    """Say what a record is warned of; empty if nothing, ``None`` if it is not known whether the model learns."""
    found = judge_record(job, record)
    if found is None or found.verdict == "not known":
        return None
    if record["round"] == 0 or not found.is_bad:
        return ""
    if found.verdict == "collapsed":
        return "has collapsed; so early it may recover" if _is_early(job, record["round"]) else "has collapsed"
    return "" if _is_early(job, record["round"]) else "is at chance"


def _is_early(job: Job, round_number: int) -> bool:
    steps = round_number * job.federation.local_steps
    return steps < max(WARN_AFTER * job.total_steps, min(PLATEAU_STEPS, WARN_SHORT_AFTER * job.total_steps))


def _plausible_sites(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return of each site what the rotation accuracy of all patients is made of, as far as it is plausible."""
    kept = {}
    for name, site in sites.items():
        metrics = {key: value for key, value in (site.get("metrics") or {}).items() if is_plausible(key, value)}
        patients = (site.get("scored") or {}).get("rotation_accuracy", site.get("validation_cases"))
        if is_count(patients) and patients <= _MOST_PATIENTS:
            kept[name] = {"metrics": metrics, "validation_cases": patients}
    return kept
