"""One set of phantom hospitals, written once for all tests that only read it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from fedswin.data.datalist import SPLITS, Case, read_site
from fedswin.data.phantom import BTCV_ORGANS, write_phantoms

SPACING = 4.0


@dataclass(frozen=True)
class Scan:
    """A labelled case as read from its files, without help from the code that wrote them."""

    phase: str
    image: nib.Nifti1Image
    hu: np.ndarray
    label: np.ndarray

    def where(self, organ: str) -> np.ndarray:
        """Return the world positions in mm (n, 3: right, front, head) of an organ's voxels."""
        voxels = np.argwhere(self.label == BTCV_ORGANS[organ])
        return nib.affines.apply_affine(self.image.affine, voxels)

    def centre(self, organ: str) -> np.ndarray:
        """Return the middle of an organ in mm."""
        return self.where(organ).mean(0)

    def millilitres(self, organ: str) -> float:
        """Return an organ's volume, with the voxel volume taken from the affine."""
        voxel = abs(np.linalg.det(self.image.affine[:3, :3]))
        return float((self.label == BTCV_ORGANS[organ]).sum() * voxel / 1000)


@pytest.fixture(scope="session")
def hospitals(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_phantoms(tmp_path_factory.mktemp("phantom") / "sites", spacing=SPACING)


@pytest.fixture(scope="session")
def scans(hospitals: list[Path]) -> list[Scan]:
    """All labelled cases of all hospitals."""
    phases = dict(zip(hospitals, ("portal", "arterial", "delayed"), strict=True))
    sites = {folder: read_site(folder) for folder in hospitals}
    return [
        _read(case, phases[folder])
        for folder, site in sites.items()
        for split in SPLITS
        for case in site.cases(split, labelled=True)
    ]


def _read(case: Case, phase: str) -> Scan:
    image, label = nib.load(case.image), nib.load(case.label)
    assert np.array_equal(image.affine, label.affine)
    return Scan(phase, image, np.asarray(image.dataobj), np.asarray(label.dataobj))
