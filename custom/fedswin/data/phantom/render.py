"""From a patient and a hospital to Hounsfield units and labels on the hospital's grid."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fedswin.data.phantom.anatomy import Patient
from fedswin.data.phantom.frame import WALL, Layer, frame_layers, skin
from fedswin.data.phantom.grid import Grid, grid_over
from fedswin.data.phantom.hospitals import Hospital
from fedswin.data.phantom.organs import organ_layers
from fedswin.data.phantom.shapes import Bounds, Column, HalfSpace, Intersection, Outside, Points, Shrunk
from fedswin.data.phantom.tissue import AIR, hounsfield
from fedswin.data.phantom.warp import warp

Array = NDArray[Any]
_PSF = 1.3  # mm, Gaussian sigma of the scanner's resolution
_LOWEST, _HIGHEST = -1024, 3071  # the 12 bits of CT
_TABLE_SAG = 7.0  # mm between the back and the table's deepest point


@dataclass(frozen=True)
class Anatomy:
    """A drawn patient without a scanner: ``tissue`` HU (float32) and ``label`` (uint8), both (x, y, z)."""

    tissue: Array
    label: Array


def draw_anatomy(patient: Patient, grid: Grid, values: Mapping[str, float]) -> Anatomy:
    """Sample a patient's anatomy at the voxel centres of ``grid``.

    Args:
        patient: the anatomy to draw.
        grid: where to sample, in mm.
        values: HU of every tissue, of ``tissue.hounsfield``.
    """
    points = warp(grid.axes, patient.scale, patient.lattices)
    anatomy = Anatomy(np.full(grid.shape, AIR, np.float32), np.zeros(grid.shape, np.uint8))
    axes = [axis / factor for axis, factor in zip(grid.axes, patient.scale, strict=True)]
    still = np.meshgrid(*axes, indexing="ij", sparse=True)
    reach = max(float(np.abs(moved - place).max()) for moved, place in zip(points, still, strict=True))
    _paint(anatomy, [*frame_layers(patient), *organ_layers(patient)], points, axes, reach, values)
    return anatomy


def _paint(
    anatomy: Anatomy,
    layers: Iterable[Layer],
    points: Points,
    axes: Sequence[Array],
    reach: float,
    values: Mapping[str, float],
) -> None:
    """Paint ``layers`` in turn, each only within its box widened by ``reach`` mm."""
    for layer in layers:
        box = _box(layer.shape.bounds(), axes, reach)
        here = (points[0][box], points[1][box], points[2][box])
        if here[0].size == 0:
            continue
        inside = layer.shape.distance(here) < 0
        anatomy.tissue[box][inside] = values[layer.tissue]
        anatomy.label[box][inside] = layer.label


def _box(bounds: Bounds, axes: Sequence[Array], reach: float) -> tuple[slice, ...]:
    return tuple(
        slice(int(np.searchsorted(axis, low - reach)), int(np.searchsorted(axis, high + reach)))
        for axis, low, high in zip(axes, *bounds, strict=True)
    )


def scan_grid(patient: Patient, hospital: Hospital, spacing: float) -> Grid:
    """Return the grid on which ``hospital`` scans ``patient`` at a nominal voxel size of ``spacing`` mm."""
    half = np.multiply(skin(patient).radii, patient.scale[:2]) + hospital.margin
    low, high = (-half).tolist(), half.tolist()
    ends = np.multiply(hospital.reach, patient.scale[2]).tolist()
    return grid_over([*low, ends[0]], [*high, ends[1]], np.multiply(hospital.spacing, spacing).tolist())


def scan(patient: Patient, hospital: Hospital, spacing: float, rng: np.random.Generator) -> tuple[Array, Array, Grid]:
    """Scan ``patient`` in ``hospital``.

    Args:
        patient: who lies on the table.
        hospital: scanner and protocol.
        spacing: nominal voxel size in mm; the hospital's own spacing is a multiple of it.
        rng: source of the noise.

    Returns:
        HU (int16) and label (uint8), both (x, y, z), and their grid.
    """
    grid = scan_grid(patient, hospital, spacing)
    anatomy = draw_anatomy(patient, grid, hounsfield(hospital.phase, patient.enhancement))
    if hospital.table:
        _paint_table(anatomy, patient, grid)
    sharp = gaussian_filter(anatomy.tissue, [_PSF / s for s in grid.spacing], mode="nearest")
    sharp += draw_noise(rng, hospital, grid) * np.where(sharp < -500, np.float32(0.5), np.float32(1))
    image = np.clip(np.rint(sharp), _LOWEST, _HIGHEST).astype(np.int16)
    if hospital.pad is not None:
        image[outside_circle(grid)] = hospital.pad
    return image, anatomy.label, grid


def draw_noise(rng: np.random.Generator, hospital: Hospital, grid: Grid) -> Array:
    """Draw the scanner's noise on ``grid``: float32 HU, with the hospital's deviation and grain."""
    white = rng.standard_normal(grid.shape, np.float32)
    grain = gaussian_filter(white, [hospital.grain / s for s in grid.spacing])
    result: Array = grain * np.float32(hospital.noise / grain.std())
    return result


def outside_circle(grid: Grid) -> Array:
    """Return which voxels (x, y, z) lie outside the circular field of view, as wide as the image."""
    x, y = grid.axes[0][:, None], grid.axes[1][None]
    outside: Array = np.hypot(x, y) > np.abs(grid.axes[0]).max()
    return np.broadcast_to(outside[:, :, None], grid.shape)


def _paint_table(anatomy: Anatomy, patient: Patient, grid: Grid) -> None:
    """Paint a curved table top under the back: a hard shell around foam. The table does not deform."""
    back = -(WALL[1] + patient.fat) * patient.scale[1] - _TABLE_SAG
    crescent = Intersection(
        (
            Column((0, back + 60), (260, 78)),
            Outside(Column((0, back + 60), (260, 60))),
            HalfSpace((0, back + 22, 0), (0, 1, 0)),
        )
    )
    axes = grid.axes
    points: Points = tuple(np.meshgrid(*axes, indexing="ij", sparse=True))  # type: ignore[assignment]
    for shape, value in ((crescent, -60.0), (Shrunk(crescent, 3.0), -930.0)):
        inside = np.broadcast_to(shape.distance(points) < 0, grid.shape)
        anatomy.tissue[inside & (anatomy.tissue < -900)] = value
