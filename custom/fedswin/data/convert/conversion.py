"""Turn an archive of CT into a site folder that says nothing of where it came from.

The work is done in ``OUT.partial``, which becomes ``OUT`` when all is there: a folder named ``OUT`` is always a whole
site folder. What ``OUT.partial`` remembers is what each volume is, never a path, a name or a UID. So a conversion that
goes on reads every source again, but writes none again. Patients need not be remembered: their pseudonyms are drawn at
the end, when all sources are known. So a case whose source has left the archive meanwhile is dropped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedswin.data.convert.case_files import RECORDS, ConvertedCase
from fedswin.data.convert.find import find_sources
from fedswin.data.convert.name_map import refuse_map, write_map
from fedswin.data.convert.pool import convert_all
from fedswin.data.convert.report import REPORT, by_reason
from fedswin.data.convert.site_folder import Converted, draw_pseudonyms, draw_splits, without_twins, write_site
from fedswin.data.convert.source import LeftOut
from fedswin.data.convert.worker import GO_ON
from fedswin.data.dealing.splits import require_shares
from fedswin.errors import FedSwinError
from fedswin.output import put_in_place, refuse_output
from fedswin.run_lock import LOCK, lock_run, lock_runs


@dataclass(frozen=True)
class Conversion:
    """What `convert` wrote.

    Attributes:
        splits: the number of cases of each split.
        patients: the number of patients.
        cases: what was converted.
        left_out: what was not. Its paths are for the screen of whoever converts, alone.
    """

    splits: Mapping[str, int]
    patients: int
    cases: Sequence[ConvertedCase]
    left_out: Sequence[LeftOut]


def convert(
    archive: Path,
    out: Path,
    *,
    validation: float = 0.2,
    test: float = 0.2,
    seed: int = 0,
    resample: bool = False,
    workers: int = 1,
    timeout: float = 600.0,
    keep_map: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> Conversion:
    """Convert every volume of CT below ``archive``, and write the site folder ``out``.

    It holds ``datalist.json``, ``images/<case>.nii.gz``, ``labels/<case>.nii.gz`` and the report, ``conversion.json``.
    Cases and patients are named by chance. Voxels that are there twice are converted once.

    Args:
        archive: a folder of DICOM series, NRRD, MetaImage and NIfTI files, in any layout.
        out: the folder to write.
        validation, test: the share of the patients for each; see `fedswin.data.dealing.splits.split`.
        seed: draws the splits. The same archive and seed give the same split, whatever the names.
        resample: bring tilted or uneven stacks of slices onto a regular grid, instead of leaving them out.
        workers: the number of processes.
        timeout: seconds that one volume may take.
        keep_map: a file for what leads from the new names to the old ones; without it nothing does.
        resume: go on with a conversion that was stopped, if there is one.
        overwrite: replace ``out`` if it holds a conversion, and start anew if one was stopped.
        progress: called with a short text now and then.

    Raises:
        FedSwinError: if nothing can be converted, an option does not fit, or ``out`` is refused or cannot be written.
    """
    archive, out = archive.resolve(), out.absolute()
    partial = out.with_name(f"{out.name}.partial")
    require_shares(validation, test)
    _refuse_overlap(archive, out)
    _refuse_overlap(archive, partial)
    if keep_map:
        refuse_map(keep_map, (out, partial))
    refuse_output(out, overwrite=overwrite, kind="a conversion", is_kind=lambda path: (path / REPORT).is_file())
    _refuse_unfinished(partial, resume=resume, overwrite=overwrite)
    sources, left_out = find_sources(archive, progress)
    if not sources:
        raise _nothing(archive, left_out)
    with _workplace(partial, resume):
        outcomes = convert_all(sources, partial, resample=resample, workers=workers, timeout=timeout, progress=progress)
        left_out += [item for outcome in outcomes for item in outcome.left_out]
        ends = zip(sources, outcomes, strict=True)
        found = [Converted(source, outcome.case) for source, outcome in ends if outcome.case]
        if not found:
            shutil.rmtree(partial)
            raise _nothing(archive, left_out)
        kept, twins = without_twins(found)
        left_out += twins
        pseudonyms = draw_pseudonyms(found)
        splits = draw_splits(kept, pseudonyms, validation=validation, test=test, seed=seed)
        write_site(partial, splits, pseudonyms, left_out)
        if keep_map:
            write_map(keep_map, kept, pseudonyms)
        put_in_place(partial, out)
        shutil.rmtree(out / RECORDS)
        (out / LOCK).unlink()
    counts = {name: len(items) for name, items in splits.items()}
    patients = {pseudonyms[item.source.patient] for item in kept}
    return Conversion(counts, len(patients), [item.case for item in kept], left_out)


def _refuse_overlap(archive: Path, out: Path) -> None:
    if not archive.is_dir():
        raise FedSwinError(f"{archive} is no folder. Give the folder that holds the archive; unpack it first.")
    if out.resolve().is_relative_to(archive) or archive.is_relative_to(out.resolve()):
        raise FedSwinError(f"{out} and the archive {archive} overlap. Choose a folder outside it.")


def _refuse_unfinished(partial: Path, *, resume: bool, overwrite: bool) -> None:
    if not os.path.lexists(partial):
        return
    if not (partial / LOCK).is_file():
        raise FedSwinError(f"{partial} is something other than a conversion that was stopped. Move it away.")
    if not (resume or overwrite):
        raise FedSwinError(f"{partial} is a conversion that was stopped. Add --resume, or --overwrite to start anew.")


def _nothing(archive: Path, left_out: Sequence[LeftOut]) -> FedSwinError:
    reasons = [f"\n- {len(item.files)} files: {item.reason}. {item.fix}".rstrip() for item in by_reason(left_out)]
    return FedSwinError(f"{archive}: nothing there can be converted.{''.join(reasons) or ' It holds no file.'}")


@contextmanager
def _workplace(partial: Path, resume: bool) -> Iterator[None]:
    """Hold the folder of an unfinished conversion, empty at first unless it is resumed."""
    try:
        if not resume and partial.exists():
            with lock_runs(partial):
                shutil.rmtree(partial)
        with lock_run(partial):
            yield
    except OSError as error:
        raise FedSwinError(f"{error.filename or partial}: {error.strerror}. {GO_ON}") from None
