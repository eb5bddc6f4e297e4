"""The sites' training curves, kept with the study and not with one of its jobs."""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.utils.file_utils import resolve_path_under_root
from nvflare.app_opt.tracking.tb.tb_receiver import TBAnalyticsReceiver
from torch.utils.tensorboard import SummaryWriter

from fedswin.checksum import write_sums
from fedswin.federation import messages
from fedswin.federation.study_folder import study_folder
from fedswin.run_folder import TENSORBOARD, copy_shared_part

SHARED_PART = "shared_part"
"""Where the server's folder of a job has what can be fetched of its study."""


class StudyCurves(TBAnalyticsReceiver):
    """Writes the scalars that sites send into the study's folder.

    Steps that a resumed study makes again replace those of before. When the job ends, the shared part of the study's
    folder is copied to the job's own, from where it can be fetched.

    Args:
        events: the events that bring scalars.
    """

    def __init__(self, events: list[str]) -> None:
        super().__init__(TENSORBOARD, events)

    def initialize(self, fl_ctx: FLContext) -> None:
        """Find the study's folder and the job's."""
        self._run_dir = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        self._study = study_folder(fl_ctx)
        self.root_log_dir = str(self._study / TENSORBOARD)

    def save(self, fl_ctx: FLContext, shareable: Shareable, record_origin: str) -> None:
        """Write a scalar of the site ``record_origin``. The controller has opened the study: it asked the site."""
        if record_origin not in self.writers_table:
            folder = resolve_path_under_root(self.root_log_dir, record_origin, "record_origin")
            first_step = fl_ctx.get_prop(messages.FIRST_STEP)
            self.writers_table[record_origin] = SummaryWriter(folder, purge_step=first_step)
        super().save(fl_ctx, shareable, record_origin)

    def finalize(self, fl_ctx: FLContext) -> None:
        """Close the curves, and copy what can be fetched."""
        super().finalize(fl_ctx)
        shared = self._run_dir / SHARED_PART
        shared.mkdir(parents=True)
        copy_shared_part(self._study, shared)
        write_sums(shared)
