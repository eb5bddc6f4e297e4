"""The curves of the sites in a study that several jobs, or several lives of one, go through."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from nvflare.apis.analytix import AnalyticsDataType
from nvflare.apis.event_type import EventType
from nvflare.apis.fl_constant import EventScope, FLContextKey, ReservedKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.utils.analytix_utils import create_analytic_dxo
from nvflare.apis.workspace import Workspace
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fedswin.federation import messages
from fedswin.federation.curves import SHARED_PART, StudyCurves
from fedswin.run_folder import TENSORBOARD

EVENT = "fed.analytix"


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
    contexts.new_context().set_prop(messages.FIRST_STEP, first_step)
    for step, loss in losses.items():
        curves.handle_event(EVENT, scalar_of_site(contexts, step, loss))
    curves.handle_event(EventType.END_RUN, contexts.new_context())


def scalar_of_site(contexts: FLContextManager, step: int, loss: float) -> FLContext:
    scalar = create_analytic_dxo("train/loss", loss, AnalyticsDataType.SCALAR, global_step=step).to_shareable()
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
