"""The picture of models side by side, at the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.study import Command, save_untrained
from end_to_end import tiny


def test_compare_as_a_command(study: Path, fedswin: Command) -> None:
    image_module = pytest.importorskip("matplotlib.image")
    for name in ("one.pt", "other.pt"):
        save_untrained(name, tiny.FINETUNE)
    arguments = ["compare", "one.pt", "other.pt", "--data", "the sites", "--out", "out/c.png"]
    code, shown, _ = fedswin(*arguments)
    assert (code, "the only case" in shown, "out/c.png shows patients" in shown) == (0, True, True), shown
    assert image_module.imread("out/c.png").std() > 0.1
    before = Path("out/c.png").read_bytes()
    code, _, error = fedswin(*arguments, "--case", "a/case3", "--slice", "9")
    assert (code, "out/c.png exists" in error, Path("out/c.png").read_bytes() == before) == (1, True, True), error
    code, shown, error = fedswin(*arguments, "--case", "a/case3", "--slice", "9", "--overwrite")
    assert (code, "named" in shown, Path("out/c.png").read_bytes() == before) == (0, True, False), error


def test_a_pretraining_model_is_refused_and_nothing_is_written(study: Path, fedswin: Command) -> None:
    pytest.importorskip("matplotlib")
    save_untrained("encoder.pt", tiny.PRETRAIN)
    code, _, error = fedswin("compare", "encoder.pt", "--data", "the sites", "--out", "out.png")
    assert (code, "Give one of a 'finetune' job" in error, Path("out.png").exists()) == (1, True, False), error
