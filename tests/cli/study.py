"""A small study, the command to run on it, and the ways in which its data can be bad."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from end_to_end import tiny
from fedswin import cli
from fedswin.data.datalist import read_site
from fedswin.weights.file import Weights, save_weights
from fedswin.weights.handover import initial_state

PRETRAIN, FINETUNE = "pretrain.yaml", "finetune.yaml"


class Command:
    """Runs ``fedswin`` in this process, from the folder of the study."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        self._monkeypatch.setattr(sys, "argv", ["fedswin", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = self._capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err


def first_image(study: Path) -> Path:
    return read_site(study / "the sites" / "a").cases("training")[0].image


def first_label(study: Path) -> Path:
    label = read_site(study / "the sites" / "a").cases("training")[0].label
    assert label
    return label


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], spacing: float = 2.0) -> None:
    voxels = change(np.asanyarray(nib.load(path).dataobj))
    nib.save(nib.Nifti1Image(voxels, np.diag([spacing, spacing, spacing, 1.0])), path)


def edit_datalist(study: Path, change: Callable[[dict[str, list[dict[str, str]]]], None]) -> None:
    path = study / "the sites" / "a" / "datalist.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def lose_image(study: Path) -> None:
    first_image(study).unlink()


def truncate(study: Path) -> None:
    first_image(study).write_bytes(first_image(study).read_bytes()[:-500])


def write_text_over(study: Path) -> None:
    first_image(study).write_text("this is no NIfTI")


def make_2d(study: Path) -> None:
    rewrite(first_image(study), lambda voxels: voxels[:, :, 0])


def make_4d(study: Path) -> None:
    rewrite(first_image(study), lambda voxels: np.stack([voxels, voxels], axis=-1))


def move_label(study: Path) -> None:
    rewrite(first_label(study), lambda voxels: voxels, spacing=2.5)


def label_unknown_organ(study: Path) -> None:
    rewrite(first_label(study), lambda voxels: voxels * np.uint8(7))


def put_nan(study: Path) -> None:
    def nan_in_the_corner(voxels: np.ndarray) -> np.ndarray:
        voxels = voxels.astype(np.float32)
        voxels[0, 0, 0] = np.nan
        return voxels

    rewrite(first_image(study), nan_in_the_corner)


def empty_training(study: Path) -> None:
    edit_datalist(study, lambda content: content.update(training=[]))


def repeat_case(study: Path) -> None:
    edit_datalist(study, lambda content: content["validation"].append(content["training"][0]))


def misspell_a_class(study: Path) -> None:
    edit_datalist(study, lambda content: content.update(annotated=["lumb"]))


def name_an_unknown_label_map(study: Path) -> None:
    edit_datalist(study, lambda content: content.update(label_map="totalsegmentator_v3"))


BAD_DATA = {
    "missing image": (lose_image, "a/images/case0.nii.gz does not exist"),
    "truncated": (truncate, "a/images/case0.nii.gz: cannot be read as NIfTI"),
    "not NIfTI": (write_text_over, "a/images/case0.nii.gz: cannot be read as NIfTI"),
    "2-D": (make_2d, "a/images/case0.nii.gz: is 2-D"),
    "4-D": (make_4d, "a/images/case0.nii.gz: is 4-D"),
    "label off its image": (move_label, "a/labels/case0.nii.gz: lies up to"),
    "unknown label": (label_unknown_organ, "a/labels/case0.nii.gz: unknown label values: 7"),
    "NaN": (put_nan, "a/images/case0.nii.gz: 1 of 95040 voxels are NaN"),
    "empty training list": (empty_training, "there is no training case"),
    "case in two splits": (repeat_case, "is in both 'training' and 'validation'"),
    "annotated": (misspell_a_class, "a/datalist.json: 'annotated' names 'lumb', which is not a class of the job"),
    "named label map": (name_an_unknown_label_map, "does not know (did you mean 'totalsegmentator_v2'?)"),
}


def save_untrained(path: str, content: dict[str, Any]) -> None:
    job = tiny.job(content)
    save_weights(Path(path), Weights(initial_state(job).tensors, job))
