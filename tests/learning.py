"""What sites say of pre-training models that learn, that are at chance, and that have collapsed."""

from __future__ import annotations

from typing import Any

from fedswin.records import Record, round_record

GOOD = {
    "rotation_accuracy": 0.71,
    "rotation_accuracy_sd": 0.1,
    "contrastive_share": 0.62,
    "feature_spread": 0.11,
    "feature_rank": 37.2,
}
AT_CHANCE = {"rotation_accuracy": 0.25, "contrastive_share": 1.0}
"""What differs from `GOOD`."""
COLLAPSED = {**AT_CHANCE, "feature_spread": 0.001, "feature_rank": 1.0}


def learning_record(number: int, patients: int = 6, **changes: Any) -> Record:
    """The line about global model ``number``, which one site scored."""
    site = {"metrics": {**GOOD, "loss": 1.0, **changes}, "validation_cases": patients}
    return round_record(number, "ok" if number else "initial", {"a": site})
