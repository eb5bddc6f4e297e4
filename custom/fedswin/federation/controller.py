"""The server of a federation: runs `fedswin.federation.study.Study` as the workflow of an NVFlare job."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nvflare.apis.client import Client
from nvflare.apis.fl_context import FLContext
from nvflare.apis.impl.controller import Controller
from nvflare.apis.shareable import Shareable
from nvflare.apis.signal import Signal
from nvflare.app_common.utils.tensor_disk_offload_context import cleanup_tensor_disk_offload, setup_tensor_disk_offload
from nvflare.fuel.utils import fobs

from fedswin.config import Job, load_job
from fedswin.federation import messages
from fedswin.federation.sites import StudyAbortedError
from fedswin.federation.study import STATE, Study
from fedswin.federation.study_folder import study_folder
from fedswin.federation.task_sites import TaskSites
from fedswin.federation.uploads import UploadDecomposer
from fedswin.provenance import noted_round, read_provenance
from fedswin.records import read_records
from fedswin.run_folder import JOB, describe_run
from fedswin.run_lock import lock_run
from fedswin.status import read_status
from fedswin.weights.file import load_weights

_TASK_CHECK_SECONDS = 0.1


class FederatedAveraging(Controller):
    """Federated averaging (McMahan et al., 2017) that outlives its sites, its network and its own process.

    The job and the initial weights come from the app's ``config`` folder; what is kept goes to the study's folder.
    """

    def __init__(self) -> None:
        super().__init__(task_check_period=_TASK_CHECK_SECONDS)
        self._study: Study | None = None

    def start_controller(self, fl_ctx: FLContext) -> None:
        """Get ready for tensors, and for a person who wants the job to end after a round."""
        fobs.register(UploadDecomposer)
        engine = fl_ctx.get_engine()
        engine.register_app_command(messages.END_SEGMENT, self._end_segment)
        engine.register_app_command(messages.SHOW_STUDY, self._show_study)

    def control_flow(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        """Run the study; what ends it early ends the job, and the study can be resumed."""
        engine = fl_ctx.get_engine()
        # Updates wait on disk until it is their turn: however many come at once, memory holds one.
        offload = setup_tensor_disk_offload(engine, enabled=True, job_id=fl_ctx.get_job_id())
        try:
            self._run_study(abort_signal, fl_ctx)
        except StudyAbortedError:
            self.log_warning(fl_ctx, "The job was aborted. The study can be resumed.")
        except Exception as error:
            self.log_exception(fl_ctx, "The study stops here, and can be resumed.")
            self.system_panic(str(error), fl_ctx)
        finally:
            cleanup_tensor_disk_offload(engine, offload)

    def stop_controller(self, fl_ctx: FLContext) -> None:
        """Nothing is left to do: all that lasts is on disk."""

    def process_result_of_unknown_task(
        self, client: Client, task_name: str, client_task_id: str, result: Shareable, fl_ctx: FLContext
    ) -> None:
        """Drop an answer that came too late; the site's next one says so."""
        self.log_warning(fl_ctx, f"An answer of {client.name} came after its round was over, and is dropped.")

    def _run_study(self, abort_signal: Signal, fl_ctx: FLContext) -> None:
        config = Path(fl_ctx.get_engine().get_workspace().get_app_config_dir(fl_ctx.get_job_id()))
        job, folder = load_job(config / messages.JOB_FILE), study_folder(fl_ctx)
        with lock_run(folder / STATE):
            sites = TaskSites(self, fl_ctx, abort_signal, job.federation.silence_timeout)
            self._study = _open_study(job, folder, sites, config / messages.INITIAL_WEIGHTS)
            fl_ctx.set_prop(messages.CURVES, self._study.curves)
            outcome = self._study.run()
        if outcome.ended == "failed_rounds":
            self.system_panic(outcome.message, fl_ctx)

    def _show_study(self, topic: str, data: Any, fl_ctx: FLContext) -> dict[str, Any]:
        folder = study_folder(fl_ctx)
        if self._study is None:
            return {}
        status = read_status(folder)
        return {
            "job": load_job(folder / JOB).as_dict(),
            "records": read_records(folder)[int(data["known"]) :],
            "status": asdict(status) if status else None,
            "steps": self._study.steps,
            "best": noted_round(read_provenance(folder), "best"),
            "now": time.time(),
        }

    def _end_segment(self, topic: str, data: Any, fl_ctx: FLContext) -> dict[str, bool]:
        if self._study:
            self._study.end_segment()
        return {"ends": self._study is not None}


def _open_study(job: Job, folder: Path, sites: TaskSites, initial_weights: Path) -> Study:
    """Return the study in ``folder``. A job that resumes one does not carry the initial weights."""
    initial = load_weights(initial_weights) if initial_weights.exists() else None
    study = Study(job, folder, sites, initial.tensors if initial else None)
    describe_run(folder, job, "submit", **(initial.provenance if initial else {}))
    return study
