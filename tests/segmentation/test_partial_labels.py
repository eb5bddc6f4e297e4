"""Two sites that annotate different organs train one model of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch

from end_to_end import tiny
from fedswin.data.annotation import Annotation
from fedswin.data.datalist import Case, Site, read_site, write_datalist
from fedswin.errors import FedSwinError
from fedswin.federation.aggregation.exact_mean import ExactMean
from fedswin.operations.evaluate import evaluate
from fedswin.operations.train import pool_sites
from fedswin.segmentation.task import SegmentationTask
from fedswin.tasks import training_cases
from fedswin.training.memory import keep_freed_memory
from fedswin.training.trainer import Trainer, make_deterministic
from fedswin.weights.file import Weights, load_parameters, parameters, save_weights
from fedswin.weights.handover import initial_state

JOB = tiny.job(
    {
        **tiny.FINETUNE,
        "segmentation": {"classes": {"bright": 1, "dark": 2}, "overlap": 0.0},
        "augmentation": {"flip": 0, "rotate90": 0},
        "trainer": {"batch_size": 1, "warmup_steps": 2, "learning_rate": 3e-3, "cpu_threads": 1},
        "federation": {"rounds": 5, "local_steps": 2},
    }
)
HU = np.array([30, 170, -110])
"""Of soft tissue and the two lumps, which every scan holds, whatever its label map shows."""


def write_site(folder: Path, cases: dict[str, int], shown: Sequence[str], annotated: Sequence[str] | None) -> Site:
    values = [JOB.segmentation.classes[name] for name in shown]
    rng = np.random.default_rng(0)
    splits = {
        split: [write_case(folder, f"{split}{n}", rng, values) for n in range(count)] for split, count in cases.items()
    }
    write_datalist(folder, splits, **({"annotated": annotated} if annotated else {}))
    return read_site(folder)


def write_case(folder: Path, name: str, rng: np.random.Generator, values: Sequence[int]) -> Case:
    lumps = np.zeros((64, 32, 32), np.uint8)
    for value, first in ((1, 2), (2, 34)):
        x, y, z = first + rng.integers(0, 4), *rng.integers(2, 12, 2)
        lumps[x : x + 22, y : y + 18, z : z + 18] = value
    image = (HU[lumps] + rng.normal(0, 20, lumps.shape)).astype(np.int16)
    case = Case(folder / "images" / f"{name}.nii.gz", folder / "labels" / f"{name}.nii.gz", name)
    for path, voxels in ((case.image, image), (case.label, lumps * np.isin(lumps, values))):
        assert path
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(voxels.astype(np.int16), np.diag([2.0, 2.0, 2.0, 1.0])), path)
    return case


def federate(sites: Sequence[Site], judge: Site) -> dict[str, float]:
    """Run federated averaging in this process; return the scores of the last global model at ``judge``."""
    make_deterministic(JOB)
    keep_freed_memory()
    cpu, steps = torch.device("cpu"), JOB.federation.local_steps
    tasks = [SegmentationTask(JOB, site, cpu, lambda _: None) for site in (*sites, judge)]
    trainers = [Trainer(task, JOB, cpu) for task in tasks[:-1]]
    model = parameters(tasks[-1].model)
    for number in range(JOB.federation.rounds):
        mean = ExactMean({name: tuple(tensor.shape) for name, tensor in model.items()})
        for trainer in trainers:
            load_parameters(trainer.task.model, model, "the global model")
            trainer.run(number * steps, steps)
            update = {name: tensor.numpy() for name, tensor in parameters(trainer.task.model).items()}
            mean.add(update, trainer.task.training_cases)
        model = {name: torch.from_numpy(array) for name, array in mean.mean().items()}
    load_parameters(tasks[-1].model, model, "the global model")
    return tasks[-1].validate().metrics


def test_only_annotated_classes_are_scored(tmp_path: Path) -> None:
    site = write_site(tmp_path, {"training": 1, "validation": 1}, ["dark"], ["dark"])
    task = SegmentationTask(JOB, site, torch.device("cpu"), lambda _: None)
    assert task.batch(0).annotated == [(2,)]
    scores, scored = task.validate()
    assert scored == {}
    assert task.annotated_cases == {"bright": 0, "dark": 1}
    assert scores.keys() == {"dice", "dice_dark"}
    assert scores["dice"] == scores["dice_dark"]


def annotate(site: Site, own: dict[str, tuple[str, ...] | tuple[int, ...]]) -> Site:
    """Write beside each case what was annotated in it, and read the site again."""
    splits = {
        split: [replace(case, annotation=Annotation(own[case.patient])) for case in cases]
        for split, cases in site.splits.items()
    }
    write_datalist(site.folder, splits)
    return read_site(site.folder)


def test_each_case_is_trained_on_and_scored_by_what_was_annotated_in_it(tmp_path: Path) -> None:
    site = write_site(tmp_path, {"training": 4, "validation": 2}, ["bright", "dark"], None)
    own: dict[str, Any] = {
        "training0": ("bright",),
        "training1": (2,),
        "training2": (1, 2, 7),
        "training3": (7,),  # of no class of the job
        "validation0": (),
        "validation1": ("dark",),
    }
    site = annotate(site, own)
    job = JOB.model_copy(update={"trainer": JOB.trainer.model_copy(update={"batch_size": 3})})
    task = SegmentationTask(job, site, torch.device("cpu"), lambda _: None)
    assert training_cases(job, site) == task.training_cases == 3
    assert task.annotated_cases == {"bright": 2, "dark": 2}
    batch = task.batch(0)
    assert sorted(batch.annotated) == [(1,), (1, 2), (2,)]
    assert torch.isfinite(task.losses(batch)["loss"])
    assert task.validation_cases == 1
    assert task.validate().metrics.keys() == {"dice", "dice_dark"}


def test_evaluation_scores_what_was_annotated_in_each_case_and_leaves_out_where_that_is_nothing(tmp_path: Path) -> None:
    site = write_site(tmp_path / "sites" / "one", {"test": 3}, ["bright", "dark"], None)
    annotate(site, {"test0": ("bright",), "test1": (2,), "test2": (7,)})
    save_weights(tmp_path / "model.pt", Weights(initial_state(JOB).tensors, JOB))
    results = evaluate([tmp_path / "model.pt"], tmp_path / "sites")
    scored = {r.case: {name for name in r.scores if name.startswith("dice_")} for r in results}
    assert scored == {"test0.nii.gz": {"dice_bright"}, "test1.nii.gz": {"dice_dark"}}
    annotate(site, dict.fromkeys(("test0", "test1", "test2"), (7,)))
    with pytest.raises(FedSwinError, match="no case of the split 'test' annotates a class that model.pt segments"):
        evaluate([tmp_path / "model.pt"], tmp_path / "sites")


def test_pooled_sites_keep_what_each_has_annotated(tmp_path: Path) -> None:
    sites = [write_site(tmp_path / name, {"training": 1}, [name], [name]) for name in ("bright", "dark")]
    job = JOB.model_copy(update={"trainer": JOB.trainer.model_copy(update={"batch_size": 2})})
    task = SegmentationTask(job, pool_sites(sites), torch.device("cpu"), lambda _: None)
    batch = task.batch(0)
    assert sorted(batch.annotated) == [(1,), (2,)]
    for label, (annotated,) in zip(batch.label, batch.annotated, strict=True):
        assert set(label.unique().tolist()) <= {0, annotated}


def test_evaluation_leaves_out_what_a_site_has_not_annotated(tmp_path: Path) -> None:
    for name, annotated in (("all", None), ("dark", ["dark"])):
        write_site(tmp_path / "sites" / name, {"test": 1}, annotated or ["bright", "dark"], annotated)
    save_weights(tmp_path / "model.pt", Weights(initial_state(JOB).tensors, JOB))
    results = evaluate([tmp_path / "model.pt"], tmp_path / "sites")
    scores = {r.site: {name: value for name, value in r.scores.items() if "dice" in name} for r in results}
    assert scores["all"].keys() == {"dice", "dice_bright", "dice_dark"}
    assert scores["dark"].keys() == {"dice", "dice_dark"}


@pytest.mark.long
def test_two_sites_teach_one_model_what_neither_has_annotated_alone(tmp_path: Path) -> None:
    """The site of the dark lump has a fifth of the cases, so calling it background at the other must tell."""
    judge = write_site(tmp_path / "both", {"training": 0, "validation": 1}, ["bright", "dark"], None)
    cases = {"bright": 4, "dark": 1}

    def sites(folder: str, partial: bool) -> list[Site]:
        return [
            write_site(tmp_path / folder / name, {"training": count}, [name], [name] if partial else None)
            for name, count in cases.items()
        ]

    marginal = federate(sites("partial", True), judge)
    ordinary = federate(sites("full", False), judge)
    assert marginal["dice_bright"] > 0.7
    assert marginal["dice_dark"] > 0.7
    assert ordinary["dice_dark"] < marginal["dice_dark"] - 0.2
