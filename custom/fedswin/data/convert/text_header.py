"""The text headers of NRRD and MetaImage files: where the voxels are, and whether they are packed.

SimpleITK reads the rest. It does not tell these two, without which nobody knows how many voxels a file can hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from fedswin.data.convert.source import ConversionRefusedError

_HEADER_BYTES = 1 << 20
_ORIENTED = {
    *("left-posterior-superior", "lps", "right-anterior-superior", "ras"),
    *("left-anterior-superior", "las"),
}
"""The spaces of NRRD that SimpleITK turns into LPS. It takes the axes of any other as they are."""


class Data(NamedTuple):
    """Where the voxels are.

    Attributes:
        path: the file that holds them: the header's own, or one beside it.
        is_packed: whether they are compressed, by gzip or zlib.
    """

    path: Path
    is_packed: bool


def find_data(header: Path) -> Data:
    """Read the header of an NRRD or MetaImage file.

    Raises:
        ConversionRefusedError: if it is neither, has no orientation, or the voxels are not in one file in its folder.
    """
    try:
        with header.open("rb") as file:
            content = file.read(_HEADER_BYTES)
    except OSError:
        raise ConversionRefusedError("a file that cannot be opened", "Give yourself the right to read it.") from None
    return _nrrd(header, content) if content.startswith(b"NRRD000") else _meta_image(header, content)


def _nrrd(header: Path, content: bytes) -> Data:
    text = content.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("latin-1")
    fields = _fields(line for line in text.split("\n")[1:] if ":=" not in line and not line.startswith("#"))
    if fields.get("space", "").lower() not in _ORIENTED:
        raise ConversionRefusedError("NRRD without orientation", "Save it again with the space that its axes are in.")
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise ConversionRefusedError("NRRD encoded neither as raw nor as gzip", "Save it again as one of these.")
    name = fields.get("data file", fields.get("datafile"))
    return Data(_beside(header, name) if name is not None else header, encoding != "raw")


def _meta_image(header: Path, content: bytes) -> Data:
    before, key, after = content.partition(b"ElementDataFile")
    if not key or b"\n" not in after:
        raise ConversionRefusedError("MetaImage or NRRD with a damaged header", "Copy or convert it again.")
    name = after.partition(b"\n")[0].decode("latin-1").partition("=")[2].strip()
    fields = _fields(before.decode("latin-1").split("\n"), mark="=")
    is_packed = fields.get("compresseddata", "").lower() in ("true", "t", "1")
    return Data(header if name.upper() == "LOCAL" else _beside(header, name), is_packed)


def _fields(lines: Iterable[str], mark: str = ":") -> dict[str, str]:
    fields: dict[str, str] = {}
    for key, _, value in (line.partition(mark) for line in lines):
        if fields.setdefault(key.strip().lower(), value.strip()) != value.strip():
            raise ConversionRefusedError("a header that says one thing in two ways", "Convert it again.")
    return fields


def _beside(header: Path, name: str) -> Path:
    """Return the file ``name`` in the folder of the header, which may name no file elsewhere."""
    path = header.with_name(Path(name).name or "?")
    if name != path.name or not path.is_file():
        fix = "Put it beside its header under that name, or save the volume again as one file."
        raise ConversionRefusedError("a header whose voxels are not in one file beside it", fix)
    return path
