"""Models side by side on the same slices of the same cases, with the reference (paper, figures 4 and 5)."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedswin.config import SegmentationSettings
from fedswin.data.planes import COLOURS, Array, Picture, aspect, grey, overlaid
from fedswin.errors import FedSwinError
from fedswin.training.scores import Score

AXIAL = 2
"""Of a volume in RAS, the axis that axial slices lie across."""

_COLUMN, _GAP = 2.4, 0.06
_LEFT, _TOP, _UNDER, _LINE = 0.6, 0.12, 0.28, 0.18
"""Inches: a column; between two; left of the first; above the first row; below each; a line of text."""
_SMALL = 8
_DPI, _MOST_PIXELS = 200, 20_000
"""Along the longer side of a picture; matplotlib draws none with more than 65,535."""


@dataclass(frozen=True)
class Segmented:
    """What a model makes of a slice.

    Attributes:
        plane: class indices, an upright plane.
        dice: of the whole case, the mean over its annotated classes; ``None`` if the reference holds none of them.
    """

    plane: Array
    dice: Score


@dataclass(frozen=True)
class Row:
    """An axial slice of a case.

    Attributes:
        title: whose case it is, and its name.
        notes: lines below the title.
        image: the image from 0, which is black, to 1, an upright plane as ``planes.upright`` returns it.
        reference: class indices, likewise.
        spacing: the voxel size in mm along R, A and S.
        models: what each model makes of it, in the order of the columns.
    """

    title: str
    notes: tuple[str, ...]
    image: Array
    reference: Array
    spacing: tuple[float, float, float]
    models: Sequence[Segmented]


def class_colours(settings: SegmentationSettings) -> dict[str, int]:
    """Return ``{class: number of its colour}``, from 1, in the job's order.

    The number is the label value, so that an organ has the same colour in jobs of many and of few classes; where two
    classes would share a colour, it is the class's index.
    """
    values = settings.written_values
    distinct = len({value % len(COLOURS) for value in values.values()}) == len(values)
    return values if distinct else settings.class_indices


def panels(row: Row, colours: Sequence[int]) -> list[Picture]:
    """Return the pictures of a row: the image, and laid over it the reference and what each model makes of it.

    Args:
        row: the row.
        colours: the number of the colour of each class 1, 2, …
    """
    numbers = np.array([0, *colours])
    picture = grey(row.image)
    planes = [row.reference, *(model.plane for model in row.models)]
    return [picture, *(overlaid(picture, numbers[plane]) for plane in planes)]


def draw_comparison(
    rows: Sequence[Row], models: Sequence[str], colours: Mapping[str, int], caption: str, out: Path
) -> None:
    """Write a PNG: a row for each case; the image, the reference and each model as columns.

    The patient's right is on the left, the front on top, and a millimetre as wide as high. Below each model stands
    its Dice of the case.

    Args:
        rows: the slices.
        models: the names of the models.
        colours: as ``class_colours`` returns them.
        caption: what stands below the legend.
        out: the PNG to write.

    Raises:
        FedSwinError: if ``out`` cannot be written.
    """
    from matplotlib.figure import Figure

    heads = [textwrap.wrap(name, 24) or [""] for name in ("image", "reference", *models)]
    top = _TOP + _LINE * max(map(len, heads))
    width = _LEFT + len(heads) * (_COLUMN + _GAP)
    shown = _shown_classes(rows, colours)
    notes = [textwrap.wrap(paragraph, int(width * 15)) for paragraph in caption.splitlines()]
    legend_columns = max(1, int(width / 1.7))
    legend = _LINE * (-(-len(shown) // legend_columns) + 1)
    bottom = legend + _LINE * sum(map(len, notes)) + _LINE / 2
    height = top + sum(_COLUMN * _ratio(row) + _UNDER for row in rows) + bottom
    figure = Figure(figsize=(width, height), facecolor="white")
    page = _Page(figure, width, height)
    for number, head in enumerate(heads):
        page.write(page.column(number) + _COLUMN / 2, height - top + 0.06, "\n".join(head), va="bottom", size=10)
    y = height - top
    for row in rows:
        y -= _COLUMN * _ratio(row)
        _draw_row(page, y, row, list(colours.values()))
        y -= _UNDER
    _draw_legend(page, y, shown, legend_columns)
    page.write(0.1, y - legend, "\n".join(line for lines in notes for line in lines), ha="left", va="top", size=_SMALL)
    _save(figure, out)


class _Page:
    """A figure on which places are in inches from its lower left corner."""

    def __init__(self, figure: Any, width: float, height: float) -> None:
        self.figure, self.width, self.height = figure, width, height

    def column(self, number: int) -> float:
        return _LEFT + number * (_COLUMN + _GAP)

    def write(self, x: float, y: float, text: str, **style: Any) -> None:
        # Names are no formulas, whatever they hold.
        style = {"ha": "center", "parse_math": False, **style}
        self.figure.text(x / self.width, y / self.height, text, **style)

    def axes(self, number: int, y: float, height: float) -> Any:
        place = (self.column(number) / self.width, y / self.height, _COLUMN / self.width, height / self.height)
        return self.figure.add_axes(place)


def _draw_row(page: _Page, y: float, row: Row, colours: Sequence[int]) -> None:
    from matplotlib.patheffects import Normal, Stroke

    height = _COLUMN * _ratio(row)
    for number, picture in enumerate(panels(row, colours)):
        axes = page.axes(number, y, height)
        axes.imshow(picture, aspect=aspect(AXIAL, row.spacing), interpolation="nearest")
        axes.axis("off")
    for place, side in ((0.04, "R"), (0.96, "L")):
        where = (page.column(0) + place * _COLUMN, y + height - 0.05)
        edge = [Stroke(linewidth=1.5, foreground="black"), Normal()]  # it may lie on white bone
        page.write(*where, side, va="top", size=_SMALL, color="white", weight="bold", path_effects=edge)
    lines = [line for text in (row.title, *row.notes) for line in textwrap.wrap(text, max(12, int(height * 16)))]
    page.write(
        _LEFT / 2, y + height / 2, "\n".join(lines), rotation=90, va="center", size=_SMALL - 1, multialignment="center"
    )
    for number, model in enumerate(row.models, start=2):
        dice = "no Dice" if model.dice is None else f"Dice {model.dice:.3f}"
        page.write(page.column(number) + _COLUMN / 2, y - 0.05, dice, va="top", size=_SMALL)


def _draw_legend(page: _Page, y: float, shown: Mapping[str, int], columns: int) -> None:
    from matplotlib.patches import Patch

    if not shown:
        return
    patches = [Patch(color=COLOURS[(number - 1) % len(COLOURS)], label=name) for name, number in shown.items()]
    place = {"loc": "upper left", "bbox_to_anchor": (0, y / page.height), "ncols": columns}
    legend = page.figure.legend(handles=patches, **place, fontsize=_SMALL, frameon=False, borderaxespad=0.3)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _shown_classes(rows: Sequence[Row], colours: Mapping[str, int]) -> dict[str, int]:
    """Return the classes that a row shows, and the numbers of their colours."""
    indices = {int(index) for row in rows for plane in _labels(row) for index in np.unique(plane)}
    return {name: number for index, (name, number) in enumerate(colours.items(), start=1) if index in indices}


def _labels(row: Row) -> Iterator[Array]:
    yield row.reference
    yield from (model.plane for model in row.models)


def _ratio(row: Row) -> float:
    """Return how many times as high as wide a slice is in the body."""
    height, width = row.image.shape
    return height * aspect(AXIAL, row.spacing) / width


def _save(figure: Any, out: Path) -> None:
    dpi = min(_DPI, _MOST_PIXELS / max(figure.get_size_inches()))
    try:
        figure.savefig(out, format="png", dpi=dpi)
    except OSError as error:
        raise FedSwinError(f"{out}: cannot write the picture ({error.strerror}). Choose another folder.") from None
