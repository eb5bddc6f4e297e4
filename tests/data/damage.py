"""Damages files as archives, networks and people do, by seed."""

from __future__ import annotations

import numpy as np


def damaged(content: bytes, rng: np.random.Generator, header: int) -> bytes:
    """Return ``content`` with one damage.

    Args:
        content: a file.
        rng: chooses what happens, and where.
        header: so many of its first bytes are the likely ones to be hit.
    """
    kind = rng.choice(["flip", "overwrite", "numbers", "truncate", "insert", "repeat", "blank"])
    end = len(content) if rng.random() < 0.2 else min(header, len(content))
    place = int(rng.integers(0, max(1, end)))
    data = bytearray(content)
    if kind == "flip":
        for at in rng.integers(0, max(1, end), int(rng.integers(1, 9))):
            data[at] ^= 1 << int(rng.integers(8))
    elif kind == "overwrite":
        data[place : place + 8] = rng.bytes(8)
    elif kind == "numbers":
        extreme = rng.choice([0x7FFFFFFF, 0xFFFFFFFF, 0x80000000, 0x7FC00000, 0x7F800000, 0])
        data[place : place + 4] = int(extreme).to_bytes(4, "little")
    elif kind == "truncate":
        del data[place:]
    elif kind == "insert":
        data[place:place] = rng.bytes(int(rng.integers(1, 64)))
    elif kind == "repeat":
        data[place:place] = data[place : place + int(rng.integers(1, 256))]
    else:
        data[place : place + int(rng.integers(1, 64))] = bytes(int(rng.integers(1, 64)))
    return bytes(data)
