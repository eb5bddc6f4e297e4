"""Random numbers by address: each draw is a function of who needs it and when, never of what ran before.

So a study that is resumed at step 1000 sees the crops that it would have seen, and validation cannot
disturb training.
"""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *address: str | int) -> np.random.Generator:
    """Return the generator at ``address``, such as ``("hospital_a", "views", 17)``, of a job's ``seed``."""
    return np.random.default_rng([seed, *(_number(part) for part in address)])


def integer(seed: int, *address: str | int) -> int:
    """Return a seed of 32 bits for libraries that take an integer."""
    return int(generator(seed, *address).integers(2**32))


def _number(part: str | int) -> int:
    return zlib.crc32(part.encode()) if isinstance(part, str) else part
