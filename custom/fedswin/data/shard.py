"""Deal a collection of CT into site folders: one site for each source, or sites that are alike.

A collection is a folder of ``<source>/<case>/ct.nii.gz``, some with a ``label.nii.gz``, or a datalist file in
the Decathlon form, whose own splits are pooled and drawn anew.
"""

from __future__ import annotations

import functools
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from fedswin.checksum import file_sha256
from fedswin.data.collection import Scan, read_collection
from fedswin.data.datalist import (
    SPLITS,
    Case,
    are_site_folders,
    read_site,
    site_folders,
    write_datalist,
)
from fedswin.data.splits import by_patient, require_shares, split
from fedswin.data.volume import volume_suffix
from fedswin.errors import FedSwinError, nearest
from fedswin.output import refuse_output, staged

By = Literal["source", "iid"]

Plan = Mapping[str, Mapping[str, Sequence[Scan]]]
"""The scans of each split of each site."""


@dataclass(frozen=True)
class ShardResult:
    """What ``shard`` wrote: ``{site: {split: number of cases}}``, and what the user should know of it."""

    sites: Mapping[str, Mapping[str, int]]
    messages: Sequence[str]


def shard(
    collection: Path,
    out: Path,
    *,
    by: By,
    sites: int | None = None,
    only: str | None = None,
    copy: bool = False,
    keep_test: Path | None = None,
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
    overwrite: bool = False,
) -> ShardResult:
    """Write ``out/<site>/`` with a datalist, ``images/<case>.nii.gz`` and ``labels/<case>.nii.gz``.

    Every case lands in one split of one site, a patient's cases together. Files are never altered: they are
    linked, by absolute path so that ``out`` may be moved, or copied. ``out`` appears when complete.

    Args:
        collection: a folder of ``<source>/<case>``, or a datalist file.
        out: the folder of site folders to write.
        by: one site for each ``source``, or ``iid``: shuffled, and dealt to ``sites`` sites.
        sites: the number of sites, for ``iid`` only.
        only: a glob on ``<source>/<case>``; other cases are left out.
        copy: copy the files, instead of linking them.
        keep_test: a folder of site folders. What is test there, by its content, is test here too, lest one
            study trains on what another is evaluated on. It counts towards the share.
        seed: draws sites and splits; a source's split does not depend on the other sources.
        validation, test: the share of a site's patients for each; see `fedswin.data.splits.split`.
        overwrite: replace ``out``, if it holds nothing but site folders.

    Raises:
        FedSwinError: if no case is found, an option does not fit, names clash, or ``out`` is refused.
    """
    _refuse_options(by, sites, validation, test)
    out = out.absolute()
    found = read_collection(collection, only)
    _refuse_output(out, collection, found.scans, overwrite)
    kept, missing = _kept_patients(found.scans, keep_test)
    plan = plan_sites(found.scans, by=by, sites=sites, kept=kept, seed=seed, validation=validation, test=test)
    description = f"{collection.absolute().name}, by {by}, seed {seed}"
    _write(out, plan, copy, {"description": description, **found.top_level})
    counts = {site: {split: len(splits[split]) for split in SPLITS} for site, splits in plan.items()}
    return ShardResult(counts, [*found.messages, *missing, *_empty_splits(counts, validation, test)])


def plan_sites(
    scans: Sequence[Scan],
    *,
    by: By,
    sites: int | None = None,
    kept: frozenset[str] = frozenset(),
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
) -> Plan:
    """Decide which split of which site each scan goes to; nothing is read or written.

    ``kept`` patients are test whatever the shares; the other arguments are those of ``shard``, and
    `fedswin.data.splits.split` says how the shares are rounded.

    Raises:
        FedSwinError: if there are fewer patients than ``sites``.
    """
    dealt = _by_source(scans) if by == "source" else _by_chance(scans, sites or 1, kept, random.Random(seed))
    return {site: _split(mine, kept, random.Random(f"{seed}/{site}"), validation, test) for site, mine in dealt.items()}


def _refuse_options(by: str, sites: int | None, validation: float, test: float) -> None:
    if by not in get_args(By):
        raise FedSwinError(f"--by {by} is unknown{nearest(by, get_args(By))}. Use 'source' or 'iid'.")
    if by == "source" and sites is not None:
        raise FedSwinError("--sites is for --by iid: by source, each source is a site. Leave it out.")
    if by == "iid" and (sites is None or sites < 1):
        raise FedSwinError(f"--by iid needs a number of sites, found {sites}. Add --sites N.")
    require_shares(validation, test)


def _refuse_output(out: Path, collection: Path, scans: Sequence[Scan], overwrite: bool) -> None:
    refuse_output(out, overwrite=overwrite, kind="a folder of site folders", is_kind=are_site_folders)
    real = out.resolve()
    sources = [collection.resolve(), *(scan.case.image.resolve() for scan in scans)]
    if real.is_relative_to(sources[0]) or any(source.is_relative_to(real) for source in sources):
        raise FedSwinError(f"{out} and the collection {collection} overlap. Choose a folder outside it.")


def _kept_patients(scans: Sequence[Scan], keep_test: Path | None) -> tuple[frozenset[str], list[str]]:
    if keep_test is None:
        return frozenset(), []
    by_size: defaultdict[int, list[Scan]] = defaultdict(list)
    for scan in scans:
        by_size[scan.case.image.stat().st_size].append(scan)
    digest = functools.cache(file_sha256)
    patients: set[str] = set()
    missing = []
    for site in map(read_site, site_folders(keep_test).values()):
        for image in (case.image for case in site.cases("test")):
            # Also where a link leads here: a copy of a test image would be as much of a leak.
            rivals = by_size[image.stat().st_size]
            same = [scan for scan in rivals if digest(scan.case.image.resolve()) == digest(image.resolve())]
            patients.update(scan.case.patient for scan in same)
            if not same:
                missing.append(f"{site.name}/{image.name}: test in {keep_test}, not in this collection")
    return frozenset(patients), missing


def _shuffled(scans: Sequence[Scan], kept: frozenset[str], rng: random.Random) -> list[list[Scan]]:
    patients = by_patient(sorted(scans, key=lambda scan: scan.key), lambda scan: scan.case.patient)
    rng.shuffle(patients)
    return sorted(patients, key=lambda group: group[0].case.patient not in kept)


def _by_source(scans: Sequence[Scan]) -> dict[str, list[Scan]]:
    dealt: defaultdict[str, list[Scan]] = defaultdict(list)
    for scan in scans:
        dealt[scan.source].append(scan)
    return dict(dealt)


def _by_chance(scans: Sequence[Scan], sites: int, kept: frozenset[str], rng: random.Random) -> dict[str, list[Scan]]:
    dealt: dict[str, list[Scan]] = {f"site_{number}": [] for number in range(1, sites + 1)}
    patients = _shuffled(scans, kept, rng)
    if len(patients) < sites:
        raise FedSwinError(f"{sites} sites, but {len(patients)} patients. Ask for fewer sites.")
    for group in patients:
        min(dealt.values(), key=len).extend(group)
    return dealt


def _split(
    scans: Sequence[Scan], kept: frozenset[str], rng: random.Random, validation: float, test: float
) -> dict[str, list[Scan]]:
    patients = _shuffled(scans, kept, rng)
    in_test = sum(group[0].case.patient in kept for group in patients)
    return split(patients, validation=validation, test=test, in_test=in_test)


def _empty_splits(counts: Mapping[str, Mapping[str, int]], validation: float, test: float) -> list[str]:
    shares = {"training": 1.0, "validation": validation, "test": test}
    return [
        f"{site}: none of its {sum(splits.values())} cases is {split}"
        for site, splits in counts.items()
        for split in SPLITS
        if shares[split] and not splits[split]
    ]


def _write(out: Path, plan: Plan, copy: bool, top_level: Mapping[str, Any]) -> None:
    with staged(out) as staging:
        for site, splits in plan.items():
            _write_site(staging / site, splits, copy, top_level)


def _write_site(folder: Path, splits: Mapping[str, Sequence[Scan]], copy: bool, top_level: Mapping[str, Any]) -> None:
    names = _names([scan for split in SPLITS for scan in splits[split]])
    placed = {split: [_place(folder, names[scan], scan.case, copy) for scan in splits[split]] for split in SPLITS}
    write_datalist(folder, placed, **top_level)


def _names(scans: Sequence[Scan]) -> dict[Scan, str]:
    uses = Counter(scan.name for scan in scans)
    names = {scan: scan.name if uses[scan.name] == 1 else f"{scan.source}_{scan.name}" for scan in scans}
    if len(set(names.values())) < len(scans):
        clash, _ = Counter(names.values()).most_common(1)[0]
        raise FedSwinError(f"two cases of one site would both be named {clash}. Rename one, or use --only.")
    return names


def _place(folder: Path, name: str, case: Case, copy: bool) -> Case:
    image = _put(case.image, folder / "images", name, copy)
    label = _put(case.label, folder / "labels", name, copy) if case.label else None
    return Case(image, label, case.patient)


def _put(source: Path, folder: Path, name: str, copy: bool) -> Path:
    suffix = volume_suffix(source)
    if not suffix:
        raise FedSwinError(f"{source} is not NIfTI. Convert it with 'fedswin data convert'.")
    target = folder / f"{name}{suffix}"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if copy:
            shutil.copyfile(source, target)
        else:
            target.symlink_to(source.resolve())
    except OSError as error:
        how = "copied: is there space?" if copy else "linked there: copy the files instead (--copy)."
        raise FedSwinError(f"{source} cannot be {how} ({error.strerror})") from None
    return target
