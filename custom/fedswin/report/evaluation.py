"""An evaluation, as ``fedswin evaluate`` wrote it: models by sites, on cases that no training has read."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedswin.errors import FedSwinError
from fedswin.evaluation import ALL, CASES, MATRIX


@dataclass(frozen=True)
class EvaluationFacts:
    """What is known of an evaluation.

    Attributes:
        split: the cases that were scored: ``test`` or ``validation``.
        models: ``{model: {site: {metric: value}}}``; the site ``all`` is all cases.
        cases: for each site, how many cases were scored.
        tolerances: the NSD's tolerances in mm that occur.
    """

    split: str
    models: Mapping[str, Mapping[str, Mapping[str, float]]]
    cases: Mapping[str, int]
    tolerances: frozenset[float]


def read_evaluation(folder: Path) -> EvaluationFacts:
    """Read an evaluation. Of its cases only their number is taken, never a name.

    Raises:
        FedSwinError: if there is none.
    """
    try:
        content = json.loads((folder / MATRIX).read_text())
        models = content["models"]
        tolerances = frozenset(mm for model in content["nsd_tolerance_mm"].values() for mm in model.values())
        return EvaluationFacts(content["split"], models, _count_cases(folder / CASES), tolerances)
    except (OSError, ValueError, KeyError) as error:
        raise FedSwinError(
            f"{folder} is no evaluation ({MATRIX}: {error!r}). Give the folder that 'fedswin evaluate' wrote."
        ) from None


def _count_cases(path: Path) -> dict[str, int]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    counts = Counter(row["site"] for row in rows if row["model"] == rows[0]["model"])
    return {**counts, ALL: counts.total()}
