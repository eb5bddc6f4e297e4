"""Whether a file holds as many bytes of voxels as its header claims, found out before they are given any memory."""

from __future__ import annotations

import zlib
from pathlib import Path

from fedswin.data.convert.source import ConversionRefusedError

_CHUNK_BYTES = 1 << 20
_GZIP_OR_ZLIB = 47  # zlib's own code for: whichever of the two the header shows


def require_bytes(path: Path, claimed: int, *, start: int, is_packed: bool) -> None:
    """Refuse a file that cannot hold what its header claims.

    A packed file is unpacked to find out, up to the bytes claimed and in constant memory, so that a small file that
    unpacks to a large one is no more than that.

    Args:
        path: the file.
        claimed: how many bytes it must hold from ``start`` on, unpacked.
        start: where they begin, in the file as it is.
        is_packed: whether they are compressed, by gzip or zlib.

    Raises:
        ConversionRefusedError: if it holds less, or what is packed is damaged.
    """
    held = _unpacked_bytes(path, start, claimed) if is_packed else path.stat().st_size - start
    if held < claimed:
        reason = f"cut off: the header claims {claimed} bytes, the file holds {held}"
        raise ConversionRefusedError(reason, "Copy or convert it again.")


def _unpacked_bytes(path: Path, start: int, enough: int) -> int:
    """Count the bytes that a file unpacks to; no more are counted than are ``enough``, or a chunk above."""
    held, packed = 0, b""
    with path.open("rb") as file:
        file.seek(start)
        unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            while held < enough and (packed := packed or file.read(_CHUNK_BYTES)):
                held += len(unpacker.decompress(packed, _CHUNK_BYTES))
                packed = unpacker.unconsumed_tail
                if unpacker.eof:  # a gzip file may be several, one after the other
                    packed, unpacker = unpacker.unused_data, zlib.decompressobj(_GZIP_OR_ZLIB)
            return held if held >= enough else held + len(unpacker.flush())
        except zlib.error:
            raise ConversionRefusedError("packed data that are damaged", "Copy or convert it again.") from None
