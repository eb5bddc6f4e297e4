"""The sites that a scenario makes: made once, found again, and named in the record of every run on them.

Beside the site folders lies ``scenario.json``, from which a run takes what its provenance says of the scenario.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console

from fedswin.data.datalist import Site, site_folders
from fedswin.data.dealing.shard import shard
from fedswin.data.phantom import write_phantoms
from fedswin.errors import FedSwinError, needs_extra
from fedswin.operations.scenario import Archive, Scenario, load_scenario
from fedswin.output import refuse_output, staged
from fedswin.provenance import PROVENANCE, read_provenance
from fedswin.run_lock import lock_run

_RECORD = "scenario.json"
_SUFFIXES = (".yaml", ".yml")
_DIGITS_IN_NAMES = 8


def resolve_sites(data: Path, out: Path, *, resume: bool = False, console: Console) -> Path:
    """Return the folder of the site folders: ``data``, or if that is a scenario file what it makes.

    They are made beside ``out``, in a folder with the scenario's name and the beginning of its digest, and found there
    by every later command with an output in the same place. A scenario that has changed makes new ones.

    Args:
        data: a site folder, a folder of site folders, or a scenario file.
        out: what the command writes.
        resume: whether it goes on with the run, or the runs, at ``out``.
        console: where to show how far it is.

    Raises:
        FedSwinError: if something about the scenario is wrong, or a run to resume was started on other sites.
    """
    if data.suffix not in _SUFFIXES:
        return data
    scenario = load_scenario(data)
    if resume:
        _refuse_other_scenario(out, scenario)
    folder = out.parent / _folder_name(scenario.record())
    if folder.exists():
        console.print(f"The sites are in {folder}", markup=False)
    else:
        make_sites(scenario, folder, console=console)
    return folder


def make_sites(scenario: Scenario, out: Path, *, overwrite: bool = False, console: Console) -> None:
    """Write the site folders of a scenario, and print what the user should know of them.

    ``out`` appears when all of it is there. Until then sites are beside it in a folder that ends in ``.part``, where
    the next call goes on with what a call that was cut off has converted.

    Args:
        scenario: the scenario.
        out: the folder of the site folders.
        overwrite: replace ``out``, if a scenario has made it.
        console: where to show how far it is.

    Raises:
        FedSwinError: if something about the scenario is wrong, or ``out`` is refused.
    """
    refuse_output(out, overwrite=overwrite, kind="the sites of a scenario", is_kind=_is_made)
    record = scenario.record()
    part = out.with_name(f"{_folder_name(record)}.part")
    with _held(part.with_suffix(".lock")):
        try:
            with console.status("") as status:
                notes = _write(scenario, part, status.update)
        except FedSwinError as error:
            raise FedSwinError(f"{scenario.path}: {error}") from None
        with staged(out) as folder:
            (folder / _RECORD).write_text(f"{json.dumps(record, indent=2)}\n")
            for site in part.iterdir():
                site.rename(folder / site.name)
            part.rmdir()
    console.print(f"{out}: {len(site_folders(out))} sites, {', '.join(site_folders(out))}", markup=False)
    for note in notes:
        console.print(f"- {note}", markup=False)


def scenario_of(sites: Sequence[Site]) -> dict[str, Any]:
    """Return ``{"scenario": record}`` of the scenario that has made ``sites``, or nothing if none has."""
    path = sites[0].folder.parent / _RECORD
    return {"scenario": json.loads(path.read_text())} if path.exists() else {}


def _folder_name(record: dict[str, Any]) -> str:
    return f"{record['name']}-{record['digest'][:_DIGITS_IN_NAMES]}"


def _is_made(out: Path) -> bool:
    return (out / _RECORD).is_file()


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Keep other processes from making the same sites while the block runs; the lock's folder goes with its end."""
    with lock_run(lock, after="start again"):
        try:
            yield
        finally:
            shutil.rmtree(lock)


def _refuse_other_scenario(out: Path, scenario: Scenario) -> None:
    for path in sorted(out.glob(f"**/{PROVENANCE}")):
        started = read_provenance(path.parent).get("scenario")
        if started and started["digest"] != scenario.digest:
            own = out.parent / _folder_name(started)
            raise FedSwinError(
                f"{path.parent} was started on other sites than {scenario.path} makes now: its settings, or the files "
                f"that it names, have changed. Resume on its own sites, such as --data {own}."
            )


def _write(scenario: Scenario, out: Path, progress: Callable[[str], None]) -> Sequence[str]:
    """Write the site folders to ``out``, and return what the user should know of them."""
    settings = scenario.settings
    if settings.phantom:
        write_phantoms(out, **settings.phantom.model_dump(), overwrite=True, progress=progress)
        return []
    if settings.shard:
        options = settings.shard.model_dump(exclude={"collection"}, exclude_none=True)
        collection = scenario.locate(settings.shard.collection)
        return shard(collection, out, **options, overwrite=True, progress=progress).messages
    return list(_convert_archives(scenario, out, progress))


def _convert_archives(scenario: Scenario, out: Path, progress: Callable[[str], None]) -> Iterator[str]:
    for name, site in (scenario.settings.sites or {}).items():
        if not (out / name).exists():  # what is there has been converted whole
            yield from _convert(scenario.locate(site.convert.source), out / name, site.convert, progress)


def _convert(source: Path, out: Path, settings: Archive, progress: Callable[[str], None]) -> Iterator[str]:
    with needs_extra("dicom", "A conversion"):
        from fedswin.data.convert.conversion import convert
        from fedswin.data.convert.report import by_reason

    options = settings.model_dump(exclude={"source"})
    done = convert(source, out, **options, resume=True, progress=lambda text: progress(f"{out.name}: {text}"))
    for left_out in by_reason(done.left_out):
        yield f"{out.name}: {len(left_out.files)} files left out: {left_out.reason}. {left_out.fix}".rstrip()
