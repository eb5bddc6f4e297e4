"""Pictures of what a model does, drawn at the site into a TensorBoard run of the site's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from fedswin.data.planes import Picture

PICTURES = "tensorboard"
"""The folder of the pictures, in a site's own folder. They show patients, so no part of the program sends them."""
KIND = "pictures"
"""What the tags of pictures begin with, and the TensorBoard run of a site's pictures where they are shared."""

log = logging.getLogger(__name__)


class PictureLog:
    """Writes pictures into ``folder/tensorboard``; those of later steps, by a process before this one, are replaced.

    They are there for people to look at, so one that cannot be drawn, such as on a full disk, is lost and training goes
    on; the first one is logged.

    Args:
        folder: the site's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / PICTURES
        self._writer: SummaryWriter | None = None
        self._complete = True

    def write(self, draw: Callable[[], Mapping[str, Picture]], step: int) -> None:
        """Write what ``draw`` returns.

        Args:
            draw: returns the pictures by name.
            step: the study's optimizer step.
        """
        try:
            self._add(draw(), step)
        except Exception as error:  # whatever it is, no picture is worth a round
            self._writer = None  # its thread has ended; the next one writes a new file
            if self._complete:
                log.warning("%s: a picture cannot be drawn (%s). Training goes on.", self._path, error)
            self._complete = False

    def close(self) -> None:
        """End the thread that writes; the next picture would begin a new file."""
        if self._writer:
            self._writer.close()
            self._writer = None

    def _add(self, pictures: Mapping[str, Picture], step: int) -> None:
        if not pictures:
            return
        if self._writer is None:
            self._writer = SummaryWriter(str(self._path), purge_step=step)
        for name, picture in pictures.items():
            self._writer.add_image(f"{KIND}/{name}", picture, step, dataformats="HWC")
        self._writer.flush()
