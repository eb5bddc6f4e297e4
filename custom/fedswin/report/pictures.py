"""The pictures that sites were told to share: those of a run's TensorBoard, the newest of each kind."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from fedswin.curves import TENSORBOARD
from fedswin.report.wording import readable
from fedswin.training.pictures import KIND


@dataclass(frozen=True)
class Picture:
    """A picture of a site.

    Attributes:
        site: the site's name.
        title: what it shows.
        step: the optimizer step of the study at which it was made.
        data: the picture as a ``data:`` address.
    """

    site: str
    title: str
    step: int
    data: str


def read_pictures(run: Path) -> tuple[Picture, ...]:
    """Return the newest picture of each kind and site in a run's shared part; none unless it was told to have some."""
    folders = sorted((run / TENSORBOARD).glob(f"*/{KIND}"))
    return tuple(picture for folder in folders for picture in _read(folder))


def _read(folder: Path) -> Iterator[Picture]:
    found = EventAccumulator(str(folder), size_guidance={IMAGES: 1})  # the one that it keeps is the newest
    found.Reload()
    for tag in found.Tags()[IMAGES]:
        newest = found.Images(tag)[-1]
        encoded = base64.b64encode(newest.encoded_image_string).decode()
        title = readable(tag.removeprefix(f"{KIND}/"))
        yield Picture(folder.parent.name, title, newest.step, f"data:image/png;base64,{encoded}")
