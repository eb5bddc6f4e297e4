"""How someone who has only the bundle runs it on a scan, and trains it further."""

from __future__ import annotations

from importlib.metadata import version

from fedswin.exporting.rendering import render
from fedswin.weights.file import Weights

_BIG_SCAN = 512 * 512 * 300
_BYTES_OF_A_PROBABILITY = 16
"""Measured: 15 to 16, with and without resampling."""


def how_to_use(weights: Weights) -> str:
    """Return the sections of a bundle's model card that say how to run the model and how to train it further.

    Args:
        weights: the model that the bundle holds.

    Returns:
        Markdown, with headings of the second level. Its Python code runs in the bundle's folder.
    """
    needed = _BYTES_OF_A_PROBABILITY * (1 + len(weights.job.segmentation.classes))
    return render(
        "bundle.md",
        job=weights.job,
        monai=version("monai"),
        bytes_a_voxel=needed,
        gib=round(needed * _BIG_SCAN / 2**30),
    )
