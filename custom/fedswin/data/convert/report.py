"""The report of a conversion, which stays in the site folder and names nothing of the archive."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from fedswin.data.convert.case_files import ConvertedCase
from fedswin.data.convert.source import LeftOut

REPORT = "conversion.json"

_NUMBER = re.compile(r"\d+(\.\d+)?")


def write_report(folder: Path, cases: Sequence[ConvertedCase], left_out: Sequence[LeftOut]) -> None:
    """Write ``folder/conversion.json``: each case, and each thing left out with its reason, fix and number of files.

    Both lists are sorted by what they say, so that their order tells nothing of the names in the archive.

    Raises:
        OSError: if it cannot be written.
    """
    content = {
        "cases": [asdict(case) for case in sorted(cases, key=lambda case: case.name)],
        "left_out": sorted(
            ({"reason": item.reason, "fix": item.fix, "files": len(item.files)} for item in left_out),
            key=lambda entry: (entry["reason"], entry["files"]),
        ),
    }
    (folder / REPORT).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def by_reason(left_out: Sequence[LeftOut]) -> list[LeftOut]:
    """Put together what was left out for one reason, the most files first.

    Reasons that differ in their numbers alone are one; the numbers become dots then.
    """
    groups: defaultdict[tuple[str, str], list[LeftOut]] = defaultdict(list)
    for item in left_out:
        groups[_NUMBER.sub("…", item.reason), item.fix].append(item)
    merged = [
        LeftOut(
            tuple(path for item in items for path in item.files),
            items[0].reason if len({item.reason for item in items}) == 1 else reason,
            fix,
        )
        for (reason, fix), items in groups.items()
    ]
    return sorted(merged, key=lambda item: -len(item.files))
