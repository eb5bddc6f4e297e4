"""Which models an ensemble is made of."""

from __future__ import annotations

from pathlib import Path

import pytest

from end_to_end import tiny
from fedswin.config import parse_job
from fedswin.errors import FedSwinError
from fedswin.segmentation.ensemble import load_ensemble, model_files
from fedswin.weights.file import Weights, save_weights
from fedswin.weights.handover import initial_state


def save(path: Path, seed: int = 0, **changes: object) -> str:
    job = parse_job({**tiny.FINETUNE, "seed": seed, **changes}, "test")
    weights = Weights(initial_state(job).tensors, job)
    save_weights(path, weights)
    return weights.digest


def test_a_folder_of_folds_is_the_ensemble_of_its_folds_in_their_order(tmp_path: Path) -> None:
    digests = [save(tmp_path / f"fold{fold}" / "global" / "best.pt", seed=fold) for fold in (2, 10, 0)]
    (tmp_path / "folded.txt").touch()
    assert list(load_ensemble([tmp_path]).digests) == [digests[2], digests[0], digests[1]]
    assert model_files(tmp_path / "fold2") == [tmp_path / "fold2" / "global" / "best.pt"]


def test_a_fold_that_has_not_ended_is_named(tmp_path: Path) -> None:
    save(tmp_path / "fold0" / "global" / "best.pt")
    (tmp_path / "fold1").mkdir()
    with pytest.raises(FedSwinError, match=r"fold1/global/best.pt does not exist"):
        load_ensemble([tmp_path])


def test_models_of_other_channels_do_not_predict_together(tmp_path: Path) -> None:
    save(tmp_path / "ct.pt")
    save(tmp_path / "mri.pt", data={**tiny.FINETUNE["data"], "channels": ["T1w"]})
    with pytest.raises(FedSwinError, match=r"data.channels is \('CT',\) in the first, but \('T1w',\) in the second"):
        load_ensemble([tmp_path / "ct.pt", tmp_path / "mri.pt"])
