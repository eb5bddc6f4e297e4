"""A thousand damaged DICOM files: each is read, or left out with a reason, at once."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pebble import ProcessExpired, ProcessPool

from data.convert.dicom_builder import compress, write_series
from data.damage import damaged
from fedswin.data.convert.dicom_series import find_series
from fedswin.data.convert.dicom_volume import read_series
from fedswin.data.convert.source import ConversionRefusedError, Source

FILES = 1000
HEADER_BYTES = 1500
SPARE_BYTES = 512 << 20


@pytest.fixture
def slices(real_ct, tmp_path):
    """Files of two scanners, and some with compressed pixels."""
    paths = [*sorted((real_ct / "dicom" / "sts_019").iterdir())[::8]]
    paths += sorted((real_ct / "dicom" / "ge_head_variable_tilt").iterdir())[:2]
    for compressor in ("RLE", "JPEG", "JPEGLS", "JPEG2000"):
        packed = write_series(tmp_path / compressor)[0]
        compress(packed, compressor)
        paths.append(packed)
    return paths


def limit_memory() -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + SPARE_BYTES, held + SPARE_BYTES))


def read_one(path: Path) -> str:
    """What becomes of a volume of three slices, of which the file is one."""
    try:
        read_series(Source((path,) * 3, "DICOM", ""), resample=True)
    except ConversionRefusedError as refusal:
        return refusal.reason
    return "read"


def outcomes_of(results: Iterator[str]) -> Iterator[str]:
    while True:
        try:
            yield next(results)
        except StopIteration:
            return
        except ProcessExpired:
            yield "died"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads what a process holds from /proc")
def test_a_thousand_damaged_files_are_read_or_left_out_with_a_reason(slices, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    for number in range(FILES):
        rng = np.random.default_rng(number)
        content = damaged(slices[number % len(slices)].read_bytes(), rng, HEADER_BYTES)
        (folder / f"{number:04d}").write_bytes(content)
    paths = sorted(folder.iterdir())
    with ProcessPool(max_workers=2, initializer=limit_memory) as pool:
        sources, left_out = pool.schedule(find_series, args=[paths], timeout=60).result()
        outcomes = list(outcomes_of(pool.map(read_one, paths, timeout=20).result()))
    assert all(left.reason for left in left_out)
    assert not any("Memory" in left.reason for left in left_out)
    assert len({path for left in left_out for path in left.files}) + sum(len(s.files) for s in sources) == FILES

    assert len(outcomes) == FILES
    assert outcomes.count("read") > FILES / 10
    assert "died" not in outcomes
