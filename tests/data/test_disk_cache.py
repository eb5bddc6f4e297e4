"""The cache on disk: found by content, whole or not there, shared by whoever needs it, and bounded."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from data.check.small_site import hu
from end_to_end import tiny
from fedswin.data.cache import bytes_of, cache_limit, entries
from fedswin.data.datalist import Case
from fedswin.data.disk_cache import DiskCache, Entry
from fedswin.data.loading import Volumes
from fedswin.errors import FedSwinError
from stand_in import save

BYTES = 100_000


class Usage(NamedTuple):
    total: int
    free: int


def arrays(number: int, size: int = BYTES) -> dict[str, NDArray[Any]]:
    return {"image": np.full((1, size // 2), number, np.uint16), "none": np.zeros(0, np.int32)}


def put(cache: DiskCache, number: int, made: list[int] | None = None, size: int = BYTES) -> Entry:
    def make() -> dict[str, NDArray[Any]]:
        if made is not None:
            made.append(number)
        return arrays(number, size)

    return cache.get({"number": number, "window": (0.0, 1.0)}, make)


def used_at(entry: Entry, seconds: int) -> None:
    os.utime(entry._folder / "entry.json", (seconds, seconds))


def names(folder: Path) -> set[int]:
    return {int(np.load(entry / "image.npy")[0, 0]) for entry in entries(folder)}


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets how many entries the cache may hold."""
    return lambda count: monkeypatch.setenv("FEDSWIN_CACHE_GB", str(count * (BYTES + 2000) / 1e9))


def test_what_was_made_once_is_found_by_another_cache(tmp_path: Path) -> None:
    made: list[int] = []
    for _ in range(2):
        found = put(DiskCache(tmp_path), 7, made)
        assert list(found) == ["image", "none"]
        for name, array in arrays(7).items():
            assert found[name].dtype == array.dtype
            assert np.array_equal(found[name], array)
    assert made == [7]


def test_what_is_written_into_an_array_stays_out_of_the_cache(tmp_path: Path) -> None:
    found = put(DiskCache(tmp_path), 7)
    found["image"][:] = 1
    assert np.array_equal(found["image"], arrays(7)["image"])


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("unpickled"),)


def damaged(how: str, folder: Path) -> None:
    image = folder / "image.npy"
    match how:
        case "torn":
            image.write_bytes(image.read_bytes()[:-1])
        case "empty":
            image.write_bytes(b"")
        case "missing":
            image.unlink()
        case "pickled":
            image.write_bytes(pickle.dumps(Evil()))
        case "objects":
            np.save(image, np.array([Evil()]), allow_pickle=True)
        case "another shape":
            np.save(image, np.zeros((2, 2), np.uint16))
        case "no record":
            (folder / "entry.json").unlink()
        case "another record":
            (folder / "entry.json").write_text('{"what": 1, "arrays": {}}')
        case "a foreign record":
            (folder / "entry.json").write_text("[1]")


HOW = ["torn", "empty", "missing", "pickled", "objects", "another shape", "no record", "another record"]


@pytest.mark.parametrize("how", [*HOW, "a foreign record"])
def test_an_entry_that_is_not_whole_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[int] = []
    put(DiskCache(tmp_path / "cache"), 7, made)
    damaged(how, entries(tmp_path / "cache")[0])
    found = put(DiskCache(tmp_path / "cache"), 7, made)
    assert made == [7, 7]
    assert np.array_equal(found["image"], arrays(7)["image"])
    assert not (tmp_path / "unpickled").exists()


def test_two_that_make_the_same_at_once_both_have_it(tmp_path: Path) -> None:
    both, found = threading.Barrier(2), []

    def make() -> dict[str, NDArray[Any]]:
        both.wait(timeout=30)  # until neither has found it
        return arrays(7)

    makers = [
        threading.Thread(target=lambda: found.append(DiskCache(tmp_path).get({"number": 7}, make))) for _ in range(2)
    ]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert [int(entry["image"][0, 0]) for entry in found] == [7, 7]
    assert len(entries(tmp_path)) == 1


def test_over_the_bound_those_go_that_were_used_longest_ago(tmp_path: Path, bound: Callable[[float], None]) -> None:
    bound(3)
    for number, seconds in ((1, 30), (2, 10), (3, 20)):
        used_at(put(DiskCache(tmp_path), number), seconds)
    put(DiskCache(tmp_path), 4)
    assert names(tmp_path) == {1, 3, 4}
    put(DiskCache(tmp_path), 3)  # used again
    put(DiskCache(tmp_path), 5)
    assert names(tmp_path) == {3, 4, 5}
    assert sum(map(bytes_of, entries(tmp_path))) <= cache_limit(tmp_path)


def test_what_is_in_use_stays_and_too_much_of_it_is_an_error(tmp_path: Path, bound: Callable[[float], None]) -> None:
    bound(2)
    cache = DiskCache(tmp_path)
    held = [put(cache, number) for number in (1, 2)]
    del cache  # the entries are enough
    with pytest.raises(FedSwinError) as error:
        put(DiskCache(tmp_path), 3)
    assert str(error.value) == (
        f"{tmp_path}: the cases in use need 0.000301 GB or more, and the cache may take 0.000204 GB. "
        "Raise FEDSWIN_CACHE_GB or free space on this disk, or set data.cache to memory."
    )
    assert names(tmp_path) == {1, 2}
    del held
    put(DiskCache(tmp_path), 3)
    assert 3 in names(tmp_path)


HOLDER = """
import sys
from pathlib import Path
from fedswin.data.disk_cache import DiskCache
entry = DiskCache(Path(sys.argv[1])).get({"number": 1, "window": (0.0, 1.0)}, lambda: sys.exit("it is not there"))
print("held", flush=True)
sys.stdin.read()
"""


def test_what_another_process_uses_stays_until_it_is_killed(tmp_path: Path, bound: Callable[[float], None]) -> None:
    bound(1)
    put(DiskCache(tmp_path), 1)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(FedSwinError, match="in use"):
        put(DiskCache(tmp_path), 2)
    holder.kill()
    holder.communicate()
    put(DiskCache(tmp_path), 2)
    assert names(tmp_path) == {2}


def test_what_a_killed_process_was_writing_goes(tmp_path: Path) -> None:
    entry = put(DiskCache(tmp_path), 1)
    left = tmp_path / f".{entry._folder.name}.abc"
    shutil.copytree(entry._folder, left)
    put(DiskCache(tmp_path), 2)
    assert not left.exists()
    assert len(list(tmp_path.glob("in-use-*"))) == 2  # of `entry`, and of the cache that has just ended


def test_without_a_bound_a_tenth_of_the_disk_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = put(DiskCache(tmp_path), 1)
    held = bytes_of(entry._folder)

    def limit(free: int) -> int:
        monkeypatch.setattr("shutil.disk_usage", lambda path: Usage(10_000_000, free))
        return cache_limit(tmp_path)

    assert limit(5_000_000) == held + 4_000_000
    assert limit(1_000_000) == limit(10) == held
    monkeypatch.setenv("FEDSWIN_CACHE_GB", "0.002")
    assert limit(5_000_000) == 2_000_000
    assert limit(10) == held + 10
    monkeypatch.setenv("FEDSWIN_CACHE_GB", "lots")
    with pytest.raises(FedSwinError, match="FEDSWIN_CACHE_GB is 'lots'"):
        limit(10)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FedSwinError, match=r"file: preprocessed cases cannot be kept there \(File exists\)"):
        DiskCache(tmp_path / "file")


def test_what_fails_as_it_is_made_leaves_nothing(tmp_path: Path) -> None:
    def make() -> dict[str, NDArray[Any]]:
        raise OSError("the image is gone")

    with pytest.raises(OSError, match="the image is gone"):
        DiskCache(tmp_path).get({"number": 7}, make)
    assert entries(tmp_path) == []


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Reads a case with the given settings, and tells how many entries the cache then has."""
    monkeypatch.setenv("FEDSWIN_CACHE", str(tmp_path / "cache"))
    image = save(tmp_path / "i.nii.gz", hu(0), np.eye(4))

    def read(path: Path = image, **data: Any) -> int:
        Volumes([Case(path)], tiny.job({**tiny.PRETRAIN, "data": {"roi": [32, 32, 32], "cache": "disk", **data}}))
        return len(entries(tmp_path / "cache"))

    return read


def test_a_case_is_known_by_its_content_and_the_settings_that_change_it(
    kept: Callable[..., int], tmp_path: Path
) -> None:
    assert kept() == 1
    os.utime(tmp_path / "i.nii.gz", (1, 1))
    assert kept() == 1
    shutil.copyfile(tmp_path / "i.nii.gz", tmp_path / "elsewhere.nii.gz")
    assert kept(tmp_path / "elsewhere.nii.gz", fold=1, max_bad_cases=3) == 1
    assert kept(hu_window=[-500, 500]) == 2
    assert kept(spacing=[2.0, 2.0, 2.0]) == 3
    assert kept(roi=[32, 32, 64]) == 4
    assert kept(save(tmp_path / "i.nii.gz", hu(1), np.eye(4))) == 5
    text = "".join(path.read_text() for path in (tmp_path / "cache").glob("*/entry.json"))
    assert ".nii" not in text
    assert str(tmp_path) not in text
