"""Pictures of all sites in one place, where all sites are one's own."""

from __future__ import annotations

import shutil
from pathlib import Path

from fedswin.curves import TENSORBOARD
from fedswin.training.pictures import KIND, PICTURES


def collect_pictures(run: Path) -> None:
    """Copy what each site of the run at ``run`` has drawn to ``tensorboard/<site>/pictures``, a TensorBoard run.

    From there it goes wherever the shared part of the run does. Nothing else copies a picture.
    """
    for folder in sorted((run / "sites").glob(f"*/{PICTURES}")):
        shutil.copytree(folder, run / TENSORBOARD / folder.parent.name / KIND, dirs_exist_ok=True)
