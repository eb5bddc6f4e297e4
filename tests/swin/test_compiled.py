"""The compiled kernels where the disk, the process or numba's settings are not as usual."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fedswin.swin import compiled

numba = pytest.importorskip("numba")


def double(values):
    for number in range(len(values)):
        values[number] *= 2


def double_once_more() -> None:
    """Compile anew, as in a new process, and run."""
    values = torch.tensor([1.0, 2.0])
    compiled.run(compiled.kernels._compiled(double), (values,))
    assert values.tolist() == [2, 4]


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
def test_kept_code_that_was_cut_off_is_compiled_again(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    double_once_more()
    [kept] = tmp_path.rglob(f"*.{kind}")
    kept.write_bytes(kept.read_bytes()[:100] if kind == "nbc" else b"")
    double_once_more()


def test_a_full_disk_keeps_nothing_and_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(os, "replace", full)
    double_once_more()


def work_in_two_threads() -> None:
    values = torch.ones(2, 2)
    compiled.run(compiled.kernels._compiled(double), (values[0],), (values[1],))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_threads_are_made_anew_after_a_fork() -> None:
    work_in_two_threads()
    child = multiprocessing.get_context("fork").Process(target=work_in_two_threads)
    child.start()
    child.join(30)
    code = child.exitcode
    child.kill()
    assert code == 0


def test_without_a_compiler_torch_does_the_work() -> None:
    text = "from fedswin.swin import compiled; assert compiled.kernels is None"
    subprocess.run([sys.executable, "-c", text], env={**os.environ, "NUMBA_DISABLE_JIT": "1"}, check=True)


def test_a_part_of_an_index_needs_no_code_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    from fedswin.swin.position_bias import position_bias
    from fedswin.swin.windows import window_boxes

    seen = []
    monkeypatch.setattr(compiled, "run", lambda _, *calls: seen.extend(calls))
    index = torch.zeros(27, 27, dtype=torch.long)[:8, :8]
    [kind] = window_boxes((2, 2, 2), (2, 2, 2), (0, 0, 0), torch.device("cpu"))
    position_bias(torch.zeros(125, 3), index, kind)
    assert all(value.is_contiguous() for value in seen[0] if isinstance(value, torch.Tensor))
