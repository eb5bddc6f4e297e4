"""The curves of the sites in a study that several jobs, or several lives of one, go through."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from nvflare.apis.analytix import AnalyticsDataType
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import EventScope, FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.utils.analytix_utils import create_analytic_dxo
from nvflare.apis.workspace import Workspace
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from end_to_end import tiny
from fedswin.curves import TENSORBOARD, Curves
from fedswin.federation import messages
from fedswin.federation.curves import SHARED_PART, StudyCurves

EVENT = "fed.analytix"
JOB = tiny.job({**tiny.PRETRAIN, "federation": {"rounds": 2, "local_steps": 2}})


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    monkeypatch.setenv(messages.RUN_VARIABLE, str(tmp_path / "study"))
    for folder in ("startup", "local"):
        (tmp_path / folder).mkdir()
    return Workspace(str(tmp_path))


def run_job(workspace: Workspace, name: str, first_step: int, losses: dict[int, float]) -> None:
    """Let one job write the losses of site a, in a study that the controller opens after the start of the job."""
    contexts = FLContextManager(SimpleNamespace(get_workspace=lambda: workspace), "server", name)
    curves = StudyCurves([EVENT])
    curves.handle_event(EventType.START_RUN, contexts.new_context())
    study = Curves(Path(os.environ[messages.RUN_VARIABLE]), JOB, first_step // JOB.federation.local_steps)
    contexts.new_context().set_prop(messages.CURVES, study)
    for step, loss in losses.items():
        curves.handle_event(EVENT, scalar_of_site(contexts, step, loss))
    curves.handle_event(EventType.END_RUN, contexts.new_context())


def scalar_of_site(contexts: FLContextManager, step: int, loss: float) -> FLContext:
    return event_of_site(contexts, "train/loss", loss, AnalyticsDataType.SCALAR, global_step=step)


def event_of_site(contexts: FLContextManager, tag: str, value: Any, kind: AnalyticsDataType, **more: int) -> FLContext:
    scalar = create_analytic_dxo(tag, value, kind, **more).to_shareable()
    scalar.set_peer_props({ReservedKey.IDENTITY_NAME: "a"})
    context = contexts.new_context()
    context.set_prop(FLContextKey.EVENT_DATA, scalar, private=True, sticky=False)
    context.set_prop(FLContextKey.EVENT_SCOPE, EventScope.FEDERATION, private=True, sticky=False)
    return context


def test_steps_that_are_made_again_replace_those_of_before(workspace: Workspace, tmp_path: Path):
    run_job(workspace, "first", 0, {0: 0.5, 1: 0.25, 2: 8.0, 3: 8.0})
    run_job(workspace, "second", 2, {2: 0.125, 3: 0.0625})
    for folder in (tmp_path / "study", tmp_path / "second" / SHARED_PART):
        curve = EventAccumulator(str(folder / TENSORBOARD / "a")).Reload().Scalars("train/loss")
        assert [(event.step, event.value) for event in curve] == [(0, 0.5), (1, 0.25), (2, 0.125), (3, 0.0625)]


def test_what_is_no_number_is_not_drawn(workspace: Workspace, tmp_path: Path):
    contexts = FLContextManager(SimpleNamespace(get_workspace=lambda: workspace), "server", "job")
    receiver = StudyCurves([EVENT])
    receiver.handle_event(EventType.START_RUN, contexts.new_context())
    contexts.new_context().set_prop(messages.CURVES, Curves(tmp_path / "study", JOB))
    for tag, value, kind in (
        ("patient", "Mueller", AnalyticsDataType.TEXT),
        ("slice", np.zeros((3, 4, 4)), AnalyticsDataType.IMAGE),
        ("train/loss", math.nan, AnalyticsDataType.SCALAR),
        ("patient Mueller", 1.0, AnalyticsDataType.SCALAR),
    ):
        receiver.handle_event(EVENT, event_of_site(contexts, tag, value, kind, global_step=0))
    receiver.handle_event(EVENT, scalar_of_site(contexts, 1, 0.5))
    receiver.handle_event(EventType.END_RUN, contexts.new_context())
    drawn = EventAccumulator(str(tmp_path / "study" / TENSORBOARD / "a")).Reload()
    tags = drawn.Tags()
    assert tags["scalars"] == ["train/loss"]
    assert tags["tensors"] == tags["images"] == []
    assert [event.step for event in drawn.Scalars("train/loss")] == [1]
