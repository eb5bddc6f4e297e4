"""Worker processes: one that hangs, dies or runs out of memory costs its own volume and no other."""

from __future__ import annotations

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from data.convert.archive import ct, save
from data.convert.misbehaviour import convert_or_misbehave
from fedswin.data.convert import pool
from fedswin.data.convert.pool import convert_all
from fedswin.data.convert.source import Source


def source(path) -> Source:
    return Source((path,), "NIfTI", path.name)


@pytest.mark.long
def test_a_worker_that_hangs_or_dies_costs_its_volume_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(pool, "convert_source", convert_or_misbehave)
    names = ["hang.nii", "one.nii", "crash.nii", "two.nii"]
    sources = [source(save(tmp_path / name, ct(seed))) for seed, name in enumerate(names)]
    said: list[str] = []
    outcomes = convert_all(sources, tmp_path / "out", resample=False, workers=2, timeout=4.0, progress=said.append)
    assert [outcome.case is not None for outcome in outcomes] == [False, True, False, True]
    assert [item.reason for outcome in outcomes for item in outcome.left_out] == [
        "took longer than 4 s",
        "its reading ended the process that did it",
    ]
    assert said[-1] == "volume 4 of 4"


def test_a_volume_beyond_a_worker_s_memory_is_left_out_as_that(tmp_path, monkeypatch):
    monkeypatch.setattr(pool.psutil, "virtual_memory", lambda: SimpleNamespace(available=80 << 20))
    large = np.tile(ct(), (30, 30, 30))
    sources = [source(save(tmp_path / "small.nii.gz")), source(save(tmp_path / "large.nii.gz", large))]
    small, beyond = convert_all(
        sources, tmp_path / "out", resample=False, workers=1, timeout=60.0, progress=lambda _: None
    )
    assert small.case
    assert [item.reason for item in beyond.left_out] == ["needs more memory than a worker may have"]


def test_workers_import_no_torch():
    code = "import sys, fedswin.data.convert.worker; sys.exit('torch' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "voxels", "words"),
    [
        ("labels.nii.gz", np.tile(np.arange(9, dtype=np.uint8), (13, 11, 1)), "its values are no HU"),
        ("text.nii.gz", None, "truncated or damaged"),
    ],
)
def test_what_is_no_ct_is_left_out(tmp_path, name, voxels, words):
    path = tmp_path / name
    path.write_text("no volume") if voxels is None else save(path, voxels)
    outcome = pool.convert_source(source(path), tmp_path / "out", resample=False)
    assert outcome.case is None
    assert [item.reason for item in outcome.left_out] == [words]


def test_a_label_map_that_cannot_be_used_is_left_out_and_its_image_kept(tmp_path):
    image, label = save(tmp_path / "ct.nii"), save(tmp_path / "label.nii", np.zeros((2, 2, 2), np.uint8))
    outcome = pool.convert_source(Source((image,), "NIfTI", "p", label), tmp_path / "out", resample=False)
    assert outcome.case
    assert outcome.case.label is None
    [left_out] = outcome.left_out
    assert left_out.files == (label,)
    assert left_out.reason == "a label map, its image kept: has shape (2, 2, 2), but its image (13, 11, 9)"
