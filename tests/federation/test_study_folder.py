"""Where a study lies: a job may name it, but not choose a path."""

from __future__ import annotations

import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from nvflare.apis.fl_constant import FLContextKey
from nvflare.apis.fl_context import FLContext, FLContextManager
from nvflare.apis.job_def import JobMetaKey
from nvflare.apis.workspace import Workspace

from fedswin.errors import FedSwinError
from fedswin.federation import messages
from fedswin.federation.study_folder import study_folder

JOB, STUDY = (str(uuid.uuid5(uuid.NAMESPACE_DNS, name)) for name in ("job", "study"))


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    for folder in ("startup", "local"):
        (tmp_path / folder).mkdir()
    return tmp_path


def context(kit: Path, **properties: Any) -> FLContext:
    """The context of a job in a kit, with these properties in its meta."""
    engine = SimpleNamespace(get_workspace=lambda: Workspace(str(kit)))
    fl_ctx = FLContextManager(engine, "a", JOB).new_context()
    fl_ctx.set_prop(FLContextKey.JOB_META, {JobMetaKey.CUSTOM_PROPS.value: properties}, private=True, sticky=False)
    return fl_ctx


def test_the_first_job_gives_the_study_its_name_and_later_jobs_use_it(kit: Path) -> None:
    assert study_folder(context(kit)) == kit / "studies" / JOB
    assert study_folder(context(kit, **{messages.STUDY: STUDY})) == kit / "studies" / STUDY


def test_a_kit_may_keep_its_studies_elsewhere(kit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(messages.STUDIES_VARIABLE, "/archive")
    assert study_folder(context(kit)) == Path("/archive", JOB)


@pytest.mark.parametrize("name", ["../../etc", "/etc", "", ".", f"{STUDY}/..", 7, None])
def test_a_study_that_is_named_by_no_id_is_refused(kit: Path, name: Any) -> None:
    with pytest.raises(FedSwinError, match="which is no job's id"):
        study_folder(context(kit, **{messages.STUDY: name}))
