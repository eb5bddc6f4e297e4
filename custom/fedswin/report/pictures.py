"""The pictures that sites were told to share: those of a run's TensorBoard, the newest of each kind."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import IMAGES, EventAccumulator

from fedswin.run_folder import TENSORBOARD

_PREFIX = "pictures/"


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
    folders = sorted(folder for folder in (run / TENSORBOARD).glob("*") if folder.is_dir())
    return tuple(picture for folder in folders for picture in _of_site(folder))


def _of_site(folder: Path) -> Iterator[Picture]:
    events = {path.parent for path in folder.glob("**/events.out.tfevents.*")}
    for part in sorted(events):
        found = EventAccumulator(str(part), size_guidance={IMAGES: 1})  # the one that it keeps is the newest
        found.Reload()
        for tag in found.Tags()[IMAGES]:
            if tag.startswith(_PREFIX):
                newest = found.Images(tag)[-1]
                encoded = base64.b64encode(newest.encoded_image_string).decode()
                title = tag.removeprefix(_PREFIX).replace("_", " ")
                yield Picture(folder.name, title, newest.step, f"data:image/png;base64,{encoded}")
