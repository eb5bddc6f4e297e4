"""The report: numbers and kinds, in an order that says nothing of the archive."""

from __future__ import annotations

import json
from pathlib import Path

from fedswin.data.convert.report import by_reason, write_report
from fedswin.data.convert.source import LeftOut

MISSING = "slices are missing: {} of {}"
LEFT_OUT = [
    LeftOut((Path("/archive/z/1"), Path("/archive/z/2")), MISSING.format(3, 40), "Export it again."),
    LeftOut((Path("/archive/a/1"),), "an archive", "Unpack it."),
    LeftOut((Path("/archive/m/1"),), MISSING.format(1, 9.5), "Export it again."),
]


def test_reasons_that_differ_in_numbers_alone_are_one():
    missing, archive = by_reason(LEFT_OUT)
    assert (missing.reason, len(missing.files)) == ("slices are missing: … of …", 3)
    assert archive == LEFT_OUT[1]
    assert by_reason(LEFT_OUT[:1])[0].reason == MISSING.format(3, 40)


def test_the_report_counts_files_and_names_none(tmp_path):
    write_report(tmp_path, [], LEFT_OUT)
    content = json.loads((tmp_path / "conversion.json").read_text())
    assert content["left_out"] == [
        {"reason": "an archive", "fix": "Unpack it.", "files": 1},
        {"reason": MISSING.format(1, 9.5), "fix": "Export it again.", "files": 1},
        {"reason": MISSING.format(3, 40), "fix": "Export it again.", "files": 2},
    ]
