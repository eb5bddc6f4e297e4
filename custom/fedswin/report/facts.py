"""What a report says of a run, gathered from the shared part of its folder, apart from how it looks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedswin.config import Job, load_job
from fedswin.errors import FedSwinError
from fedswin.outcome import Outcome, read_outcome
from fedswin.output import short_names
from fedswin.provenance import noted_round, read_provenance
from fedswin.records import Record, read_records
from fedswin.report.pictures import Picture, read_pictures
from fedswin.run_folder import JOB
from fedswin.selection import Selection

Kind = Literal["federated", "local", "central"]
_OLD_POOL = "pool"  # the only site of a pooled run that does not say whose cases were pooled


@dataclass(frozen=True)
class SiteFacts:
    """What is known of a site in a run.

    Attributes:
        name: its name.
        training: its training cases; ``None`` if no one has said.
        validation: its validation cases.
        labelled: for each class, how many training cases annotate it.
        regions: the regions of the body that its scans show.
        best: its metrics of the best global model.
        scored: for each metric, in how many of its cases the metric of the best model is defined.
        trained: the rounds whose model its update is part of.
        bytes_up: bytes that it sent.
        bytes_down: bytes that it was sent.
        seconds: how long it trained.
        waiting: how long it waited for the others, after its answers; ``None`` in runs that did not measure it.
        memory: the largest peak of its training process in bytes; ``None`` where it was not measured.
    """

    name: str
    training: int | None
    validation: int | None
    labelled: Mapping[str, int]
    regions: Sequence[str]
    best: Mapping[str, float]
    scored: Mapping[str, int]
    trained: int
    bytes_up: float
    bytes_down: float
    seconds: float
    waiting: float | None
    memory: float | None


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run.

    Attributes:
        name: what tells it from the other runs of the report.
        job: its job.
        records: the lines of ``metrics.jsonl``.
        provenance: ``provenance.json``; empty where there is none.
        outcome: how it ended; ``None`` while it runs, if it was cut off, and in older runs without a federation.
        best: the record of the best global model; ``None`` before the first is scored.
        sites: its sites, by name.
        pictures: the pictures that its sites were told to share.
    """

    name: str
    job: Job
    records: Sequence[Record]
    provenance: Mapping[str, Any]
    outcome: Outcome | None
    best: Record | None
    sites: Sequence[SiteFacts]
    pictures: Sequence[Picture]

    @property
    def kind(self) -> Kind:
        """Whether sites trained together, one by itself, or the cases of all were pooled."""
        if self.provenance.get("command") != "train":
            return "federated"
        # Runs that write an outcome without a federation, too, also say whose cases they pooled.
        is_old_pool = self.outcome is None and [site.name for site in self.sites] == [_OLD_POOL]
        return "central" if self.provenance.get("pooled", is_old_pool) else "local"

    @property
    def participants(self) -> Sequence[str] | None:
        """The names of the sites, in a pooled run of those whose cases it had; ``None`` if it does not say them."""
        return self.provenance.get("pooled") if self.kind == "central" else [site.name for site in self.sites]

    @property
    def rounds(self) -> Sequence[Record]:
        """The records of the rounds: all but that of the initial model."""
        return [record for record in self.records if record["round"] > 0]

    @property
    def has_ended(self) -> bool:
        """Whether the run has come to an end, whatever that was."""
        return self.outcome is not None or bool(self.provenance.get("finished"))

    @property
    def training_cases(self) -> int | None:
        """The training cases of the sites that trained; before any did, of all that have said how many they have."""
        return _total(site.training for site in self.trained_sites or self.sites)

    @property
    def trained_sites(self) -> Sequence[SiteFacts]:
        """The sites whose updates are part of a global model."""
        return [site for site in self.sites if site.trained]

    @property
    def unrecorded_best(self) -> int | None:
        """The round of the model in ``best.pt``, if the run was cut off before it wrote its record."""
        noted = noted_round(self.provenance, "best")
        return noted if self.best and noted != self.best["round"] else None

    @property
    def validation_cases(self) -> int | None:
        """The cases that the best model's score is a mean over."""
        return _total(site.validation for site in self.sites if self.job.key_metric[0] in site.best)

    @property
    def best_score(self) -> float | None:
        """The best model's key metric."""
        return self.best["global"].get(self.job.key_metric[0]) if self.best else None

    @property
    def classes(self) -> Sequence[str]:
        """The classes that the run segments; none in pre-training."""
        return tuple(self.job.segmentation.classes) if self.job.task == "finetune" else ()

    @property
    def worst_sites(self) -> Sequence[str]:
        """The sites with the worst score of the best model; none if it does equally well at all."""
        metric, mode = self.job.key_metric
        return _worst({site.name: site.best.get(metric) for site in self.sites}, max if mode == "min" else min)

    @property
    def worst_classes(self) -> Sequence[str]:
        """The classes that the best model segments worst; none if it segments all equally well."""
        return _worst({name: self.class_score(name) for name in self.classes}, min)

    @property
    def slowest_site(self) -> SiteFacts | None:
        """The site that trained longest a round; ``None`` if fewer than two trained."""
        trained = [site for site in self.sites if site.trained and site.seconds]
        return max(trained, key=lambda site: site.seconds / site.trained) if len(trained) > 1 else None

    def class_score(self, name: str) -> float | None:
        """Return the best model's Dice of a class."""
        return self.best["global"].get(f"dice_{name}") if self.best else None


@dataclass(frozen=True)
class Group:
    """Runs that are shown together.

    Attributes:
        name: what tells it from the other groups of the report.
        runs: one run, or the folds of a cross-validation.
    """

    name: str
    runs: Sequence[RunFacts]

    @property
    def has_folds(self) -> bool:
        """Whether the runs are folds."""
        return len(self.runs) > 1 and all(_is_fold(Path(run.name)) for run in self.runs)


def gather(paths: Sequence[Path]) -> list[Group]:
    """Read runs.

    Args:
        paths: run folders, folders of folds, or folders of run folders.

    Raises:
        FedSwinError: if there is no run at one of them, or it cannot be read.
    """
    found = [run for path in paths for run in _runs_at(path)]
    names = dict(zip(found, short_names(found), strict=True))
    groups = []
    for path in paths:
        runs = [_read_run(run, names[run]) for run in _runs_at(path)]
        together = Group(str(Path(runs[0].name).parent), runs)
        groups += [together] if together.has_folds else [Group(run.name, [run]) for run in runs]
    return [Group(_own_name(group, paths), group.runs) if group.has_folds else group for group in groups]


def _own_name(group: Group, paths: Sequence[Path]) -> str:
    """Name a cross-validation that is alone in its report by its folder."""
    return paths[0].absolute().name if group.name == "." else group.name


def _runs_at(path: Path) -> list[Path]:
    if (path / JOB).is_file():
        return [path]
    below = sorted(found.parent for found in path.glob(f"*/{JOB}"))
    below = below or sorted(found.parent for found in path.glob(f"fold*/*/{JOB}"))
    if not below:
        raise FedSwinError(f"{path} is no run folder: it has no {JOB}. Give the folder that --out named.")
    return below


def _is_fold(run: Path) -> bool:
    return re.fullmatch(r"fold\d+", run.name) is not None


def _read_run(run: Path, name: str) -> RunFacts:
    job, records = load_job(run / JOB), read_records(run)
    provenance = read_provenance(run)
    best = _best(job, records, provenance)
    sites = tuple(_site_facts(site, records, provenance, best) for site in _site_names(records, provenance))
    return RunFacts(name, job, records, provenance, read_outcome(run), best, sites, read_pictures(run))


def _best(job: Job, records: Sequence[Record], provenance: Mapping[str, Any]) -> Record | None:
    """Return the record of the best model: of that in ``best.pt``, or of the best among those that have a record.

    A run that was cut off between the two has written ``best.pt``, but not the record of its model.
    """
    by_number = {record["round"]: record for record in records}
    if noted := by_number.get(noted_round(provenance, "best")):
        return noted
    selection = Selection(*job.key_metric).after_all(records)
    return by_number[selection.best["round"]] if selection.best else None


def _site_names(records: Sequence[Record], provenance: Mapping[str, Any]) -> list[str]:
    asked = (name for record in records for name in (*record["sites"], *record.get("missing", [])))
    refused = (entry["site"] for record in records for entry in record.get("refused", []))
    return sorted({*(provenance.get("sites") or ()), *asked, *refused})


def _site_facts(name: str, records: Sequence[Record], provenance: Mapping[str, Any], best: Record | None) -> SiteFacts:
    lines = [record["sites"][name] for record in records if name in record["sites"]]
    scores = best["sites"].get(name, {}) if best else {}
    said = provenance.get("sites", {}).get(name, {})
    cases = said.get("cases") or {}
    return SiteFacts(
        name=name,
        training=cases.get("training", _newest(lines, "cases")),
        validation=scores.get("validation_cases", cases.get("validation", _newest(lines, "validation_cases"))),
        labelled=said.get("labels") or {},
        regions=said.get("regions") or (),
        best={metric: value for metric, value in (scores.get("metrics") or {}).items() if value is not None},
        scored=scores.get("scored") or {},
        trained=sum("weight" in line for line in lines),
        bytes_up=_sum(lines, "bytes_up") or 0,
        bytes_down=_sum(lines, "bytes_down") or 0,
        seconds=_sum(lines, "seconds") or 0,
        waiting=_sum(lines, "waiting"),
        memory=max(_values(lines, "memory"), default=None),
    )


def _worst(scores: Mapping[str, float | None], worst: Callable[[Iterable[float]], float]) -> list[str]:
    """Return the names that share the worst score; none if all share it."""
    known = {name: value for name, value in scores.items() if value is not None}
    if len(set(known.values())) < 2:
        return []
    least = worst(known.values())
    return [name for name, value in known.items() if value == least]


def _values(lines: Sequence[Mapping[str, Any]], key: str) -> Iterator[float]:
    return (line[key] for line in lines if line.get(key) is not None)


def _sum(lines: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = list(_values(lines, key))
    return sum(values) if values else None


def _newest(lines: Sequence[Mapping[str, Any]], key: str) -> int | None:
    return next((line[key] for line in reversed(lines) if line.get(key) is not None), None)


def _total(counts: Iterator[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None
