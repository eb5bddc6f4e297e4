"""Shapes and deformation against closed forms and scipy's B-splines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.interpolate import BSpline

from fedswin.data.phantom.shapes import (
    Column,
    Ellipsoid,
    HalfSpace,
    Intersection,
    Outside,
    Shape,
    Shrunk,
    Tube,
    Union,
    rotation,
)
from fedswin.data.phantom.warp import Lattice, draw_lattice, warp

AXIS = np.arange(-39.5, 40, dtype=np.float32)  # between whole numbers, so that no point lies on a surface
POINTS = tuple(np.meshgrid(AXIS, AXIS, AXIS, indexing="ij"))
TURNED = Ellipsoid((3, -4, 5), (8, 12, 20), (20, 35, 50))
BENT = Tube([(-15, 0, 0), (0, 10, 5), (15, 0, -5)], (3, 6, 4))


def volume(shape: Shape) -> float:
    return float((shape.distance(POINTS) < 0).sum())


def test_an_ellipsoid_has_its_volume_however_it_is_turned():
    assert volume(TURNED) == pytest.approx(4 / 3 * np.pi * 8 * 12 * 20, rel=0.02)


def test_a_tube_of_one_piece_is_a_capsule():
    capsule = np.pi * 11**2 * 40 + 4 / 3 * np.pi * 11**3
    assert volume(Tube([(-20, 0, 0), (20, 0, 0)], (11, 11))) == pytest.approx(capsule, rel=0.02)


def test_a_rotation_by_a_quarter_about_z_takes_x_to_y():
    np.testing.assert_allclose(rotation((0, 0, 90)) @ (1, 0, 0), (0, 1, 0), atol=1e-12)


@pytest.mark.parametrize(
    "shape",
    [
        TURNED,
        BENT,
        Union((TURNED, BENT), blend=9),
        Intersection((TURNED, HalfSpace((0, 0, 0), (1, 1, 0)))),
        Shrunk(TURNED, 2.0),
        Column((2, 3), (6, 9), 2.5, 20, 12),
    ],
)
def test_nothing_of_a_shape_is_outside_its_bounds(shape):
    low, high = shape.bounds()
    inside = AXIS[np.argwhere(shape.distance(POINTS) < 0)]
    assert len(inside) > 100
    assert (inside >= low).all()
    assert (inside <= high).all()


def test_sets_are_set_operations():
    one, other = TURNED.distance(POINTS) < 0, BENT.distance(POINTS) < 0
    assert np.array_equal(Union((TURNED, BENT)).distance(POINTS) < 0, one | other)
    assert np.array_equal(Intersection((TURNED, BENT)).distance(POINTS) < 0, one & other)
    assert np.array_equal(Intersection((TURNED, Outside(BENT))).distance(POINTS) < 0, one & ~other)


def test_a_blended_union_holds_the_sharp_one_and_fills_the_seam():
    sharp, blended = (Union((TURNED, BENT), blend).distance(POINTS) < 0 for blend in (0, 9))
    assert (blended >= sharp).all()
    assert blended.sum() > sharp.sum()


def test_a_cut_column_has_its_blocks():
    assert volume(Column((0, 0), (10, 10), 2, 20, 12)) == pytest.approx(4 * 12 * np.pi * 100, rel=0.02)


def test_the_lattice_is_scipys_cubic_bspline():
    step, count = 10.0, 9
    values = np.random.default_rng(3).normal(size=count)
    lattice = Lattice(step, np.broadcast_to(values[:, None, None], (3, count, count, count)).astype(np.float32))
    x = np.linspace(-15, 15, 13)
    # Constant along y and z, so that along x one spline is left; its first knot lies two steps early.
    knots = (np.arange(count + 4) - (count - 1) / 2 - 2) * step
    moved = lattice.sample([x, np.zeros(1), np.zeros(1)])[1][:, 0, 0]
    np.testing.assert_allclose(moved, BSpline(knots, values, 3)(x), atol=1e-5)


def test_a_deformation_stays_within_its_amplitude_and_does_not_fold():
    axes = [np.arange(-100, 101, 4.0)] * 3
    lattice = draw_lattice(np.random.default_rng(0), 75.0, 20.0)
    x, y, z = warp(axes, (1, 1, 1), [lattice])
    still = np.meshgrid(*axes, indexing="ij")
    moves = [np.abs(moved - place).max() for moved, place in zip((x, y, z), still, strict=True)]
    assert 1 < max(moves) <= 20
    assert (np.diff(x, axis=0) > 0).all()
    assert (np.diff(y, axis=1) > 0).all()
    assert (np.diff(z, axis=2) > 0).all()


def test_scale_makes_a_larger_patient():
    x, _, _ = warp([np.array([-10.0, 10.0])] * 3, (2, 1, 1), [])
    assert x[:, 0, 0].tolist() == [-5, 5]
