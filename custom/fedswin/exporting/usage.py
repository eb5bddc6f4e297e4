"""The sections of a model card that say how to load an exported file and train it further."""

from __future__ import annotations

from collections.abc import Callable

from fedswin.data.loading import air_level
from fedswin.exporting.rendering import render
from fedswin.weights.file import Weights

_LEAST_ROI = (64, 64, 64)
"""Instance norm cannot work on the bottleneck of a smaller one, on which pre-training may run."""


def usage(form: str) -> Callable[[Weights, str], str]:
    """Return what writes the sections of ``form``, given the model and the name of its file.

    The sections are Markdown, with headings of the second level. The Python code in them runs, block after block, in
    the folder of the file, if the cases that it names are there.
    """

    def how_to_use(weights: Weights, file: str) -> str:
        data = weights.job.data
        return render(
            f"{form}.md",
            job=weights.job,
            file=file,
            air=air_level(data),
            roi=data.roi if max(data.roi) >= 64 else _LEAST_ROI,
        )

    return how_to_use
