"""A conversion in processes of its own, killed or out of disk in the middle: what is left is never half a site."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from data.convert.archive import ct, save
from fedswin.data.check import Demands, check_site
from fedswin.data.datalist import read_site

pytestmark = pytest.mark.long

PATIENTS = 10
AS_IN_A_TERMINAL = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
"""A shell's background jobs ignore Ctrl-C, and what they start inherits that: these tests, perhaps."""
SMALL_DISK = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"


def start(*arguments: str | Path, first: str = "") -> subprocess.Popen[str]:
    """Run ``fedswin data convert`` in a session of its own; ``first`` is code that runs before it."""
    code = f"{AS_IN_A_TERMINAL}\n{first}\nfrom fedswin.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "data", "convert", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Two scans of each patient, large enough that there is a middle."""
    for number in range(2 * PATIENTS):
        save(tmp_path / "archive" / f"p{number % PATIENTS}" / f"scan{number}.nii", ct(number, (70, 70, 70)))
    return tmp_path / "archive"


@pytest.mark.parametrize(
    ("kind", "code", "words"),
    [(signal.SIGKILL, -signal.SIGKILL, ""), (signal.SIGINT, 130, "Stopped. The same command with --resume goes on.")],
    ids=["kill", "Ctrl-C"],
)
def test_a_conversion_that_is_stopped_in_the_middle_goes_on(archive, tmp_path, kind, code, words):
    out, partial = tmp_path / "site", tmp_path / "site.partial"
    process = start(archive, out, "--workers", "2")
    while len(list(partial.glob("records/*.json"))) < 5:
        assert process.poll() is None
        time.sleep(0.005)
    workers = psutil.Process(process.pid).children(recursive=True)
    if kind == signal.SIGKILL:
        process.kill()
    else:
        os.killpg(process.pid, kind)  # as a terminal does it
    said, _ = process.communicate(timeout=20)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert alive == []
    assert process.returncode == code
    assert words in said
    assert "Traceback" not in said
    assert not out.exists()
    assert not list(partial.rglob("datalist.json"))
    done = [json.loads(path.read_text()) for path in partial.glob("records/*.json")]
    assert 5 <= len(done) < 2 * PATIENTS

    process = start(archive, out, "--workers", "2", "--resume")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    site = read_site(out)
    cases = [case for cases in site.splits.values() for case in cases]
    assert {case["name"] for case in done} < {case.image.name.removesuffix(".nii.gz") for case in cases}
    assert len(cases) == 2 * PATIENTS
    assert len({case.patient for case in cases}) == PATIENTS
    assert check_site(site, Demands()).findings == []


def test_a_full_disk_is_named_and_the_conversion_goes_on_when_there_is_room(archive, tmp_path):
    process = start(archive, tmp_path / "site", first=SMALL_DISK)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert said.startswith(f"Error: {tmp_path}/site.partial")
    assert said.endswith(": File too large. Make room or mend that, and go on with --resume.\n")
    assert not (tmp_path / "site").exists()
    process = start(archive, tmp_path / "site", "--resume")
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
