"""Site folders in which everything that can hold a text holds a marker, and the search for it."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib

from end_to_end import tiny
from fedswin.data.datalist import DATALIST, SPLITS

MARKER = "Zq7mElster"
"""Ten letters, which fit into the shortest text of a NIfTI header, and which no library has."""
_SPELLINGS = [MARKER.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be")]


def write_marked_sites(folder: Path, training: dict[str, int]) -> Path:
    """Write the sites of `tiny.write_sites` below a folder with the marker in its name, and return that."""
    sites = tiny.write_sites(folder / f"of {MARKER}", training)
    for name in training:
        _mark(sites / name)
    return sites


def _mark(site: Path) -> None:
    content = json.loads((site / DATALIST).read_text())
    for number, entry in enumerate(entry for split in SPLITS for entry in content[split]):
        entry["patient"] = f"{MARKER} {number}"
        for part in ("image", "label"):
            old = site / entry[part]
            entry[part] = f"{part} {MARKER}/{MARKER}_{number}.nii.gz"
            (site / entry[part]).parent.mkdir(exist_ok=True)
            volume = nib.load(old)
            for field in ("descrip", "aux_file", "intent_name", "db_name"):
                volume.header[field] = MARKER
            nib.save(volume, site / entry[part])
            old.unlink()
    (site / DATALIST).write_text(json.dumps(content))


def files_with(text: bytes, folder: Path) -> list[str]:
    """Return which files below ``folder``, and which members of archives among them, hold ``text``."""
    return [name for name, content in _files(folder) if text in content]


def files_named(name: str, folder: Path) -> list[str]:
    """Return which files below ``folder``, and which members of archives among them, have a name."""
    return [path for path, _ in _files(folder) if path.endswith(f"/{name}")]


def marked(folder: Path) -> list[str]:
    """Return what below ``folder`` has the marker in it or in its path: files, and members of archives."""
    return [
        path
        for path, content in _files(folder)
        if MARKER in path or any(spelling in content for spelling in _SPELLINGS)
    ]


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield from _contents(path.relative_to(folder).as_posix(), path.read_bytes())


def _contents(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    yield name, content
    if content[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.namelist():
                yield from _contents(f"{name}/{member}", archive.read(member))
    elif content[:2] == b"\x1f\x8b":
        yield from _contents(f"{name}/content", gzip.decompress(content))
