"""What a site sees of fine-tuning: a case with its label, and with what the model makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from end_to_end import tiny
from fedswin.data.datalist import Site, read_site
from fedswin.segmentation import task as module
from fedswin.segmentation.pictures import segmentation_picture
from fedswin.segmentation.task import SegmentationTask


def coloured(picture: np.ndarray) -> np.ndarray:
    return np.ptp(picture.astype(int), axis=2) > 0


def test_label_and_prediction_are_laid_over_the_plane_that_crosses_the_organ() -> None:
    image, label, predicted = torch.rand(1, 8, 8, 8), torch.zeros(1, 8, 8, 8).byte(), torch.zeros(1, 8, 8, 8).byte()
    label[0, 2:4, 1, 1] = 1
    predicted[0, 2:5, 1, 1] = 2
    picture = segmentation_picture(image, label, predicted, (1.0, 1.0, 1.0))
    assert picture.shape == (3 * 10, 3 * 10, 3)
    plain, own, guess = (picture[:8, start : start + 8] for start in (0, 10, 20))
    assert (coloured(plain).sum(), coloured(own).sum(), coloured(guess).sum()) == (0, 2, 3)
    assert coloured(own)[6].tolist() == [False] * 4 + [True] * 2 + [False] * 2  # the second row from behind
    assert tuple(own[6, 4]) != tuple(guess[6, 4])


def test_voxels_twice_as_long_are_drawn_twice_as_high() -> None:
    volume = torch.zeros(1, 8, 8, 8)
    assert segmentation_picture(volume, volume, volume, (1.0, 1.0, 2.0)).shape[0] == 3 * (16 + 2)


def test_a_task_draws_its_first_case_as_it_was_predicted_without_predicting_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = read_site(tiny.write_sites(tmp_path, {"a": 1}) / "a")
    validation = [*site.cases("validation"), *site.cases("test")]
    task = SegmentationTask(
        tiny.job(tiny.FINETUNE),
        Site("a", site.folder, {"training": site.cases("training"), "validation": validation}),
        torch.device("cpu"),
        lambda text: None,
    )
    assert task.pictures() == {}
    classes = iter([1, 0])  # all of the first case is lump, nothing of the second
    predict = lambda model, image, job, device: torch.full(image.shape, next(classes))  # noqa: E731
    monkeypatch.setattr(module, "predict_classes", predict)
    task.validate()
    picture = task.pictures()["segmentation"]
    width = picture.shape[1] // 3
    plain, own, guess = (coloured(picture[:, start : start + width]).sum() for start in (0, width, 2 * width))
    assert plain == 0
    right, front, head = task._validation[0].shape
    assert guess == right * front + right * head + front * head > own > 0
