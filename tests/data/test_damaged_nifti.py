"""A thousand damaged NIfTI files: each is read or named, at once, and never for the memory that its header claims."""

from __future__ import annotations

import gzip
import multiprocessing
import resource
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from data.damage import damaged
from fedswin.data.volume import VolumeError, read_voxels

FILES = 1000
HEADER_BYTES = 540
SPARE_BYTES = 256 << 20
"""What a file may cost beyond what the process holds before."""


def crops(real_ct: Path) -> list[bytes]:
    """A corner of each real image under its own header, and under one of NIfTI-2."""
    contents = []
    for path in sorted(real_ct.glob("*/*/ct.nii.gz")):
        image = nib.load(path)
        voxels = np.asarray(image.dataobj[:12, :12, :12])
        contents.append(nib.Nifti1Image(voxels, image.affine, image.header).to_bytes())
        contents.append(nib.Nifti2Image(voxels, image.affine).to_bytes())
    return contents


def read_all(folder: Path, contents: list[bytes]) -> tuple[int, int, list[str]]:
    """Read damaged files with little memory to spare; return how many were read, how many named, and the surprises."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + SPARE_BYTES, held + SPARE_BYTES))
    read, named, surprises = 0, 0, []
    for number in range(FILES):
        rng = np.random.default_rng(number)
        content = damaged(contents[number % len(contents)], rng, HEADER_BYTES)
        path = folder / ("scan.nii" if number % 3 else "scan.nii.gz")
        if number % 3 == 0:
            packed = gzip.compress(content, 1)
            content = damaged(packed, rng, len(packed)) if number % 2 else packed
        path.write_bytes(content)
        try:
            read_voxels(path)
            read += 1
        except VolumeError as error:
            named += 1
            if "Memory" in error.problem or not error.fix:
                surprises.append(f"{number}: {error}")
        except Exception as error:
            surprises.append(f"{number}: {error!r}")
    return read, named, surprises


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads what a process holds from /proc")
def test_a_thousand_damaged_files_are_read_or_named(real_ct, tmp_path):
    with multiprocessing.get_context("fork").Pool(1) as pool:
        read, named, surprises = pool.apply_async(read_all, (tmp_path, crops(real_ct))).get(timeout=120)
    assert surprises == []
    assert read + named == FILES
    assert min(read, named) > FILES / 10
