"""Write the phantom hospitals: one site folder each, with images, labels and a datalist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from fedswin.data.datalist import Case, are_site_folders, write_datalist
from fedswin.data.phantom.anatomy import draw_patient
from fedswin.data.phantom.grid import as_nifti
from fedswin.data.phantom.hospitals import Hospital, draw_hospitals, share_out
from fedswin.data.phantom.render import scan
from fedswin.data.phantom.tissue import BTCV_ORGANS
from fedswin.errors import FedSwinError
from fedswin.output import refuse_output, staged


@dataclass(frozen=True)
class Plan:
    """What a hospital's datalist will say: case numbers (from 1) by split, and those with a label."""

    splits: dict[str, list[int]]
    labelled: frozenset[int]
    patients: dict[int, str]


def write_phantoms(
    out: Path,
    *,
    sites: int = 3,
    volumes: int = 6,
    seed: int = 0,
    spacing: float = 3.0,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = None,
) -> list[Path]:
    """Write synthetic abdominal CT of several hospitals, with the 13 organs of BTCV as labels.

    The same arguments give the same files, byte for byte. Images are int16 HU, labels uint8 with the
    values of ``BTCV_ORGANS``; unlabelled training cases have no label file.

    Args:
        out: folder to create; it gets one site folder a hospital.
        sites: number of hospitals, 1 to 26. The first three are fixed profiles, the others are drawn.
        volumes: mean number of cases a hospital, at least 3.
        seed: seed of everything random, at least 0.
        spacing: nominal voxel size in mm; every hospital's own spacing is a multiple of it.
        overwrite: replace ``out``, if it holds nothing but site folders.
        progress: called with a short text before each volume.

    Returns:
        The site folders.

    Raises:
        FedSwinError: if ``out`` is refused, or a number is out of range. Nothing is written then.
    """
    _refuse(seed, spacing)
    refuse_output(out, overwrite=overwrite, kind="a folder of site folders", is_kind=are_site_folders)
    hospitals = draw_hospitals(sites, np.random.default_rng([seed, 0]))
    counts = share_out([hospital.volume_share for hospital in hospitals], volumes)
    with staged(out) as folder:
        for number, (hospital, count) in enumerate(zip(hospitals, counts, strict=True), start=1):
            plan = draw_plan(hospital, count, np.random.default_rng([seed, number]))
            _write_site(folder / hospital.name, hospital, plan, (seed, number), spacing, progress)
    return [out / hospital.name for hospital in hospitals]


def draw_plan(hospital: Hospital, count: int, rng: np.random.Generator) -> Plan:
    """Draw splits, labels and pseudonyms of ``count`` cases (at least 3).

    About a sixth of the cases each are for validation and test, at least one; these are always labelled.
    """
    held_out = max(1, round(count / 6))
    order = [int(number) + 1 for number in rng.permutation(count)]
    validation, test, training = order[:held_out], order[held_out : 2 * held_out], order[2 * held_out :]
    with_label = training[: int(np.ceil(hospital.labelled * len(training)))]
    letter = hospital.name.rpartition("_")[2].upper()
    codes = rng.choice(np.arange(1000, 10000), count, replace=False)
    return Plan(
        splits={"training": sorted(training), "validation": sorted(validation), "test": sorted(test)},
        labelled=frozenset([*with_label, *validation, *test]),
        patients={number: f"{letter}{code}" for number, code in enumerate(codes, start=1)},
    )


def _refuse(seed: int, spacing: float) -> None:
    if seed < 0:
        raise FedSwinError(f"seed is {seed}: give a whole number of at least 0.")
    if not 0.5 <= spacing <= 6.0:
        raise FedSwinError(f"spacing is {spacing} mm: give 0.5 to 6 mm (coarser voxels lose the adrenal glands).")


def _write_site(
    folder: Path,
    hospital: Hospital,
    plan: Plan,
    key: Sequence[int],
    spacing: float,
    progress: Callable[[str], None] | None,
) -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    cases = {}
    for number in plan.patients:
        if progress:
            progress(f"{hospital.name}: case {number} of {len(plan.patients)}")
        case = _case(folder, plan, number)
        _write_case(case, hospital, spacing, np.random.default_rng([*key, number]))
        cases[number] = case
    write_datalist(
        folder,
        {split: [cases[number] for number in numbers] for split, numbers in plan.splits.items()},
        name=hospital.name,
        regions=["abdomen"],
        description=f"Synthetic abdominal CT ({hospital.phase} phase), not of a person.",
        labels={str(value): organ for organ, value in {"background": 0, **BTCV_ORGANS}.items()},
    )


def _case(folder: Path, plan: Plan, number: int) -> Case:
    file = f"case{number:02d}.nii.gz"
    label = folder / "labels" / file if number in plan.labelled else None
    return Case(folder / "images" / file, label, plan.patients[number])


def _write_case(case: Case, hospital: Hospital, spacing: float, rng: np.random.Generator) -> None:
    patient = draw_patient(rng)
    image, label, grid = scan(patient, hospital, spacing, rng)
    # Scanners count from their own isocentre, which is anywhere in the patient.
    affine = grid.affine(rng.uniform((-15, -40, -700), (15, 120, 300)).round(2))
    nib.save(as_nifti(image, affine, hospital.orientation), case.image)
    if case.label:
        nib.save(as_nifti(label, affine, hospital.orientation), case.label)
