"""What NVFlare brings of a site, as an answer: whatever it holds, the server can go on."""

from __future__ import annotations

import pytest
import torch
from nvflare.apis.client import Client
from nvflare.apis.fl_constant import ReturnCode
from nvflare.apis.shareable import Shareable, make_reply
from nvflare.app_common.abstract.fl_model import FLModel, ParamsType
from nvflare.app_common.utils.fl_model_utils import FLModelUtils

from fedswin.federation.refusal import UpdateRefusedError
from fedswin.federation.task_sites import read_answer

SITE = Client("a", "token")


def shareable(**model) -> Shareable:
    return FLModelUtils.to_shareable(FLModel(**model))


def update(**meta) -> Shareable:
    return shareable(params={"w": torch.ones(2)}, params_type=ParamsType.FULL, metrics={"loss": 1.5}, meta=meta)


def test_an_update_with_its_scores_and_report():
    answer = read_answer(SITE, update(cases=3, previous=7))
    assert (answer.site, answer.error, answer.previous, answer.leaves) == ("a", "", 7, False)
    assert answer.metrics == {"loss": 1.5}
    assert answer.report["cases"] == 3
    assert torch.equal(answer.read()["w"], torch.ones(2))


def test_a_tensor_that_was_left_on_disk_is_read_when_it_is_wanted():
    class OnDisk:
        reads = 0

        def materialize(self):
            OnDisk.reads += 1
            return torch.zeros(1)

    answer = read_answer(SITE, shareable(params={"w": OnDisk()}, params_type=ParamsType.FULL))
    assert OnDisk.reads == 0
    assert torch.equal(answer.read()["w"], torch.zeros(1))


def test_an_error_of_the_site_or_of_nvflare_is_told():
    answer = read_answer(SITE, shareable(metrics={}, meta={"error": "MemoryError", "leaves": True}))
    assert (answer.error, answer.leaves) == ("MemoryError", True)
    assert read_answer(SITE, make_reply(ReturnCode.EXECUTION_EXCEPTION)).error == ReturnCode.EXECUTION_EXCEPTION


@pytest.mark.parametrize("told", ["cannot read /data/MUELLER_HANS.nii.gz", ["x"], 7, "a" * 100])
def test_an_error_in_other_words_than_its_kind_is_not_repeated(told):
    answer = read_answer(SITE, shareable(metrics={}, meta={"error": told}))
    assert answer.error == "an error that the site describes in words of its own"


def test_what_is_no_answer_at_all_is_an_answer_with_an_error():
    assert read_answer(SITE, Shareable({"DXO": "?"})).error.startswith("the answer cannot be read")


@pytest.mark.parametrize("previous", ["soon", None, 2.5])
def test_an_odd_report_is_taken_for_none(previous):
    assert read_answer(SITE, update(previous=previous)).previous == -1


def test_what_is_no_tensor_is_refused():
    answer = read_answer(SITE, shareable(params={"w": "x"}, params_type=ParamsType.FULL))
    with pytest.raises(UpdateRefusedError, match="w is no tensor"):
        answer.read()
