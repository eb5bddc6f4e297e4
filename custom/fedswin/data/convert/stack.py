"""How the slices of a series lie in space: on a regular grid, tilted, apart by changing steps, or with some missing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedswin.data.convert.dicom_header import Slice
from fedswin.data.convert.source import ConversionRefusedError

_STEP_TOLERANCE = 0.05
"""Of a step between slices: how far one may lie off a regular grid."""
_SHIFT_TOLERANCE = 0.25
"""Of a pixel: how far a slice may be shifted against the first one."""
FEWEST = 3
"""So many slices at least make a volume."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


class Stack:
    """The slices of one series, sorted along their common normal.

    Attributes:
        slices: the slices.
        heights: (slices,), mm along the normal from the first one, ascending.
        shifts: (slices, 2), mm along a row and along a column from the first one; not zero where the gantry is tilted.
    """

    def __init__(self, slices: Sequence[Slice]) -> None:
        normal = slices[0].normal
        self.slices = sorted(slices, key=lambda item: float(item.position @ normal))
        offsets = np.array([item.position for item in self.slices]) - self.slices[0].position
        self.heights: NDArray[np.float64] = offsets @ normal
        self.shifts: NDArray[np.float64] = offsets @ self.slices[0].axes.T

    @property
    def steps(self) -> NDArray[np.float64]:
        """(slices - 1,), mm between neighbouring slices."""
        return np.diff(self.heights)

    @property
    def tilt(self) -> float:
        """The gantry's tilt in degrees: between the normal, and the line from the first slice to the last."""
        return float(np.degrees(np.arctan2(np.linalg.norm(self.shifts[-1]), self.heights[-1])))

    @property
    def is_tilted(self) -> bool:
        """Whether the slices are shifted against each other, by more than rounding in their headers."""
        return bool(np.abs(self.shifts).max() > _SHIFT_TOLERANCE * min(self.slices[0].spacing))

    @property
    def has_even_steps(self) -> bool:
        """Whether the slices are equally far apart, but for rounding in their headers."""
        even = np.linspace(0.0, self.heights[-1], len(self.slices))
        return bool(np.abs(self.heights - even).max() <= _STEP_TOLERANCE * self.steps.min())

    def require_complete(self) -> None:
        """Refuse a stack with too few slices, or with some missing.

        Raises:
            ConversionRefusedError: saying which.
        """
        if len(self.slices) < FEWEST:
            raise ConversionRefusedError(f"too few slices for a volume: {len(self.slices)}")
        usual = float(np.median(self.steps))
        multiples = self.steps / usual
        gaps = (multiples > 1.5) & (np.abs(multiples - np.round(multiples)) < _STEP_TOLERANCE * multiples)
        if gaps.any() and gaps.sum() < len(self.steps) / 4 and np.allclose(self.steps[~gaps], usual, rtol=0.1):
            missing = int(np.round(multiples[gaps] - 1).sum())
            fix = "Export the series again, whole."
            raise ConversionRefusedError(f"slices are missing: {missing} of {len(self.slices) + missing}", fix)

    def require_regular(self) -> None:
        """Refuse a stack that is no regular grid.

        Raises:
            ConversionRefusedError: with the tilt and the steps.
        """
        found = [f"a gantry tilted by {self.tilt:.1f} degrees"] if self.is_tilted else []
        if not self.has_even_steps:
            found.append(f"steps between slices from {self.steps.min():.2f} to {self.steps.max():.2f} mm")
        if found:
            fix = "Add --resample to interpolate it onto a regular grid."
            raise ConversionRefusedError(f"no regular grid: {' and '.join(found)}", fix)

    def affine(self, step: float, shift: Sequence[float] = (0.0, 0.0)) -> NDArray[np.float64]:
        """Return the affine, RAS, of a regular grid of these slices.

        Args:
            step: mm between its slices.
            shift: mm along a row and along a column from the first slice's first pixel to the grid's.
        """
        first = self.slices[0]
        affine = np.eye(4)
        affine[:3, 0], affine[:3, 1] = first.axes[0] * first.spacing[0], first.axes[1] * first.spacing[1]
        affine[:3, 2] = first.normal * step
        affine[:3, 3] = first.position + np.asarray(shift) @ first.axes
        return LPS_TO_RAS @ affine
