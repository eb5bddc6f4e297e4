"""What a site sees of pre-training: the view, what was cut out, and how it was filled in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from end_to_end import tiny
from fedswin.config import Job
from fedswin.data.datalist import Site, read_site
from fedswin.pretraining.pictures import inpainting_picture
from fedswin.pretraining.task import PretrainingTask
from fedswin.training.trainer import make_deterministic
from fedswin.weights.file import parameters

JOB = tiny.job(tiny.PRETRAIN)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return read_site(tiny.write_sites(tmp_path_factory.mktemp("sites"), {"a": 1}) / "a")


def task_of(site: Site, job: Job = JOB) -> PretrainingTask:
    return PretrainingTask(job, site, torch.device("cpu"), lambda text: None)


def test_a_view_stands_beside_itself_with_cut_out_and_filled_in() -> None:
    view = torch.rand(1, 8, 8, 8)
    view[0, 0, 0, 0], view[0, 1, 0, 0] = 0.0, 1.0
    masked = view.clone()
    masked[:, :4] = 0
    picture = inpainting_picture(view, masked, view)
    assert picture.shape == (3 * 10, 3 * 10, 3)
    first, second, third = (picture[:8, start : start + 8] for start in (0, 10, 20))
    assert np.array_equal(first, third)
    assert np.array_equal(first[:, :4], second[:, :4])  # the right, on the left
    assert not second[:, 4:].any()
    axial = (view[0, :, :, 4].numpy().T[::-1, ::-1] * 255).astype(np.uint8)
    assert np.array_equal(first[..., 0], axial)
    assert inpainting_picture(view, masked, None).shape == (3 * 10, 2 * 10, 3)


def test_the_picture_is_of_the_same_view_and_of_the_model_that_was_scored_last(site: Site) -> None:
    task = task_of(site)
    task.validate()
    first = task.pictures()["inpainting"]
    assert first.shape == (3 * 34, 3 * 34, 3)
    with torch.no_grad():
        list(task.model.reconstruction.parameters())[-1].fill_(0.8)
    assert np.array_equal(task.pictures()["inpainting"], first), "no model has been scored since"
    task.validate()
    second = task.pictures()["inpainting"]
    assert np.array_equal(first[:, :68], second[:, :68])
    assert not np.array_equal(first[:, 68:], second[:, 68:])


def test_without_a_validation_case_a_training_view_is_drawn(site: Site) -> None:
    task = task_of(Site("a", site.folder, {"training": site.cases("training"), "validation": []}))
    assert task.validate().metrics == {}
    assert np.array_equal(task.pictures()["inpainting"], task.pictures()["inpainting"])
    assert task.model.training


def test_drawing_changes_no_bit_of_what_is_trained(site: Site) -> None:
    make_deterministic(JOB)

    def losses(*, draws: bool) -> list[torch.Tensor]:
        task = task_of(site)
        state = torch.get_rng_state()
        task.validate()
        if draws:
            task.pictures()
        assert torch.equal(torch.get_rng_state(), state)
        loss = task.losses(task.batch(0))["loss"]
        loss.backward()
        gradients = [value.grad for value in task.model.parameters() if value.grad is not None]
        return [loss.detach(), *gradients, *parameters(task.model).values()]

    assert all(torch.equal(one, other) for one, other in zip(losses(draws=True), losses(draws=False), strict=True))
