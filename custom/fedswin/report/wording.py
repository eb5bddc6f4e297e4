"""Numbers and lists as people read them: three significant digits, units, a dash for what is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from markupsafe import Markup, escape

MISSING = "–"
_WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten", "Eleven", "Twelve")
_METRICS = {
    "dice": "Dice",
    "inpainting": "inpainting loss",
    "rotation": "rotation loss",
    "contrastive": "contrastive loss",
    "contrastive_share": "contrastive loss, share of chance",
    "feature_spread": "spread of the features",
    "feature_rank": "rank of the features",
}
_LONG_NAME = 18
_LARGE = 1e12
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def significant(value: float | None) -> str:
    """Return ``value`` with three significant digits: from 1000 on as a whole number, from 1e12 on with its power."""
    if value is None or not math.isfinite(value):
        return MISSING
    if 999.5 <= abs(value) < _LARGE:
        return count(float(f"{value:.3g}"))
    return f"{value:#.3g}".rstrip(".").replace("-", "−").replace("e−0", "e−").replace("e+", "e")


def count(value: float | None) -> str:
    """Return a whole number, its thousands apart."""
    return MISSING if value is None else f"{value:,.0f}".replace("-", "−").replace(",", " ")


def counted(value: int | None, one: str, many: str) -> str:
    """Return a number with its noun: ``1 case``, ``3 cases``."""
    return f"{count(value)} {one if value == 1 else many}"


def number_word(value: int) -> str:
    """Return a number that begins a sentence: ``Three``."""
    return _WORDS[value] if value < len(_WORDS) else count(value)


def size(count_of_bytes: float | None) -> str:
    """Return bytes as kB, MB or GB."""
    if count_of_bytes is None or not math.isfinite(count_of_bytes):
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6)):
        if count_of_bytes >= factor:
            return f"{significant(count_of_bytes / factor)} {unit}"
    return f"{significant(count_of_bytes / 1e3) if count_of_bytes else 0} kB"


def duration(seconds: float | None) -> str:
    """Return a time in its two largest units: ``3 h 10 min``; a dash for what can be no time."""
    if seconds is None or not 0 <= seconds < _LARGE:
        return MISSING
    if seconds < _MINUTE:
        return f"{significant(seconds) if seconds else 0} s"
    whole = round(seconds)
    for unit, large, part, small in (("d", _DAY, "h", _HOUR), ("h", _HOUR, "min", _MINUTE), ("min", _MINUTE, "s", 1)):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {unit} {rest} {part}" if rest else f"{whole // large} {unit}"
    return f"{whole} s"


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence has them: ``a, b and c``."""
    *others, last = names or (MISSING,)
    return f"{', '.join(others)} and {last}" if others else last


def ranges(numbers: Sequence[int]) -> str:
    """Return ascending numbers with their runs drawn together: ``1–3, 7``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][-1] + 1:
            spans[-1][1:] = [number]
        else:
            spans.append([number])
    return ", ".join("–".join(str(end) for end in span) for span in spans)


def metric_name(metric: str) -> str:
    """Return a metric's name for people: ``Dice of liver``, ``rotation accuracy``."""
    if metric.startswith("dice_"):
        return f"Dice of {readable(metric.removeprefix('dice_'))}"
    return _METRICS.get(metric, readable(metric))


def readable(name: str) -> str:
    """Return a setting's or class's name without underscores."""
    return name.replace("_", " ")


def breakable(name: str) -> Markup:
    """Return a name that a page may break after a slash, and a long one after an underscore, too."""
    places = "[_/]" if len(name) > _LONG_NAME else "/"
    return Markup(re.sub(f"(?<={places})", "<wbr>", str(escape(name))))
