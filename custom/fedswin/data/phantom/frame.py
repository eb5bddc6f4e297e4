"""What surrounds the organs: skin, fat, muscle, bones, lungs, heart and bowel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fedswin.data.phantom.anatomy import Patient
from fedswin.data.phantom.shapes import (
    Array,
    Bounds,
    Column,
    Ellipsoid,
    HalfSpace,
    Intersection,
    Outside,
    Points,
    Shape,
    Shrunk,
    Tube,
    Union,
)

WALL = (150.0, 104.0)  # half width and depth in mm of the trunk without the fat under the skin
CAVITY = (136.0, 91.0)  # inside the muscles and ribs
POWER = 2.3  # a trunk is a little boxier than an ellipse
LEVEL = 33.0  # from one vertebra to the next


@dataclass(frozen=True)
class Layer:
    """A solid to paint over what is there: its ``tissue`` and its label value (0: background)."""

    shape: Shape
    tissue: str
    label: int = 0


def skin(patient: Patient) -> Column:
    """Return the outline of the trunk."""
    return Column((0, 0), (WALL[0] + patient.fat, WALL[1] + patient.fat), POWER)


def cavity(depth: float = 0.0) -> Shape:
    """Return the inside of the trunk, ``depth`` mm away from its muscles and ribs."""
    return Column((0, 0), (CAVITY[0] - depth, CAVITY[1] - depth), POWER)


def right_dome(depth: float = 0.0) -> Ellipsoid:
    """Return the space under the right half of the diaphragm, ``depth`` mm below it."""
    return Ellipsoid((66, 6, -8), (74 - depth, 87 - depth, 108 - depth))


def left_dome(depth: float = 0.0) -> Ellipsoid:
    """Return the space under the left half of the diaphragm, which stands a little lower."""
    return Ellipsoid((-64, 3, -10), (74 - depth, 87 - depth, 101 - depth))


def diaphragm(depth: float = 0.0) -> Shape:
    """Return all that lies under the diaphragm, ``depth`` mm below it."""
    centre = Ellipsoid((0, 28, -8), (84 - depth, 62 - depth, 96 - depth))
    return Union((right_dome(depth), left_dome(depth), centre))


def frame_layers(patient: Patient) -> list[Layer]:
    """Return the layers from the skin inwards, in painting order, without organs."""
    return [
        Layer(skin(patient), "muscle"),  # the skin itself: a thin rim of soft tissue
        Layer(Shrunk(skin(patient), 2.0), "fat"),
        Layer(Column((0, 0), WALL, POWER), "muscle"),
        Layer(cavity(), "fat"),
        *_chest(),
        *_muscles(),
        *_spine(),
        Layer(RibCage(), "rib"),
        *_bowel(patient),
    ]


def _chest() -> list[Layer]:
    # The pleura reaches lower at the back than at the front.
    above = HalfSpace((0, -80, 0), (0, 0.5, -1))
    mediastinum = Union((Ellipsoid((-6, -14, 115), (27, 30, 75)), Ellipsoid((0, 75, 125), (30, 22, 40))))
    heart = Ellipsoid((-24, 34, 128), (60, 44, 34), (0, 15, 0))
    return [
        Layer(Intersection((cavity(), above)), "muscle"),
        Layer(Intersection((cavity(3), above, Outside(diaphragm()))), "lung"),
        Layer(Intersection((cavity(), diaphragm(3))), "fat"),
        Layer(mediastinum, "fat"),
        Layer(Intersection((heart, Outside(diaphragm(-3)))), "heart"),
    ]


def _muscles() -> list[Layer]:
    layers = []
    for side in (-1, 1):
        psoas = Tube([(side * 27, -50, 0), (side * 40, -46, -80), (side * 54, -36, -220)], (8, 17, 22))
        crus = Tube([(side * 17, -26, 80), (side * 15, -27, 0), (side * 12, -32, -45)], (4, 5, 3))
        back = Column((side * 36, -84), (32, 18), 2.4)
        quadratus = Tube([(side * 66, -70, 0), (side * 76, -66, -220)], (8, 13))
        layers += [Layer(shape, "muscle") for shape in (back, psoas, quadratus, crus)]
    return layers


def _spine() -> list[Layer]:
    body = Column((0, -48), (22, 16.5), 2.2, LEVEL, 26)
    whole = Column((0, -48), (22, 16.5), 2.2)
    arch = Column((0, -70), (16, 12), 2.0, LEVEL, 22)
    wings = [Tube([(s * 10, -72, z), (s * 38, -76, z)], (5, 3)) for s in (-1, 1) for z in _levels()]
    return [
        Layer(whole, "disc"),
        Layer(body, "cortical_bone"),
        Layer(Column((0, -48), (20, 14.5), 2.2, LEVEL, 23), "cancellous_bone"),
        *(Layer(wing, "rib") for wing in wings),
        Layer(arch, "cortical_bone"),
        Layer(Column((0, -90), (4, 13), 2.0, LEVEL, 20), "rib"),
        Layer(Column((0, -70), (11, 7.5)), "canal"),
    ]


def _levels() -> list[float]:
    """Return the height in mm of the middle of every vertebra from the lowest to the highest."""
    return [LEVEL * (n + 0.5) for n in range(-7, 6)]


@dataclass(frozen=True)
class RibCage:
    """Ribs 6 to 12: bands around the trunk, one a vertebra, that fall from the spine to the front.

    Attributes:
        drop: how far in mm a rib falls from back to front.
        lowest: number of the vertebra (0: the one above z = 0) that carries the last rib.
    """

    drop: float = 75.0
    lowest: int = 0

    def distance(self, points: Points) -> Array:
        """Return the distance to the nearest rib: the worst of depth in the wall, height, and length."""
        x, y, z = points
        ring = ((np.abs(x) / 143) ** POWER + (np.abs(y) / 97) ** POWER) ** (1 / POWER)
        angle = np.arctan2(np.abs(x) * np.float32(97 / 143), -y)  # 0 at the back, pi at the front
        height = z + self.drop * np.sin(angle / 2) ** 2
        number = np.floor(height / LEVEL)
        across = np.hypot((ring - 1) * 97 / 4.5, (np.mod(height, LEVEL) - LEVEL / 2) / 7) - 1
        # The last two ribs end free at the flank; the others reach cartilage in front.
        end = np.clip(1.1 + 0.6 * (number - self.lowest), 0.0, 2.5)
        length = np.where(number < self.lowest, 9.0, np.maximum(angle - end, 0.42 - angle) * 100)
        result: Array = np.maximum(across * 4.5, length)
        return result

    def bounds(self) -> Bounds:
        """Return the box around the ribs; they go on upwards."""
        low = LEVEL * self.lowest - self.drop
        return np.array([-150, -104, low]), np.array([150, 104, np.inf])


def _bowel(patient: Patient) -> list[Layer]:
    loops: list[Shape] = [
        Ellipsoid((x, y, z), (radius * 1.6, radius, radius), (0, 0, 40 * number))
        for number, (x, y, z, radius) in enumerate(patient.bowel)
    ]
    duodenum = Tube([(24, 34, -8), (46, 14, -12), (50, 6, -50), (30, 2, -66), (-25, 4, -62)], (13, 13, 12, 12, 11))
    small = [*loops, duodenum]
    walls = [Layer(shape, "gut_wall") for shape in small]
    return [*walls, *(Layer(Shrunk(shape, 3.0), "bowel_content") for shape in small), *_colon()]


def _colon() -> list[Layer]:
    right = Tube([(100, -12, -220), (98, -12, -90), (88, 20, -72), (40, 62, -62), (0, 70, -66)], (22, 22, 20, 17, 16))
    middle = Tube([(0, 70, -66), (-50, 60, -58), (-92, 22, -28), (-106, -8, -22)], (16, 16, 17, 17))
    left = Tube([(-106, -8, -22), (-108, -24, -60), (-106, -28, -220)], (17, 14, 14))
    whole = Union((right, middle, left))
    gas = HalfSpace((0, 62, 0), (0, -1, 0))  # rises to the front of a patient who lies on the back
    return [
        Layer(whole, "gut_wall"),
        Layer(Shrunk(whole, 3.0), "stool"),
        Layer(Intersection((Shrunk(whole, 4.0), gas)), "gas"),
    ]
