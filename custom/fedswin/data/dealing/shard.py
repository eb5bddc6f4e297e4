"""Deal a collection of CT into site folders: one site for each source, sites that are alike, or sites that are not.

A collection is a folder of ``<source>/<case>/ct.nii.gz``, some with a ``label.nii.gz``, or a datalist file in
the Decathlon form, whose own splits are pooled and drawn anew.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

from fedswin.checksum import Copies
from fedswin.data.datalist import (
    SHARDS,
    SPLITS,
    Case,
    Site,
    are_site_folders,
    read_site,
    site_folders,
    write_datalist,
)
from fedswin.data.dealing.collection import Scan, read_collection
from fedswin.data.dealing.drawn import Drawn, read_drawn, with_drawn
from fedswin.data.dealing.kinds import patient_kinds
from fedswin.data.dealing.plan import DEFAULT_ALPHA, LARGEST_ALPHA, SKEWED, SMALLEST_ALPHA, By, Plan, plan_sites
from fedswin.data.dealing.splits import require_shares
from fedswin.data.holdings import Holdings, holdings
from fedswin.data.holdings.plot import draw_holdings, refuse_plot
from fedswin.data.shown_classes import label_values, name_values
from fedswin.data.volume import volume_suffix
from fedswin.errors import FedSwinError, nearest
from fedswin.output import refuse_output, staged


@dataclass(frozen=True)
class ShardResult:
    """What ``shard`` wrote.

    Attributes:
        holdings: what each site holds.
        kinds: ``{kind: {site: number of patients}}``, for ``dirichlet``; empty for the others.
        messages: what the user should know of it.
    """

    holdings: Mapping[str, Holdings]
    kinds: Mapping[str, Mapping[str, int]]
    messages: Sequence[str]

    @property
    def sites(self) -> dict[str, Mapping[str, int]]:
        """``{site: {split: number of cases}}``."""
        return {site: held.cases for site, held in self.holdings.items()}


def shard(
    collection: Path,
    out: Path,
    *,
    by: By,
    sites: int | None = None,
    alpha: float | None = None,
    only: str | None = None,
    copy: bool = False,
    keep_test: Path | None = None,
    annotated: Drawn | None = None,
    seed: int = 0,
    validation: float = 0.2,
    test: float = 0.2,
    plot: Path | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> ShardResult:
    """Write ``out/<site>/`` with a datalist, ``images/<case>.nii.gz`` and ``labels/<case>.nii.gz``.

    Every case lands in one split of one site, a patient's cases together. Files are never altered: they are
    linked, by absolute path so that ``out`` may be moved, or copied. ``out`` appears when complete. Its
    ``shards.json`` says how it was made and what each site holds.

    Label maps are opened for ``dirichlet``, ``plot`` and ``annotated`` only; of images, only the header is read.

    Args:
        collection: a folder of ``<source>/<case>``, or a datalist file.
        out: the folder of site folders to write.
        by: one site for each ``source``; ``iid``: shuffled, and dealt to ``sites`` sites; ``dirichlet``: sites that
            see other kinds of patients, as `patient_kinds` defines them; or ``quantity``: sites that differ in size
            alone. `plan_sites` says how the last two are drawn.
        sites: the number of sites; not for ``source``.
        alpha: for ``dirichlet`` and ``quantity``, how much alike the sites are: from 0.001, skewed, to 1000000, alike;
            0.5 if not given.
        only: a glob on ``<source>/<case>``; other cases are left out.
        copy: copy the files, instead of linking them.
        keep_test: a folder of site folders. What is test there, by its content, is test here too, lest one
            study trains on what another is evaluated on. It counts towards the share.
        annotated: write beside each case which label values were drawn in it, for collections in which that differs by
            case: those that its label map shows, or those that the collection's manifest lists (`Drawn`). Structures
            that were not drawn are then no background. A case in which none was counts as one without a label.
        seed: draws sites and splits; by source, a source's split does not depend on the other sources.
        validation, test: the share of a site's patients for each; see `fedswin.data.dealing.splits.split_by_label`.
        plot: a PNG to write, outside ``out``: who holds which classes and voxel sizes.
        overwrite: replace ``out``, if it holds nothing but site folders, and ``plot``, if it is a PNG.
        progress: called with a short text before each label map.

    Raises:
        FedSwinError: if no case is found, an option does not fit, names clash, a label map that has to be read cannot
            be, or ``out`` or ``plot`` is refused.
    """
    _refuse_options(by, sites, alpha, validation, test)
    if annotated not in (None, *get_args(Drawn)):
        raise FedSwinError(f"--annotated {annotated} is unknown. Use {' or '.join(get_args(Drawn))}.")
    out = out.absolute()
    _refuse_picture(plot, out, overwrite)
    found = read_collection(collection, only)
    _refuse_output(out, collection, found.scans, overwrite)
    kept, missing = _kept_patients(found.scans, keep_test)
    cases = [scan.case for scan in found.scans]
    read_classes = by == "dirichlet" or plot is not None
    values = label_values(cases, progress) if read_classes or annotated == "label-maps" else {}
    shown = name_values(cases, values) if read_classes else None
    if annotated:
        drawn = values if annotated == "label-maps" else read_drawn(collection, found.scans)
        found.scans = with_drawn(found.scans, drawn)
    kinds = patient_kinds(found.scans, shown or {}) if by == "dirichlet" else {}
    shares = {"validation": validation, "test": test}
    plan = plan_sites(found.scans, by=by, sites=sites, alpha=alpha, kinds=kinds, kept=kept, seed=seed, **shares)
    held = {site: holdings(Site(site, out / site, _cases(splits)), shown) for site, splits in plan.items()}
    messages = [*found.messages, *missing, *_empty_splits(held, shares)]
    result = ShardResult(held, _kinds_by_site(plan, kinds), messages)
    skew = f", alpha {alpha or DEFAULT_ALPHA:g}" if by in SKEWED else ""
    description = f"{collection.absolute().name}, by {by}{skew}, seed {seed}"
    with staged(out) as staging:
        for site, splits in plan.items():
            _write_site(staging / site, splits, copy, {"description": description, **found.top_level})
        _write_summary(staging / SHARDS, description, result)
        if plot:
            draw_holdings(held, plot)
    return result


def _refuse_options(by: str, sites: int | None, alpha: float | None, validation: float, test: float) -> None:
    if by not in get_args(By):
        *others, last = get_args(By)
        raise FedSwinError(f"--by {by} is unknown{nearest(by, get_args(By))}. Use {', '.join(others)} or {last}.")
    if by == "source" and sites is not None:
        raise FedSwinError("--sites is for --by iid, dirichlet and quantity: by source, each source is a site.")
    if by != "source" and (sites is None or sites < 1):
        raise FedSwinError(f"--by {by} needs a number of sites, found {sites}. Add --sites N.")
    if by not in SKEWED and alpha is not None:
        raise FedSwinError(f"--alpha is for --by dirichlet and quantity, and says nothing by {by}. Leave it out.")
    if alpha is not None and not SMALLEST_ALPHA <= alpha <= LARGEST_ALPHA:
        raise FedSwinError(
            f"--alpha {alpha:g} is not within {SMALLEST_ALPHA}..{LARGEST_ALPHA}. Small is skewed, large is alike; "
            f"{DEFAULT_ALPHA} is usual."
        )
    require_shares(validation, test)


def _refuse_picture(plot: Path | None, out: Path, overwrite: bool) -> None:
    if plot is None:
        return
    refuse_plot(plot, overwrite=overwrite)
    if plot.absolute().is_relative_to(out):
        raise FedSwinError(f"{plot} lies in {out}, which is for site folders alone. Choose a place outside it.")


def _refuse_output(out: Path, collection: Path, scans: Sequence[Scan], overwrite: bool) -> None:
    refuse_output(out, overwrite=overwrite, kind="a folder of site folders", is_kind=are_site_folders)
    real = out.resolve()
    sources = [collection.resolve(), *(scan.case.image.resolve() for scan in scans)]
    if real.is_relative_to(sources[0]) or any(source.is_relative_to(real) for source in sources):
        raise FedSwinError(f"{out} and the collection {collection} overlap. Choose a folder outside it.")


def _kept_patients(scans: Sequence[Scan], keep_test: Path | None) -> tuple[frozenset[str], list[str]]:
    if keep_test is None:
        return frozenset(), []
    patient_of = {scan.case.image: scan.case.patient for scan in scans}
    copies = Copies(patient_of)  # also where a link leads here: a copy of a test image would be as much of a leak
    patients: set[str] = set()
    missing = []
    for site in map(read_site, site_folders(keep_test).values()):
        for image in (case.image for case in site.cases("test")):
            same = copies.of(image)
            patients.update(patient_of[copy] for copy in same)
            if not same:
                missing.append(f"{site.name}/{image.name}: test in {keep_test}, not in this collection")
    return frozenset(patients), missing


def _cases(splits: Mapping[str, Sequence[Scan]]) -> dict[str, list[Case]]:
    return {split: [scan.case for scan in scans] for split, scans in splits.items()}


def _empty_splits(held: Mapping[str, Holdings], shares: Mapping[str, float]) -> list[str]:
    return [
        f"{site}: none of its {sum(of_site.cases.values())} cases is {split}"
        for site, of_site in held.items()
        for split in SPLITS
        if shares.get(split, 1.0) and not of_site.cases[split]
    ]


def _kinds_by_site(plan: Plan, kinds: Mapping[str, str]) -> dict[str, dict[str, int]]:
    patients = {
        site: {scan.case.patient for scans in splits.values() for scan in scans} for site, splits in plan.items()
    }
    return {
        kind: {site: sum(kinds[patient] == kind for patient in own) for site, own in patients.items()}
        for kind in sorted(set(kinds.values()))
    }


def _write_summary(path: Path, description: str, result: ShardResult) -> None:
    sites = {site: held.as_dict() for site, held in result.holdings.items()}
    content = {"description": description, "sites": sites, "kinds": result.kinds}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


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
    return replace(case, image=image, label=label)


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
