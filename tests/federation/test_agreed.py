"""What may leave a site: the model's tensors and known numbers, whatever an answer holds."""

from __future__ import annotations

import math

import pytest
import torch
from nvflare.apis.client import Client
from nvflare.apis.filter import ContentBlockedException
from nvflare.apis.fl_constant import FLContextKey, ReservedKey, ReturnCode
from nvflare.apis.fl_context import FLContext
from nvflare.apis.shareable import make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedswin.config import parse_job
from fedswin.federation import messages
from fedswin.federation.agreed import AgreedOnly, Agreement
from fedswin.federation.encoding import encode
from fedswin.federation.site_policy import SITE_POLICY, SitePolicy
from fedswin.federation.task_sites import read_answer
from fedswin.tasks import build_model
from fedswin.weights.file import parameters
from learning import GOOD

SITE = Client("a", "token")
MARKER = "/data/ct/MUELLER_HANS_1944.nii.gz"


def make_job(**federation):
    return parse_job(
        {
            "name": "tiny",
            "task": "pretrain",
            "model": {"feature_size": 12},
            "data": {"roi": [32, 32, 32]},
            "federation": {"rounds": 1, "local_steps": 1, **federation},
        },
        "the test",
    )


@pytest.fixture(scope="module")
def update():
    return parameters(build_model(make_job()))


def answer(update=None, **parts) -> FLModel:
    return FLModel(
        params=update, params_type=ParamsType.FULL if update else None, **{"metrics": {}, "meta": {}, **parts}
    )


def test_the_model_and_known_numbers_pass_unchanged(update):
    meta = {
        **{
            "cases": 3,
            "validation_cases": 1,
            "steps": 1,
            "seconds": 1.5,
            "bytes_up": 8,
            "bytes_down": 8,
            "previous": -1,
            "voxels": 1 << 20,
            "memory": 1 << 30,
            "regions": ["chest", "abdomen"],
            "scored": {"rotation": 2},
        },
        **{"error": "OSError (ENOSPC)", "leaves": False, "train": {"loss": 2.0}},
    }
    kept = Agreement(make_job(), SitePolicy()).keep(
        answer(update, metrics={"loss": 1.0, "rotation": 0.5}, meta=dict(meta))
    )
    assert kept.params is update
    assert kept.meta == meta
    assert kept.metrics == {"loss": 1.0, "rotation": 0.5}


def test_the_diagnostics_of_pre_training_leave_unless_the_site_keeps_them():
    told = {**GOOD, "loss": 1.0}
    meta = {"scored": {"rotation_accuracy": 2}, "validation_cases": 3}
    everything = Agreement(make_job(), SitePolicy()).keep(answer(metrics=dict(told), meta=dict(meta)))
    assert (everything.metrics, everything.meta) == (told, meta)
    few = Agreement(make_job(), SitePolicy(scalars=["loss", "feature_*"])).keep(answer(metrics=dict(told), meta=meta))
    assert set(few.metrics) == {"loss", "feature_spread", "feature_rank"}
    assert few.meta == {"validation_cases": 3}


def test_what_is_no_agreed_number_is_left_out(update):
    meta = {
        **{"cases": MARKER, "steps": True, "seconds": math.nan, "error": f"cannot read {MARKER}", "leaves": "yes"},
        **{"train": {"loss": 2.0, "path": MARKER}, "patient": 12, MARKER: 1.0, "previous": 2.5},
    }
    kept = Agreement(make_job(), SitePolicy()).keep(answer(metrics={"loss": MARKER, "age": 80.0}, meta=meta))
    assert (kept.metrics, kept.meta, kept.params) == ({}, {"train": {"loss": 2.0}}, None)


def test_scalars_that_the_site_keeps_to_itself_do_not_leave():
    policy = SitePolicy(scalars=["loss"])
    scores = {"loss": 1.0, "rotation": 0.5}
    kept = Agreement(make_job(), policy).keep(answer(metrics=dict(scores), meta={"train": dict(scores)}))
    assert (kept.metrics, kept.meta) == ({"loss": 1.0}, {"train": {"loss": 1.0}})


@pytest.mark.parametrize(
    "change",
    [
        {"image": torch.zeros(4)},
        {"swinViT.patch_embed.proj.bias": torch.zeros(512, 512, 300)},
        {"swinViT.patch_embed.proj.bias": torch.zeros(12, dtype=torch.int64)},
        {"swinViT.patch_embed.proj.bias": MARKER},
        {MARKER: torch.zeros(1)},
    ],
)
def test_a_tensor_that_is_none_of_the_models_stops_the_answer(update, change):
    with pytest.raises(ContentBlockedException, match="Nothing is sent"):
        Agreement(make_job(), SitePolicy()).keep(answer({**update, **change}))


@pytest.mark.parametrize("encoding", ["fp16", "int8"])
def test_encoded_differences_pass_and_whole_models_do_not(update, encoding):
    agreement = Agreement(make_job(exchange=encoding), SitePolicy())
    encoded = {key: part for name, tensor in update.items() for key, part in encode(name, tensor, encoding).items()}
    assert agreement.keep(answer(encoded)).params is encoded
    with pytest.raises(ContentBlockedException):
        agreement.keep(answer(update))


def test_modules_that_stay_at_the_site_stop_the_answer(update):
    agreement = Agreement(make_job(local=["rotation"]), SitePolicy())
    with pytest.raises(ContentBlockedException, match="rotation"):
        agreement.keep(answer(update))
    agreement.keep(answer({name: value for name, value in update.items() if not name.startswith("rotation.")}))


class Engine:
    """NVFlare's engine, as far as the filter asks it."""

    def __init__(self, kit):
        self._kit = kit

    def get_workspace(self):
        return self

    def get_root_dir(self):
        return str(self._kit)

    def get_app_config_dir(self, job_id):
        return str(self._kit / job_id / "config")


@pytest.fixture
def context(tmp_path):
    (tmp_path / "7" / "config").mkdir(parents=True)
    (tmp_path / "7" / "config" / messages.JOB_FILE).write_text(make_job().to_yaml())
    (tmp_path / SITE_POLICY).parent.mkdir()
    (tmp_path / SITE_POLICY).write_text("scalars: [loss]")
    fl_ctx = FLContext()
    fl_ctx.set_prop(ReservedKey.ENGINE, Engine(tmp_path), private=True)
    fl_ctx.set_prop(FLContextKey.CURRENT_RUN, "7")
    return fl_ctx


def test_as_nvflare_calls_it(context, update):
    """Headers go too, and the server can read what is left."""
    sent = FLModelUtils.to_shareable(
        answer(update, metrics={"loss": 1.0, "rotation": 0.5}, meta={"cases": 3, "x": MARKER})
    )
    sent.set_header("note", MARKER)
    sent["extra"] = MARKER
    passed = AgreedOnly().process(sent, context)
    assert MARKER not in repr(passed)
    read = read_answer(SITE, passed)
    assert (read.metrics, read.report["cases"]) == ({"loss": 1.0}, 3)
    assert all(torch.equal(read.read()[name], value) for name, value in update.items())


def test_of_an_error_only_its_code_leaves(context):
    failed = make_reply(ReturnCode.EXECUTION_EXCEPTION, {"why": MARKER})
    failed["traceback"] = MARKER
    passed = AgreedOnly().process(failed, context)
    assert passed.get_return_code() == ReturnCode.EXECUTION_EXCEPTION
    assert MARKER not in repr(passed)


def test_a_class_whose_score_stays_at_the_site_is_not_told_by_its_cases():
    classes = {"liver": 1, "tumour": 2}
    job = parse_job({"name": "tiny", "task": "finetune", "segmentation": {"classes": classes}}, "the test")
    meta = {"labels": {"liver": 4, "tumour": 1, "Mueller": 1}, "scored": {"dice_liver": 3, "dice_tumour": 1}}
    kept = Agreement(job, SitePolicy(scalars=["loss", "dice", "dice_liver"])).keep(answer(meta=meta))
    assert kept.meta == {"scored": {"dice_liver": 3}}
    known = {"labels": {"liver": 4, "tumour": 1}, "scored": {"dice_liver": 3, "dice_tumour": 1}}
    kept = Agreement(job, SitePolicy(scalars=["loss", "dice", "dice_liver"])).keep(answer(meta=known))
    assert kept.meta == {"labels": {"liver": 4}, "scored": {"dice_liver": 3}}
