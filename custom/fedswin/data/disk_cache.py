"""Arrays on disk, found by what they are: shared by jobs, sites and processes, memory-mapped, and bounded.

    FOLDER/  lock  <SHA-256 of what it is>/{entry.json,<name>.npy…}  in-use-<random>…

All that changes the folder is done under its lock. An entry appears whole; ``entry.json`` says what it is and holds,
and that file's time is when it was last taken into use. ``in-use-…`` lists what a cache has handed out, and is locked
as long as its process lives and uses it; so the entries that nobody uses are known, and can go. It is one open file
for all of them, since a process may have no more than a thousand or so.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from fedswin.data.cache import BOUND, bytes_of, cache_limit, entries
from fedswin.data.prepared import Arrays
from fedswin.durable import written_whole
from fedswin.errors import FedSwinError
from fedswin.output import staged

_LOCK = "lock"
_RECORD = "entry.json"
_IN_USE = "in-use-"


class DiskCache:
    """Named arrays in a folder. What it has handed out stays there while this object, or one of its entries, lives.

    Args:
        folder: the folder; made if it is not there.

    Raises:
        FedSwinError: if the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with self._alone():
            self._in_use()  # removes what processes that were killed have left
            self._handed_out = (folder / f"{_IN_USE}{uuid.uuid4().hex}").open("w+")
            fcntl.flock(self._handed_out, fcntl.LOCK_SH)
        weakref.finalize(self, self._handed_out.close)

    def get(self, what: Mapping[str, Any], make: Callable[[], Arrays]) -> Entry:
        """Return the arrays of ``what``.

        Args:
            what: what makes them what they are, as JSON takes it.
            make: makes them, if they are not there.

        Raises:
            FedSwinError: if there is no room for them, or they cannot be written.
        """
        with self._alone():
            found = self._find(what)
        if found:
            return found
        arrays = make()
        with self._alone():
            return self._find(what) or self._write(what, arrays)  # another process may have made them meanwhile

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with (self._folder / _LOCK).open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise FedSwinError(
                f"{self._folder}: preprocessed cases cannot be kept there ({error.strerror}). "
                "Set FEDSWIN_CACHE to another folder, or data.cache to memory."
            ) from error

    def _find(self, what: Mapping[str, Any]) -> Entry | None:
        folder = self._folder / _key(what)
        return self._hand_out(folder) if _is_whole(folder, what) else None

    def _hand_out(self, folder: Path) -> Entry:
        print(folder.name, file=self._handed_out, flush=True)
        os.utime(folder / _RECORD)
        return Entry(self, folder)

    def _write(self, what: Mapping[str, Any], arrays: Arrays) -> Entry:
        folder = self._folder / _key(what)
        self._make_room(sum(array.nbytes for array in arrays.values()))
        with staged(folder) as new:
            for name, array in arrays.items():
                with written_whole(new / f"{name}.npy") as file:
                    np.save(file, array, allow_pickle=False)
            record = {"what": what, "arrays": {name: _layout(array) for name, array in arrays.items()}}
            (new / _RECORD).write_text(json.dumps(record, indent=2))
        return self._hand_out(folder)

    def _make_room(self, needed: int) -> None:
        """Remove what was used longest ago and is not in use, until there is room for ``needed`` bytes."""
        for left in self._folder.glob(f".{'?' * 64}.*"):  # by a process that was killed as it wrote
            shutil.rmtree(left)
        limit = cache_limit(self._folder)
        held = {entry: bytes_of(entry) for entry in sorted(entries(self._folder), key=_last_used)}
        in_use = self._in_use()
        for entry in [entry for entry in held if entry.name not in in_use]:
            if sum(held.values()) + needed <= limit:
                return
            shutil.rmtree(entry)
            del held[entry]
        needed += sum(held.values())
        if needed > limit:
            raise FedSwinError(
                f"{self._folder}: the cases in use need {needed / 1e9:.3g} GB or more, and the cache may take "
                f"{limit / 1e9:.3g} GB. Raise {BOUND} or free space on this disk, or set data.cache to memory."
            )

    def _in_use(self) -> set[str]:
        """Return the names of the entries that living caches have handed out, and remove the lists of the others."""
        names: set[str] = set()
        for path in self._folder.glob(f"{_IN_USE}*"):
            with path.open("r+") as file:  # over NFS a lock needs the right to write
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    names.update(file.read().split())
                else:
                    path.unlink()
        return names


class Entry(Mapping[str, NDArray[Any]]):
    """Arrays of a cache, each mapped into memory when it is asked for, so that no files stay open.

    What is written into an array stays in this process's memory.

    Args:
        cache: the cache that hands it out.
        folder: where the arrays are.
    """

    def __init__(self, cache: DiskCache, folder: Path) -> None:
        self._cache = cache  # which says that the entry is in use, as long as it lives
        self._folder = folder
        self._names = list(json.loads((folder / _RECORD).read_text())["arrays"])

    def __getitem__(self, name: str) -> NDArray[Any]:
        """Map an array.

        Raises:
            KeyError: if there is no such array.
            FedSwinError: if somebody has removed its file.
        """
        if name not in self._names:
            raise KeyError(name)
        try:
            return _mapped(self._folder, name)
        except FileNotFoundError:
            raise FedSwinError(
                f"{self._folder} is gone while it was in use. Start again, and leave the cache alone meanwhile."
            ) from None

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._names)

    def __len__(self) -> int:
        """Return how many arrays there are."""
        return len(self._names)


def _key(what: Mapping[str, Any]) -> str:
    return hashlib.sha256(_text(what).encode()).hexdigest()


def _text(what: Any) -> str:
    return json.dumps(what, sort_keys=True)


def _is_whole(folder: Path, what: Mapping[str, Any]) -> bool:
    """Tell whether the entry in ``folder`` is of ``what``, and its files are as it says. It may be torn, or foreign."""
    try:
        record = json.loads((folder / _RECORD).read_text())
        sound = all(_layout(_mapped(folder, name)) == layout for name, layout in record["arrays"].items())
        return sound and _text(record["what"]) == _text(what)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return False


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    return open_memmap(folder / f"{name}.npy", mode="c")  # in no mode does it unpickle


def _layout(array: NDArray[Any]) -> list[Any]:
    return [array.dtype.str, *array.shape]


def _last_used(entry: Path) -> float:
    record = entry / _RECORD
    return record.stat().st_mtime if record.exists() else 0.0
