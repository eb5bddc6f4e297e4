"""The 13 organs of BTCV as solids in the standard anatomy, shifted and sized for one patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fedswin.data.phantom.anatomy import Jitter, Patient
from fedswin.data.phantom.frame import Layer, cavity, diaphragm, left_dome, right_dome
from fedswin.data.phantom.shapes import (
    Ellipsoid,
    HalfSpace,
    Intersection,
    Outside,
    Shape,
    Shrunk,
    Tube,
    Union,
    Vector,
)
from fedswin.data.phantom.tissue import BTCV_ORGANS


def organ_layers(patient: Patient) -> list[Layer]:
    """Return the organs in painting order: where two meet, the later one presses into the earlier."""
    built = (build(organ, patient.jitter[organ], patient) for organ, build in _ORDER.items())
    return [layer for layers in built for layer in layers]


def _ellipsoid(centre: Vector, radii: Vector, jitter: Jitter, degrees: Vector = (0, 0, 0)) -> Ellipsoid:
    return Ellipsoid(_moved(centre, jitter), tuple(r * jitter.size for r in radii), degrees)


def _tube(path: Sequence[Vector], radii: Vector, jitter: Jitter) -> Tube:
    return Tube([_moved(point, jitter) for point in path], [r * jitter.size for r in radii])


def _moved(point: Vector, jitter: Jitter) -> Vector:
    return tuple(float(v) for v in np.add(point, jitter.shift))


def _layer(organ: str, shape: Shape, tissue: str = "") -> Layer:
    return Layer(shape, tissue or organ, BTCV_ORGANS[organ])


def _stomach(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    path = [(-58, -2, 68), (-62, 22, 44), (-54, 44, 14), (-28, 56, -12), (8, 50, -14), (22, 40, -8)]
    whole = Intersection((_tube(path, (29, 30, 25, 20, 15, 9), jitter), cavity(4), diaphragm(4)))
    gas = HalfSpace(_moved((0, 30 + patient.gas, 0), jitter), (0, -1, 0))
    return [
        _layer(organ, whole, "gut_wall"),
        _layer(organ, Shrunk(whole, 4.0)),
        _layer(organ, Intersection((Shrunk(whole, 4.5), gas)), "gas"),
    ]


def _liver(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    # The visceral surface is hollow and ends in a sharp lower edge: a great sphere is taken away.
    below = _ellipsoid((-28, -36, -161), (180, 180, 180), Jitter(jitter.shift, 1.0))
    right = Intersection((Shrunk(right_dome(), 1.5 + (1.04 - jitter.size) * 60), Outside(below)))
    left = _ellipsoid((-6, 48, 52), (70, 32, 36), jitter, (10, 14, -8))
    whole = Intersection((Union((right, left), blend=14), cavity(2), diaphragm(1.5)))
    veins = (
        Tube([(22, -8, 84), (50, -8, 72), (88, -14, 48)], (5.5, 4, 2.5)),
        Tube([(22, -8, 84), (44, 22, 68), (62, 52, 42)], (5, 4, 2.5)),
        Tube([(20, -6, 84), (6, 20, 70), (-10, 46, 56)], (4.5, 3.5, 2)),
    )
    inside = [Intersection((vein, Shrunk(whole, 2.0))) for vein in veins]
    return [_layer(organ, whole), *(_layer(organ, vein, "hepatic_vein") for vein in inside)]


def _spleen(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    outer = _ellipsoid((-98, -32, 36), (40, 54, 54), jitter, (14, 0, 12))
    hilum = _ellipsoid((-56, 0, 34), (36, 44, 70), jitter)
    return [_layer(organ, Intersection((outer, cavity(4), left_dome(3), Outside(hilum))))]


def _kidney(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    side = 1 if organ.startswith("right") else -1
    # Both lie along the psoas, upper pole towards the spine; the liver pushes the right one down.
    centre, turn = (side * 62, -45, -46 if side > 0 else -32), (-8, side * 13, side * 25)
    whole = _ellipsoid(centre, (26, 30, 54), jitter, turn)
    inner = Ellipsoid(whole.centre, tuple(r * 0.62 for r in whole.radii), turn)
    hilum = _ellipsoid(np.add(centre, (-side * 17, 8, 0)).tolist(), (15, 9, 21), jitter, turn)
    return [
        _layer(organ, whole, "kidney"),
        _layer(organ, inner, "medulla"),
        Layer(hilum, "sinus_fat"),
    ]


def _gallbladder(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    return [_layer(organ, _ellipsoid((60, 44, -22), (16, 17, 31), jitter, (30, -20, 0)))]


def _pancreas(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    head = [(30, 6, -38), (27, 8, -22), (10, 12, -4), (-12, 13, 6), (-42, 0, 16), (-70, -22, 26)]
    return [_layer(organ, _tube(head, (12, 15, 10.5, 12, 12, 10.5), jitter))]


def _esophagus(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    path = [(-2, -10, 220), (-4, -8, 125), (-12, -4, 96), (-30, -2, 78), (-42, -2, 72)]
    tube = _tube(path, (9, 9, 8.5, 8, 8), jitter)
    return [_layer(organ, tube)]


def _aorta(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    path = [(-17, -30, 220), (-13, -26, 110), (-8, -22, 40), (-7, -20, -40), (-5, -20, -220)]
    return [_layer(organ, _tube(path, (12, 11.5, 10.5, 9, 8.5), jitter))]


def _inferior_vena_cava(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    path = [(19, -22, -220), (20, -19, -60), (23, -15, 0), (25, -9, 50), (20, -4, 92), (15, 4, 112)]
    return [_layer(organ, _tube(path, (10, 10, 10.5, 11, 11.5, 12), jitter))]


def _portal_and_splenic_veins(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    confluence = (8, 1, -6)
    splenic = [confluence, (-16, 0, 4), (-44, -13, 18), (-74, -30, 30)]
    portal = [confluence, (28, 9, 16), (44, 10, 30), (72, 4, 34), (92, -8, 30)]
    left = [(40, 10, 28), (22, 30, 42), (8, 44, 48)]
    mesenteric = [(8, 12, -48), confluence]
    return [
        _layer(organ, _tube(path, radii, jitter))
        for path, radii in (
            (splenic, (5.5, 5, 4.5, 4.5)),
            (portal, (7, 7.5, 6.5, 5, 3)),
            (left, (5, 4.5, 3)),
            (mesenteric, (6, 6)),
        )
    ]


def _adrenal(organ: str, jitter: Jitter, patient: Patient) -> list[Layer]:
    side = 1 if organ.startswith("right") else -1
    top = (side * 32, -30, 30 if side > 0 else 32)
    # An inverted Y: a body in front, and two limbs that straddle the kidney's upper pole.
    body, limbs = (side * 32, -24, top[2] - 13), ((side * 29, -50, 8), (side * 44, -46, 8))
    shape = Union([_tube([body, top, limb], (3.9, 4.6, 3.7), jitter) for limb in limbs])
    return [_layer(organ, shape, "adrenal")]


_ORDER: dict[str, Callable[[str, Jitter, Patient], list[Layer]]] = {
    "stomach": _stomach,
    "liver": _liver,
    "spleen": _spleen,
    "right_kidney": _kidney,
    "left_kidney": _kidney,
    "gallbladder": _gallbladder,
    "pancreas": _pancreas,
    "esophagus": _esophagus,
    "portal_and_splenic_veins": _portal_and_splenic_veins,
    "inferior_vena_cava": _inferior_vena_cava,
    "aorta": _aorta,
    "right_adrenal_gland": _adrenal,
    "left_adrenal_gland": _adrenal,
}
