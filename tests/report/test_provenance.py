"""Where a run comes from, as the report says it."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

from fedswin.provenance import read_provenance
from fedswin.report.facts import gather
from fedswin.report.provenance import provenance
from fedswin.run_folder import RunFolder
from report import runs
from report.runs import FINETUNE, write_run


def test_a_run_that_went_on_with_other_software_says_so(tmp_path: Path) -> None:
    write_run(tmp_path, FINETUNE, runs.three_sites())
    before = read_provenance(tmp_path)
    with patch("fedswin.provenance.platform.python_version", return_value="3.99.0"):
        RunFolder(tmp_path, FINETUNE, first_round=2)
    [group] = gather([tmp_path])
    said = dict(provenance(group.runs[0]))
    assert said["Python"] == before["python"]
    assert said["from global model 2 on"].endswith("Python 3.99.0")
    assert f"code SHA-256 {before['code']['sha256']}, " in said["from global model 2 on"]


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    run = write_run(tmp_path, FINETUNE, [])
    (run / "provenance.json").write_text("{}")
    [group] = gather([run])
    assert dict(provenance(group.runs[0])) == {"job, SHA-256": FINETUNE.digest, "seed": str(FINETUNE.seed)}
