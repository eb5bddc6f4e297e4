"""Draw cases as a radiologist sees them: three planes a row, labels in colour."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from fedswin.data.datalist import Case
from fedswin.data.planes import AXES, COLOURS, Array, aspect, busiest, upright
from fedswin.errors import needs_extra

_WINDOW = (-160, 240)  # HU, the usual soft-tissue window


def draw_cases(cases: Sequence[Case], out: Path) -> None:
    """Write a PNG with a row per case: axial, coronal and sagittal, the patient's right on the left.

    Each plane is the one that crosses most organs (the middle one, if there is no label).

    Args:
        cases: the cases to draw; a label map is laid over the image in colour.
        out: the PNG to write; an existing file is replaced.

    Raises:
        FedSwinError: if matplotlib (the extra ``report``) is not installed.
    """
    with needs_extra("report", "A picture"):
        from matplotlib.figure import Figure
    figure = Figure(figsize=(11, 3.2 * len(cases)), facecolor="black")
    rows = figure.subplots(len(cases), 3, squeeze=False)
    figure.subplots_adjust(0, 0, 1, 0.96, wspace=0.02, hspace=0.1)
    for row, case in zip(rows, cases, strict=True):
        _draw_case(row, case)
    figure.savefig(out, dpi=58, facecolor="black", pil_kwargs={"optimize": True})


def _draw_case(row: Sequence[Any], case: Case) -> None:
    stored = nib.load(case.image)
    image = nib.as_closest_canonical(stored)
    volume, spacing = np.asarray(image.dataobj), image.header.get_zooms()
    label = _label(case, volume.shape)
    for axes, axis in zip(row, AXES, strict=True):
        place = busiest(label, axis)
        planes = (upright(volume, axis, place), upright(label, axis, place))
        _draw_plane(axes, *planes, aspect=aspect(axis, spacing))
    codes = "".join(nib.aff2axcodes(stored.affine))
    size = " x ".join(f"{value:.1f}" for value in spacing)
    row[1].set_title(f"{case.image.parent.parent.name}: {size} mm, stored as {codes}", color="white", size=10)


def _label(case: Case, shape: tuple[int, ...]) -> Array:
    if case.label is None:
        return np.zeros(shape, np.uint8)
    return np.asarray(nib.as_closest_canonical(nib.load(case.label)).dataobj)


def _draw_plane(axes: Any, plane: Array, label: Array, aspect: float) -> None:
    from matplotlib.colors import to_rgba_array

    axes.imshow(plane, cmap="gray", vmin=_WINDOW[0], vmax=_WINDOW[1], origin="lower", aspect=aspect)
    colours = to_rgba_array(COLOURS, alpha=0.45)[(label.astype(int) - 1) % len(COLOURS)]
    colours[label == 0] = 0
    axes.imshow(colours, origin="lower", aspect=aspect, interpolation="nearest")
    axes.axis("off")
