"""The sites' training curves, kept with the study and not with one of its jobs."""

from __future__ import annotations

from pathlib import Path

from nvflare.apis.analytix import AnalyticsData, AnalyticsDataType
from nvflare.apis.dxo import from_shareable
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable
from nvflare.app_common.utils.file_utils import resolve_path_under_root
from nvflare.app_common.widgets.streaming import AnalyticsReceiver

from fedswin.checksum import write_sums
from fedswin.curves import TENSORBOARD, Curves
from fedswin.federation import messages
from fedswin.federation.study_folder import study_folder
from fedswin.run_folder import copy_shared_part
from fedswin.scalars import is_number

SHARED_PART = "shared_part"
"""Where the server's folder of a job has what can be fetched of its study."""


class StudyCurves(AnalyticsReceiver):
    """Draws the numbers that sites send into the study's curves, and nothing else that they may send.

    When the job ends, the shared part of the study's folder is copied to the job's own, from where it can be fetched.

    Args:
        events: the events that bring scalars.
    """

    def __init__(self, events: list[str]) -> None:
        super().__init__(events)

    def initialize(self, fl_ctx: FLContext) -> None:
        """Find the study's folder and the job's."""
        self._run_dir = Path(fl_ctx.get_engine().get_workspace().get_run_dir(fl_ctx.get_job_id()))
        self._study = study_folder(fl_ctx)

    def save(self, fl_ctx: FLContext, shareable: Shareable, record_origin: str) -> None:
        """Draw a number of the site ``record_origin``. The controller has opened the study: it asked the site."""
        resolve_path_under_root(str(self._study / TENSORBOARD), record_origin, "record_origin")
        point = AnalyticsData.from_dxo(from_shareable(shareable))
        curves: Curves = fl_ctx.get_prop(messages.CURVES)
        if not point or point.data_type != AnalyticsDataType.SCALAR:
            return
        if is_number(point.value) and curves.allows(point.tag, point.step):
            curves.add(record_origin, point.tag, point.value, point.step)

    def finalize(self, fl_ctx: FLContext) -> None:
        """Close the curves, and copy what can be fetched."""
        if curves := fl_ctx.get_prop(messages.CURVES):
            curves.close()
        shared = self._run_dir / SHARED_PART
        shared.mkdir(parents=True)
        copy_shared_part(self._study, shared)
        write_sums(shared)
