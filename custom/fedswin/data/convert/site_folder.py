"""From converted volumes to a site folder: who is whom, which split each is in, and what the datalist says."""

from __future__ import annotations

import random
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from fedswin.data.convert.case_files import IMAGES, LABELS, ConvertedCase
from fedswin.data.convert.report import write_report
from fedswin.data.convert.source import LeftOut, Source
from fedswin.data.datalist import Case, write_datalist
from fedswin.data.dealing.splits import by_patient, split_by_label

_NAME_BYTES = 6


class Converted(NamedTuple):
    """A source, and the case that it has become."""

    source: Source
    case: ConvertedCase


def without_twins(converted: Sequence[Converted]) -> tuple[list[Converted], list[LeftOut]]:
    """Of sources with the same voxels keep the first that has a label map, or the first; leave out the others."""
    kept = [next((item for item in group if item.case.label), group[0]) for group in _same_voxels(converted)]
    chosen = {item.source for item in kept}
    twins = [item.source for item in converted if item.source not in chosen]
    return kept, [LeftOut(twin.files, "the same voxels as another") for twin in twins]


def draw_pseudonyms(converted: Sequence[Converted]) -> dict[str, str]:
    """Draw a pseudonym for each patient.

    Patients with the same voxels are one person under two names, so they get one pseudonym, and their other scans
    cannot come into different splits.

    Returns:
        The pseudonym of each ``Source.patient``.
    """
    people = {item.source.patient: item.source.patient for item in converted}
    for group in _same_voxels(converted):
        names = {people[item.source.patient] for item in group}
        if len(names) > 1:
            people |= {patient: min(names) for patient, name in people.items() if name in names}
    pseudonyms = {name: f"patient_{secrets.token_hex(_NAME_BYTES)}" for name in set(people.values())}
    return {patient: pseudonyms[name] for patient, name in people.items()}


def draw_splits(
    converted: Sequence[Converted], pseudonyms: Mapping[str, str], *, validation: float, test: float, seed: int
) -> dict[str, list[Converted]]:
    """Deal the cases to splits by patient; the same sources in the same order are dealt alike, whatever was drawn."""
    patients = by_patient(converted, lambda item: pseudonyms[item.source.patient])
    random.Random(seed).shuffle(patients)
    return split_by_label(patients, lambda item: item.case.label is not None, validation=validation, test=test)


def write_site(
    folder: Path,
    splits: Mapping[str, Sequence[Converted]],
    pseudonyms: Mapping[str, str],
    left_out: Sequence[LeftOut],
) -> None:
    """Write the report and, last, the datalist; delete the files of cases that are in neither.

    Raises:
        OSError: if it cannot be written.
    """
    cases = [item.case for items in splits.values() for item in items]
    wanted = {folder / path for case in cases for path in case.files}
    for path in (path for part in (IMAGES, LABELS) for path in folder.glob(f"{part}/*")):
        if path not in wanted:
            path.unlink()
    write_report(folder, cases, left_out)
    entries = {name: [_entry(folder, item, pseudonyms) for item in items] for name, items in splits.items()}
    # Sorted by names that were drawn: the archive's order would tell of the names there.
    write_datalist(folder, {name: sorted(found, key=lambda case: case.image) for name, found in entries.items()})


def _same_voxels(converted: Sequence[Converted]) -> list[list[Converted]]:
    groups: defaultdict[str, list[Converted]] = defaultdict(list)
    for item in converted:
        groups[item.case.voxels].append(item)
    return list(groups.values())


def _entry(folder: Path, item: Converted, pseudonyms: Mapping[str, str]) -> Case:
    label = folder / item.case.label if item.case.label else None
    return Case(folder / item.case.image, label, pseudonyms[item.source.patient])
