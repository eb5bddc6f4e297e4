"""The last gate before the network: of a site's answer, only what was agreed leaves. The site owns it, not the job.

It stands in the kit's ``local/privacy.json``, so NVFlare applies it to every job, before the job's own filters. It is a
second line: the trainer that is installed at the site sends nothing else. Code that a job brings, where a site runs
such, is in the same process and can go around it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, get_args

from nvflare.apis.filter import ContentBlockedException, Filter
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedswin.config import Job, Precision, load_job
from fedswin.data.datalist import REGIONS
from fedswin.federation import messages
from fedswin.federation.encoding import Tensors, misfit
from fedswin.federation.site_policy import SitePolicy, load_site_policy
from fedswin.scalars import is_count, is_kind_of_error, is_number
from fedswin.tasks import build_model
from fedswin.weights.local import local_names, split

_COUNTS = ("cases", "validation_cases", "steps", "voxels", "memory", "bytes_up", "bytes_down")


class AgreedOnly(Filter):
    """Lets pass the parameters of the job's model, encoded as the job says, and known numbers.

    A tensor that is something else stops the answer; a value that is something else is left out of it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._agreement: Agreement | None = None

    def process(self, shareable: Shareable, fl_ctx: FLContext) -> Shareable:
        """Return what may leave of an answer.

        Raises:
            ContentBlockedException: if it holds something other than the model's tensors. NVFlare then sends the
                server an error without content.
        """
        if (code := shareable.get_return_code()) != ReturnCode.OK:
            return make_reply(code)
        if self._agreement is None:
            workspace = fl_ctx.get_engine().get_workspace()
            job = load_job(Path(workspace.get_app_config_dir(fl_ctx.get_job_id()), messages.JOB_FILE))
            self._agreement = Agreement(job, load_site_policy(Path(workspace.get_root_dir())))
        return FLModelUtils.to_shareable(self._agreement.keep(FLModelUtils.from_shareable(shareable)))


class Agreement:
    """What may leave a site in a job.

    Args:
        job: the job.
        policy: the site's.
    """

    def __init__(self, job: Job, policy: SitePolicy) -> None:
        self._encoding = job.federation.exchange
        self._shared = _shared_layout(job)
        self._policy = policy
        self._metrics = [name for name in job.reported if policy.allows_scalar(name)]
        self._kept: dict[str, Callable[[Any], bool]] = {
            **dict.fromkeys(_COUNTS, is_count),
            "previous": lambda value: is_count(value) or value == -1,
            "labels": lambda value: _are_counts(value, job.segmentation.classes),
            "scored": lambda value: _are_counts(value, job.reported),
            "regions": lambda value: isinstance(value, list) and value == [name for name in REGIONS if name in value],
            "precision": lambda value: isinstance(value, str) and value in get_args(Precision),
            "seconds": is_number,
            "error": is_kind_of_error,
            "leaves": lambda value: isinstance(value, bool),
        }

    def keep(self, answer: FLModel) -> FLModel:
        """Return a new answer of what may leave of ``answer``.

        Raises:
            ContentBlockedException: if its tensors are not the model's.
        """
        metrics = answer.metrics if isinstance(answer.metrics, Mapping) else {}
        kept = FLModel(metrics={name: metrics[name] for name in self._metrics if is_number(metrics.get(name))})
        kept.meta = {
            name: answer.meta[name] for name, is_agreed in self._kept.items() if is_agreed(answer.meta.get(name))
        }
        if labels := kept.meta.get("labels"):  # a class whose score stays here is one that others are not to know of
            kept.meta["labels"] = {name: n for name, n in labels.items() if self._policy.allows_scalar(f"dice_{name}")}
        scored = {name: count for name, count in kept.meta.pop("scored", {}).items() if name in self._metrics}
        if scored:
            kept.meta["scored"] = scored
        if isinstance(means := answer.meta.get("train"), Mapping):
            kept.meta["train"] = {
                str(name): value
                for name, value in means.items()
                if self._policy.allows_scalar(str(name)) and is_number(value)
            }
        if answer.params:
            if problem := misfit(answer.params, self._encoding, self._shared):
                raise ContentBlockedException(f"Nothing is sent, since the update is not the model's: {problem}")
            kept.params, kept.params_type = answer.params, answer.params_type
        return kept


def _shared_layout(job: Job) -> Tensors:
    """Return the parameters that the job's sites share, as tensors without values."""
    layout = {name: value.detach().to("meta") for name, value in build_model(job).named_parameters()}
    return split(layout, local_names(layout, job.federation.local))[0]


def _are_counts(value: Any, names: Collection[str]) -> bool:
    return isinstance(value, Mapping) and all(name in names and is_count(count) for name, count in value.items())
