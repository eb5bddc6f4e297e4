"""What a person sees of a hand-over: every tensor of the file and of the model is in one of the table's counts."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from fedswin.weights.file import some
from fedswin.weights.handover import Handover


def show_handover(handover: Handover, console: Console) -> None:
    """Print what was matched, by part of the network, the names of what was not, and what to be warned of."""
    console.print(render_handover(handover))
    for line in describe_unmatched(handover):
        console.print(line, markup=False)
    if handover.warning:
        console.print(f"Warning: {handover.warning}", markup=False)


def render_handover(handover: Handover) -> Table:
    """Return the counts by part of the network as a table for the terminal."""
    table = Table()
    table.add_column("part")
    for column in ("matched", "new", "unused"):
        table.add_column(column, justify="right")
    for part, count in handover.parts().items():
        table.add_row(part, *map(str, count))
    return table


def describe_unmatched(handover: Handover) -> list[str]:
    """Say in a line each what is new, unused, of another shape, or left out of the file."""
    lines = [
        f"new, since its shape is {list(found)} in the file and {list(handover.tensors[name].shape)} here: {name}"
        for name, found in handover.unfit.items()
    ]
    absent = [name for name in handover.new if name not in handover.unfit]
    if absent:
        lines.append(f"new, since the file does not hold them: {some(absent)}")
    if handover.unused:
        lines.append(f"unused, since the model has no place for them: {some(handover.unused)}")
    if handover.source and handover.source.buffers:
        lines.append(f"left out: {handover.source.buffers} integer buffers of the file, since the model has its own")
    return lines
