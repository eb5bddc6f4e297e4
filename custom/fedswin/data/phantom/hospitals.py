"""How hospitals differ: scanner, protocol, storage, number of cases, and how much is labelled."""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fedswin.data.dealing.apportion import apportion
from fedswin.data.phantom.tissue import Phase
from fedswin.errors import FedSwinError

MOST_SITES = len(string.ascii_lowercase)
FEWEST_CASES = 3  # one for training, one for validation, one for test


@dataclass(frozen=True)
class Hospital:
    """The profile of one site.

    Attributes:
        name: folder name of the site.
        orientation: axis codes in which it stores its files.
        spacing: voxel size along x, y, z relative to the nominal spacing.
        phase: contrast phase of its scans.
        noise: standard deviation in HU inside the body.
        grain: Gaussian sigma in mm that correlates the noise (the reconstruction kernel).
        margin: mm from the skin to the edge of the image along x and y; negative cuts fat away.
        reach: lowest and highest z in mm of the standard anatomy.
        pad: HU outside a circular field of view, or None for a rectangular one.
        table: whether the table is in the picture.
        volume_share: weight for sharing out the cases among the sites.
        labelled: share of the training cases that have a label.
    """

    name: str
    orientation: str
    spacing: tuple[float, float, float]
    phase: Phase
    noise: float
    grain: float
    margin: tuple[float, float]
    reach: tuple[float, float]
    pad: int | None
    table: bool
    volume_share: float
    labelled: float


_FIRST = (
    Hospital(
        "hospital_a", "LPS", (0.90, 0.90, 1.25), "portal", noise=11.0, grain=1.2, margin=(22.0, 28.0),
        reach=(-124.0, 126.0), pad=None, table=True, volume_share=1.0, labelled=1.0,
    ),
    Hospital(
        "hospital_b", "RAS", (1.10, 1.10, 0.80), "arterial", noise=17.0, grain=0.7, margin=(16.0, 50.0),
        reach=(-130.0, 118.0), pad=-3024, table=True, volume_share=1.6, labelled=0.5,
    ),
    Hospital(
        "hospital_c", "PIR", (0.95, 0.95, 1.10), "delayed", noise=14.0, grain=2.2, margin=(-9.0, -6.0),
        reach=(-150.0, 132.0), pad=None, table=False, volume_share=0.4, labelled=0.7,
    ),
)  # fmt: skip


def draw_hospitals(sites: int, rng: np.random.Generator) -> list[Hospital]:
    """Return ``sites`` profiles: three fixed ones, then drawn ones; no two share an orientation.

    Raises:
        FedSwinError: if ``sites`` is not between 1 and 26.
    """
    if not 1 <= sites <= MOST_SITES:
        raise FedSwinError(f"sites is {sites}: ask for 1 to {MOST_SITES} hospitals (they are named by letter).")
    taken = {hospital.orientation for hospital in _FIRST}
    free = [codes for codes in _orientations() if codes not in taken]
    letters = string.ascii_lowercase[len(_FIRST) : sites]
    codes = rng.permutation(free)[: len(letters)]
    names = [f"hospital_{letter}" for letter in letters]
    drawn = [_draw_hospital(name, str(code), rng) for name, code in zip(names, codes, strict=True)]
    return [*_FIRST[:sites], *drawn]


def _draw_hospital(name: str, orientation: str, rng: np.random.Generator) -> Hospital:
    like = _FIRST[rng.integers(len(_FIRST))]
    plane = float(np.round(rng.uniform(0.85, 1.12), 3))
    return replace(
        like,
        name=name,
        orientation=orientation,
        spacing=(plane, plane, float(np.round(rng.uniform(0.8, 1.3), 3))),
        noise=float(rng.uniform(10, 18)),
        grain=float(rng.uniform(0.6, 2.4)),
        volume_share=float(rng.uniform(0.4, 1.6)),
        labelled=float(rng.choice([0.5, 0.7, 1.0])),
    )


def _orientations() -> list[str]:
    """Return all 48 axis codes."""
    orders = itertools.permutations(("RL", "AP", "SI"))
    return ["".join(codes) for order in orders for codes in itertools.product(*order)]


def share_out(shares: Sequence[float], volumes: int) -> list[int]:
    """Return the number of cases of every site: at least 3, ``volumes`` on average, by ``shares``.

    Raises:
        FedSwinError: if ``volumes`` is below three.
    """
    if volumes < FEWEST_CASES:
        raise FedSwinError(
            f"volumes is {volumes}: each hospital needs at least {FEWEST_CASES}, "
            "one each for training, validation and test."
        )
    extra = apportion((volumes - FEWEST_CASES) * len(shares), shares)
    return [int(FEWEST_CASES + more) for more in extra]
