"""The model card: what a model is, what it was made from, how good it is, and how to use it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedswin.checksum import file_sha256
from fedswin.exporting.rendering import render
from fedswin.pretraining.verdict import PAGE, Learning, read_learning
from fedswin.provenance import read_provenance
from fedswin.records import read_records
from fedswin.weights.file import Weights

_UNKNOWN = "–"
_ALL_SITES = "all sites"
_MADE_BY = {
    "submit": "Its sites trained it together with FedSwin, and no scan left a site.",
    "simulate": "It was trained with FedSwin, in a simulation of its sites on one machine.",
    "train": "It was trained with FedSwin, without a federation.",
}
"""By the command that ``provenance.json`` notes."""


def model_card(weights: Weights, form: str, run: Path | None, how_to_use: str) -> str:
    """Return the model card, in Markdown. Its last section is a list of checksums, which `with_checksums` goes on with.

    Args:
        weights: the model.
        form: the form that it is exported in.
        run: the run folder that it is from, which knows more of its history; without it the card says what the
            weights' own provenance holds.
        how_to_use: the sections, with headings of the second level, that say how to load this form of it.
    """
    origin = _origin(weights, run)
    metrics = [name for name in origin.record.get("global") or {} if name in weights.job.metrics]
    return render(
        "card.md",
        weights=weights,
        job=weights.job,
        form=form,
        finetuned=weights.job.task == "finetune",
        modality=", ".join(weights.job.data.channels),
        made=_MADE_BY.get(origin.provenance.get("command", ""), "It was trained with FedSwin."),
        round=weights.provenance.get("round"),
        sites=[_site(name, origin) for name in origin.sites],
        pooled=origin.provenance.get("pooled", []),
        metrics=metrics,
        scores=_scores(origin.record, metrics),
        learning=_learning(weights, origin.provenance),
        page=PAGE,
        start=_start(origin.provenance),
        versions=_versions(weights, origin.provenance),
        how_to_use=how_to_use.strip(),
    )


def with_checksums(card: str, folder: Path, files: Iterable[Path]) -> str:
    """Return a model card with the SHA-256 of each of ``files``, under its name in ``folder``."""
    named = sorted((file.relative_to(folder).as_posix(), file) for file in files)
    return card + "".join(f"- the file `{name}`: `{file_sha256(file)}`\n" for name, file in named)


@dataclass(frozen=True)
class _Origin:
    """What is known of a model's history.

    Attributes:
        provenance: ``provenance.json`` of the run, or nothing.
        record: the line of ``metrics.jsonl`` about this model, or what of it the weights file holds.
        training_cases: of each site, as far as they are known.
        sites: the names of the sites.
    """

    provenance: Mapping[str, Any]
    record: Mapping[str, Any]
    training_cases: Mapping[str, int]
    sites: list[str]


def _origin(weights: Weights, run: Path | None) -> _Origin:
    records = read_records(run) if run else []
    provenance = read_provenance(run) if run else {}
    known = weights.provenance
    record = next((line for line in records if line["round"] == known.get("round")), known)
    everyone = [(name, site) for line in records for name, site in line["sites"].items()]
    cases = {name: site["cases"] for name, site in everyone if site.get("cases") is not None}
    sites = list(provenance.get("sites") or dict.fromkeys(name for name, _ in everyone) or record.get("sites") or ())
    return _Origin(provenance, record, cases, sites)


def _site(name: str, origin: _Origin) -> dict[str, str]:
    """Return the cells of a site's row in the table of the data."""
    told = origin.provenance.get("sites", {}).get(name, {})
    cases = told.get("cases") or {
        "training": origin.training_cases.get(name),
        "validation": ((origin.record.get("sites") or {}).get(name) or {}).get("validation_cases"),
    }
    labels = (f"{class_name} {count}" for class_name, count in (told.get("labels") or {}).items())
    return {
        "name": name,
        "training": _cell(cases.get("training")),
        "validation": _cell(cases.get("validation")),
        "regions": ", ".join(told.get("regions") or ()) or _UNKNOWN,
        "labels": ", ".join(labels) or _UNKNOWN,
    }


def _scores(record: Mapping[str, Any], metrics: list[str]) -> dict[str, list[str]]:
    """Return a row of cells for each site that scored the model, and one for all of them."""
    found = {name: site.get("metrics") or {} for name, site in (record.get("sites") or {}).items()}
    rows = {name: values for name, values in found.items() if values} | {_ALL_SITES: record.get("global") or {}}
    return {name: [_cell(values.get(metric)) for metric in metrics] for name, values in rows.items()}


def _learning(weights: Weights, provenance: Mapping[str, Any]) -> Learning | None:
    """Return whether the model learned in pre-training, as its file says it or else its run does."""
    noted = provenance.get("learning")
    of_models = [weights.provenance.get("learning"), *(noted.values() if isinstance(noted, Mapping) else ())]
    found = (read_learning(told) for told in of_models)
    number = weights.provenance.get("round")
    return next((learning for learning in found if learning and learning.round == number), None)


def _start(provenance: Mapping[str, Any]) -> str | None:
    handover, parent = provenance.get("handover"), provenance.get("parent")
    if not handover or not parent:
        return None
    start = f"weights of the dialect '{handover['dialect']}', file SHA-256 `{parent['file_sha256']}`"
    learning = read_learning(handover.get("learning"))
    return f"{start}; their pre-training: {learning.line}" if learning else start


def _versions(weights: Weights, provenance: Mapping[str, Any]) -> dict[str, str]:
    code = provenance.get("code") or weights.provenance.get("code") or {}
    versions = weights.provenance.get("versions") or provenance.get("versions") or {}
    commit = {"commit of fedswin": f"`{code['commit']}`"} if code.get("commit") else {}
    return {**versions, **commit}


def _cell(value: float | None) -> str:
    if value is None:
        return _UNKNOWN
    return f"{value:.4g}" if isinstance(value, float) else str(value)
