"""Prediction at the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import pytest

from cli.study import BAD_DATA, Command, first_image, save_untrained
from end_to_end import tiny

BAD_IMAGES = {name: (damage, words) for name, (damage, words) in BAD_DATA.items() if "images" in words}


@pytest.mark.parametrize(("damage", "words"), BAD_IMAGES.values(), ids=BAD_IMAGES)
def test_an_image_that_cannot_be_used_is_refused_before_anything_is_predicted(
    study: Path, fedswin: Command, damage: Callable[[Path], None], words: str
) -> None:
    save_untrained("model.pt", tiny.FINETUNE)
    image = first_image(study)
    damage(study)
    code, _, error = fedswin("predict", str(image), "--model", "model.pt", "--out", "out")
    words = words.replace("does not exist", "there is no such file").removeprefix("a/images/case0.nii.gz").strip(": ")
    assert code == 1
    assert f"{image}: {words}" in error
    assert not Path("out").exists()


def test_models_that_cannot_predict_are_named(study: Path, fedswin: Command) -> None:
    save_untrained("model.pt", tiny.FINETUNE)
    save_untrained("encoder.pt", tiny.PRETRAIN)
    save_untrained("other.pt", {**tiny.FINETUNE, "data": {"roi": [64, 32, 32], "hu_window": [-100, 100]}})
    Path("notes.pt").write_text("no weights")
    cases = [
        ("encoder.pt", "the model of a 'pretrain' job and segments nothing"),
        ("other.pt", "model.pt and other.pt cannot predict together: data.hu_window"),
        ("notes.pt", "notes.pt is not a readable weights file"),
        ("none.pt", "none.pt does not exist"),
    ]
    for name, words in cases:
        models = ["--model", "model.pt", "--model", name]
        code, _, error = fedswin("predict", str(first_image(study)), *models, "--out", "out")
        assert (code, words in error, Path("out").exists()) == (1, True, False), error


def test_predict_as_a_command(study: Path, fedswin: Command) -> None:
    save_untrained("model.pt", tiny.FINETUNE)
    image = first_image(study)
    code, shown, _ = fedswin("predict", str(image), "--model", "model.pt", "--out", "out")
    assert (code, "lump" in shown, "out: 1 label maps, labels.json" in shown) == (0, True, True), shown
    assert nib.load(Path("out") / image.name).shape == nib.load(image).shape
