"""Parts are whole, add up, and lie next to what the shares ask for."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from fedswin.data.dealing.apportion import apportion


@given(
    st.integers(0, 1000), st.lists(st.floats(0, 10), min_size=1, max_size=9).filter(lambda shares: sum(shares) > 0.1)
)
def test_every_part_is_its_quota_rounded_up_or_down(total: int, shares: list[float]) -> None:
    parts = apportion(total, shares)
    assert parts.sum() == total
    for part, share in zip(parts, shares, strict=True):
        quota = total * share / math.fsum(shares)
        assert abs(part - quota) < 1 + 1e-9
        assert part == 0 or share > 0


def test_the_largest_remainders_are_rounded_up() -> None:
    assert apportion(10, [1.9, 3.8, 4.3]).tolist() == [2, 4, 4]
    assert apportion(1, [0.4, 0.6]).tolist() == [0, 1]
