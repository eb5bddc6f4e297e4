"""Models side by side on slices of the same cases, as the paper's figures 4 and 5 show them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from nibabel.orientations import apply_orientation, io_orientation
from numpy.typing import NDArray

from fedswin.config import Job
from fedswin.data.holdings.plot import refuse_plot
from fedswin.data.planes import Array, busiest, upright
from fedswin.data.volume import grid_of, read_voxels, volume_stem
from fedswin.errors import FedSwinError, nearest
from fedswin.operations.labelled_cases import LabelledCase, check_cases, labelled_cases
from fedswin.output import short_names, staged_files
from fedswin.segmentation.comparison import AXIAL, Row, Segmented, class_colours, draw_comparison
from fedswin.segmentation.ensemble import Ensemble, load_ensemble
from fedswin.segmentation.inference import WindowProgress, predict
from fedswin.segmentation.metrics import dice_by_class
from fedswin.training.memory import keep_freed_memory
from fedswin.training.trainer import make_deterministic

Progress = Callable[[str], None]

_BLACK_AND_WHITE = (1, 99)
"""The percentiles of a slice that are drawn black and white if it is no CT."""

_MOST_NAMES = 3
"""Of classes that stand beside a row; more are counted."""


class Drawn(NamedTuple):
    """What a row shows: the case, its axial slice counted from the feet from 1, and why it was chosen, if by itself."""

    case: str
    slice: int
    why: str


def refuse_comparison(out: Path, *, overwrite: bool) -> None:
    """Make sure that a comparison can be drawn, and written to ``out``.

    Raises:
        FedSwinError: if matplotlib (the extra ``report``) is not installed, ``out`` is not named as a PNG, exists and
            ``overwrite`` is false, or is something other than a PNG.
    """
    if out.suffix.lower() != ".png":
        raise FedSwinError(f"{out}: a comparison is a PNG. Give --out a name that ends with .png.")
    refuse_plot(out, overwrite=overwrite)


def compare(
    models: Sequence[Path],
    sites_dir: Path,
    out: Path,
    *,
    split: str = "test",
    cases: Sequence[str] = (),
    slices: Sequence[int] = (),
    progress: Progress = lambda _: None,
) -> list[Drawn]:
    """Draw what models make of an axial slice of cases, beside the image and the reference, as a PNG.

    Images are segmented as ``evaluate`` does it, on their own grid. Classes that were not annotated in a case are drawn
    in no column of it.

    Args:
        models: weights files, run folders or folders of folds, each an ensemble, of ``finetune`` jobs.
        sites_dir: the folder of the site folders, or a single one.
        out: the PNG to write; it appears when all is done.
        split: ``test`` or ``validation``; the latter as the fold of the models has it.
        cases: their names, with or without the site's; by default those of each site with the worst, the median and
            the best Dice of the first model, which then segments every case.
        slices: of each of ``cases``, counted from the feet, from 1; by default the one that shows most classes, and of
            those the one with most labelled voxels.
        progress: called with a line before each step.

    Returns:
        What the rows show.

    Raises:
        FedSwinError: if a model cannot be loaded or segments nothing, the models differ in classes or channels, or a
            case is not there, has no such slice, annotates no class or cannot be used. Every case is read before the
            first is segmented, and nothing is written then.
    """
    ensembles = _load(models)
    job = next(iter(ensembles.values())).job
    subjects = _subjects(labelled_cases(sites_dir, split, ensembles.values()), job, cases, slices, sites_dir)
    check_cases([subject.case for subject in subjects], [each.job for each in ensembles.values()], progress)
    with staged_files(out) as folder:
        (first, ensemble), *others = ensembles.items()
        columns = [_segment(first, ensemble, subjects, progress)]
        if not cases:
            subjects, columns = _representative(subjects, columns[0], first)
        columns += [_segment(name, other, subjects, progress) for name, other in others]
        progress("drawing")
        rows = [_row(subject, job, segmented) for subject, *segmented in zip(subjects, *columns, strict=True)]
        caption = _caption(job, split, first if not cases else "")
        draw_comparison(rows, list(ensembles), class_colours(job.segmentation), caption, folder / out.name)
    return [Drawn(subject.name, subject.slice + 1, subject.why) for subject in subjects]


@dataclass(frozen=True)
class _Subject:
    """A case to draw: ``slice`` is the plane across the axis from foot to head, from 0."""

    case: LabelledCase
    name: str
    slice: int
    slices: int
    why: str = ""


def _load(models: Sequence[Path]) -> dict[str, Ensemble]:
    names = short_names(models)
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise FedSwinError(f"{models[names.index(twice)]} is given twice. Give each model once.")
    ensembles = {name: load_ensemble([path]) for name, path in zip(names, models, strict=True)}
    (first, ensemble), *others = ensembles.items()
    for name, other in others:
        for key, ours, theirs in zip(_SHARED, _shared(ensemble.job), _shared(other.job), strict=True):
            if ours != theirs:
                raise FedSwinError(
                    f"{first} and {name} cannot stand side by side: {key} is {ours} in the first, but {theirs} in the "
                    "second. Compare models of the same classes and channels."
                )
    return ensembles


_SHARED = ("segmentation.classes", "data.channels")


def _shared(job: Job) -> tuple[object, object]:
    return list(job.segmentation.classes.items()), job.data.channels  # a list, for their order counts


def _subjects(
    found: Sequence[LabelledCase], job: Job, cases: Sequence[str], slices: Sequence[int], sites_dir: Path
) -> list[_Subject]:
    if slices and len(slices) != len(cases):
        raise FedSwinError(
            f"{len(slices)} slices for {len(cases)} cases. Give one --slice for each --case, in their order."
        )
    by_name = dict(_names(found))
    usable = {name: case for name, case in by_name.items() if case.annotation.annotated_classes(job.segmentation)}
    if not cases and not usable:
        raise FedSwinError(f"{sites_dir}: no case annotates a class that the models segment. Nothing can be compared.")
    chosen = [_find(name, by_name) for name in cases] or list(usable)
    for name in chosen:
        if name not in usable:
            raise FedSwinError(f"{name} annotates no class that the models segment. Choose another --case.")
        if chosen.count(name) > 1:
            raise FedSwinError(f"--case {name} is given twice. Give each case once.")
    wanted: list[int | None] = [place - 1 for place in slices]
    wanted = wanted or [None] * len(chosen)
    return [_subject(usable[name], name, place, job) for name, place in zip(chosen, wanted, strict=True)]


def _names(cases: Sequence[LabelledCase]) -> Iterator[tuple[str, LabelledCase]]:
    """Name each case by its site and by what of its image's path lies below the folder that all of the site share."""
    for site in dict.fromkeys(case.site for case in cases):
        own = [case for case in cases if case.site == site]
        names = short_names([case.image.with_name(volume_stem(case.image)) for case in own])
        yield from ((f"{site}/{name}", case) for name, case in zip(names, own, strict=True))


def _find(wanted: str, cases: Mapping[str, LabelledCase]) -> str:
    """Return the full name of the case that a name means: the full one, or that without the site."""
    stem = volume_stem(Path(wanted))
    name = (Path(wanted).parent / stem).as_posix()
    matching = [full for full in cases if full == name or full.partition("/")[2] == name]
    if len(matching) > 1:
        raise FedSwinError(f"--case {wanted} may be {' or '.join(matching)}. Give the name with the site's.")
    if not matching:
        hint = nearest(name, [*cases, *(full.partition("/")[2] for full in cases)])
        some = ", ".join(list(cases)[:10]) + (f" and {len(cases) - 10} more" if len(cases) > 10 else "")
        raise FedSwinError(f"--case {wanted}: there is no such labelled case{hint}. There are {some}.")
    return matching[0]


def _subject(case: LabelledCase, name: str, place: int | None, job: Job) -> _Subject:
    slices = grid_of(case.volume(job)).shape[AXIAL]
    if place is None:
        return _Subject(case, name, busiest(_in_ras(_reference(case, job), case, job), AXIAL), slices)
    if not 0 <= place < slices:
        raise FedSwinError(f"{name} has no slice {place + 1}: its axial slices are 1 to {slices}, from the feet up.")
    return _Subject(case, name, place, slices)


def _reference(case: LabelledCase, job: Job) -> NDArray[np.uint8]:
    return _annotated_only(case.reference(job), case, job)


def _annotated_only(indices: NDArray[np.uint8], case: LabelledCase, job: Job) -> NDArray[np.uint8]:
    """Turn classes that were not annotated in the case into background: nothing is known of them there."""
    kept = np.zeros(len(job.segmentation.classes) + 1, np.uint8)
    annotated = list(case.annotation.annotated_indices(job.segmentation))
    kept[annotated] = annotated
    return kept[indices]


def _in_ras(voxels: Array, case: LabelledCase, job: Job) -> Array:
    return apply_orientation(voxels, io_orientation(case.volume(job).affine))


def _segment(name: str, ensemble: Ensemble, subjects: Sequence[_Subject], progress: Progress) -> list[Segmented]:
    make_deterministic(ensemble.job)
    keep_freed_memory()
    segmented = []
    for number, subject in enumerate(subjects, start=1):
        step = f"{name} on {subject.name}, case {number} of {len(subjects)}"
        progress(step)
        segmented.append(_segment_case(ensemble, subject, partial(_tell, progress, step)))
    return segmented


def _tell(progress: Progress, step: str, done: int, total: int) -> None:
    progress(f"{step}, {done / total:.0%}")


def _segment_case(ensemble: Ensemble, subject: _Subject, progress: WindowProgress) -> Segmented:
    case, job = subject.case, ensemble.job
    classes = case.annotation.annotated_classes(job.segmentation)
    predicted = predict(ensemble, case.image, progress)
    guess, reference = (torch.from_numpy(np.ascontiguousarray(x))[None] for x in (predicted, case.reference(job)))
    dice = dice_by_class(guess, reference, list(job.segmentation.classes), classes)["dice"]
    plane = upright(_in_ras(_annotated_only(predicted, case, job), case, job), AXIAL, subject.slice)
    return Segmented(plane, dice)


def _representative(
    subjects: Sequence[_Subject], segmented: Sequence[Segmented], model: str
) -> tuple[list[_Subject], list[list[Segmented]]]:
    """Choose the cases of each site with the worst, the median and the best Dice of a model; fewer if it has fewer.

    A case without a Dice is not chosen.
    """
    chosen = []
    for site in dict.fromkeys(subject.case.site for subject in subjects):
        own = [pair for pair in zip(subjects, segmented, strict=True) if pair[0].case.site == site]
        ordered = sorted((pair for pair in own if pair[1].dice is not None), key=lambda pair: pair[1].dice or 0.0)
        for rank, why in _ranks(len(ordered)).items():
            subject, result = ordered[rank]
            chosen.append((replace(subject, why=why), result))
    if not chosen:
        raise FedSwinError(f"No reference shows a class that {model} segments: no Dice to choose by. Name a --case.")
    return [subject for subject, _ in chosen], [[result for _, result in chosen]]


def _ranks(count: int) -> dict[int, str]:
    """Return the ranks of the cases to show among ``count`` in ascending order, and what each is.

    Of an even number the median is the lower of the two in the middle.
    """
    if count < 2:
        return dict.fromkeys(range(count), "the only case")
    ranks = {0: "worst", (count - 1) // 2: "median", count - 1: "best"} if count > 2 else {0: "worst", 1: "best"}
    return {rank: f"{word} of {count}" for rank, word in ranks.items()}


def _row(subject: _Subject, job: Job, models: Sequence[Segmented]) -> Row:
    case = subject.case
    voxels = read_voxels(case.image, len(job.data.channels))
    volume = _in_ras(voxels if voxels.ndim == 3 else voxels[..., 0], case, job)
    plane = upright(volume, AXIAL, subject.slice).astype(np.float32)
    low, high = job.data.hu_window if job.data.is_ct else np.percentile(plane, _BLACK_AND_WHITE)
    reference = upright(_in_ras(_reference(case, job), case, job), AXIAL, subject.slice)
    notes = [", ".join([f"slice {subject.slice + 1} of {subject.slices}", *([subject.why] if subject.why else [])])]
    notes += _not_annotated(case, job)
    image = (plane - low) / max(float(high - low), 1e-6)
    return Row(subject.name, tuple(notes), image, reference, grid_of(case.volume(job)).spacing, models)


def _not_annotated(case: LabelledCase, job: Job) -> list[str]:
    known = case.annotation.annotated_classes(job.segmentation)
    names = [name for name in job.segmentation.classes if name not in known]
    if len(names) > _MOST_NAMES:
        return [f"{len(names)} of {len(job.segmentation.classes)} classes not annotated"]
    return ["not annotated: " + ", ".join(names)] if names else []


def _caption(job: Job, split: str, chosen_by: str) -> str:
    low, high = job.data.hu_window
    grey = f" Grey values: {low:g} to {high:g} HU." if job.data.is_ct else ""
    lines = [
        f"Axial slices, counted from the feet; the patient's right (R) is on the left.{grey}",
        f"Cases of the split '{split}'. Dice: of the whole case, mean over the classes that were annotated in it.",
    ]
    if chosen_by:
        lines.append(f"Of each site the cases with the worst, the median and the best Dice of {chosen_by}.")
    return "\n".join(lines)
