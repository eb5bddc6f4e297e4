"""The names in the folder of an evaluation, which ``fedswin evaluate`` writes and the report reads."""

from __future__ import annotations

MATRIX = "evaluation.json"
CASES = "cases.csv"
ALL = "all"
"""In the matrix the name that stands for the cases of all sites together."""
