"""What stops a start, the command line of a kit's process, and that a second one is refused."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from fedswin.errors import FedSwinError
from fedswin.kits import start as module
from fedswin.kits.kit import read_kit
from fedswin.kits.start import command, start
from fedswin.run_lock import lock_run

EXAMPLE = Path(__file__).resolve().parents[2] / "provisioning" / "example.yaml"
SECONDS = 20.0


@pytest.fixture
def site(kits: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kits / "hospital_a", tmp_path / "hospital_a"))


class StartedError(Exception):
    """In place of a process that NVFlare has replaced."""


@pytest.fixture(autouse=True)
def become(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(command: list[str], environment: dict[str, str], folder: Path) -> NoReturn:
        raise StartedError(command, environment, folder)

    monkeypatch.setattr(module, "_become", stop)


@pytest.mark.parametrize("name", ["hospital_b", "server"])
def test_the_command_line_is_that_of_the_kits_own_script(kits: Path, name: str) -> None:
    kit = read_kit(kits / name)
    script = (kit.startup / "sub_start.sh").read_text()
    (line,) = re.findall(r"exec python3 (.*)", script)
    wanted = shlex.split(line.replace("$WORKSPACE", str(kit.folder)))
    assert command(kit) == [sys.executable, "-u", "-m", "fedswin.kits.process", *wanted[2:]]
    assert wanted[:2] == ["-u", "-m"]


def test_a_sound_kit_is_started_with_its_environment(
    site: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (site / "local" / "environment").write_text("MALLOC_ARENA_MAX=1\nFEDSWIN_TEST=file\n")
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    said: list[str] = []
    with pytest.raises(StartedError) as started:
        start(site, said.append)
    words, environment, folder = started.value.args
    assert (words, folder) == (command(read_kit(site)), site)
    assert (environment["MALLOC_ARENA_MAX"], environment["FEDSWIN_TEST"]) == ("1", "file")
    assert len(said) == 1
    assert str(site / "log.txt") in said[0]
    assert capfd.readouterr() == ("", "")


def test_a_start_is_refused_with_all_reasons(site: Path) -> None:
    (site / "startup" / "sub_start.sh").write_text("rm -rf /")
    (site / "startup" / "client.key").chmod(0o644)
    (site / "local" / "site.yaml").write_text("gpu: 1")
    with pytest.raises(FedSwinError) as refused:
        start(site, print)
    for reason in ("errors found: 3", "startup/sub_start.sh was altered", "its mode is 0644", "unknown key 'gpu'"):
        assert reason in str(refused.value)


def test_a_site_is_started_though_its_server_does_not_run(site: Path) -> None:
    with pytest.raises(StartedError):
        start(site, print)


def test_a_second_start_is_refused_and_a_stale_lock_is_not(site: Path) -> None:
    with lock_run(site), pytest.raises(FedSwinError, match=r"is being written by process \d+.* end it and start"):
        start(site, print)
    assert (site / "lock.json").exists()
    with pytest.raises(StartedError):
        start(site, print)


def test_a_process_that_the_kits_own_script_started_is_seen(site: Path, kits: Path) -> None:
    line = ["-m", "nvflare.private.fed.app.client.client_train", "-m", str(site), "-s", "fed_client.json"]
    running = subprocess.Popen([sys.executable, "-c", "input()", *line], stdin=subprocess.PIPE)
    try:
        with pytest.raises(FedSwinError, match=rf"runs already, with the id {running.pid}"):
            start(site, print)
        with pytest.raises(StartedError):
            start(kits / "hospital_b", print)
    finally:
        running.kill()
        running.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_process_of_a_kit_and_its_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    (tmp_path / "like_nvflare.py").write_text(
        "import subprocess, sys, time\n"
        "job = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(job.pid, *sys.argv[1:], __name__, flush=True)\n"
        "while True:\n    time.sleep(1)\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    line = [sys.executable, "-m", "fedswin.kits.process", "like_nvflare", "-m", "kit"]
    unmasked = partial(signal.signal, number, signal.SIG_DFL)  # whatever runs the tests may ignore it
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, preexec_fn=unmasked) as process:
        assert process.stdout
        job, *words = process.stdout.readline().split()
        assert words == ["-m", "kit", "__main__"]
        process.send_signal(number)
        try:
            assert process.wait(SECONDS) == -number
        finally:
            process.kill()
    deadline = time.monotonic() + SECONDS
    while psutil.pid_exists(int(job)) and psutil.Process(int(job)).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.05)
