"""What a benchmark is run with: how often, on what, with which cases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch

from fedswin.config import Job, parse_job
from fedswin.data.datalist import Site, read_site
from fedswin.data.phantom import BTCV_ORGANS, write_phantoms

Device = Literal["cpu", "cuda"]
DEVICES: tuple[Device, ...] = ("cpu", "cuda")
DEVICE_NAMES: dict[Device, str] = {"cpu": "CPU", "cuda": "GPU"}
NO_GPU = "torch sees no GPU here"


@dataclass(frozen=True)
class Setup:
    """What a benchmark is run with.

    Attributes:
        folder: an empty folder for all that it writes.
        repeats: how often each side is measured.
        threads: CPU threads of torch.
        devices: where networks are measured.
        quick: make everything tiny: for the shape of the table, not for its figures.
        data: a site folder whose CT is used; phantoms are made without it, and where labels are needed.
        progress: is told what is being measured.
    """

    folder: Path
    repeats: int
    threads: int
    devices: tuple[Device, ...] = DEVICES
    quick: bool = False
    data: Path | None = None
    progress: Callable[[str], None] = lambda _: None

    @cached_property
    def phantoms(self) -> list[Path]:
        """Three site folders of phantoms, made when they are first asked for."""
        spacing, volumes = (6.0, 3) if self.quick else (3.0, 6)
        return write_phantoms(self.folder / "sites", volumes=volumes, spacing=spacing, progress=self.progress)

    @cached_property
    def site(self) -> Site:
        """The cases whose images are read."""
        return read_site(self.data or self.phantoms[0])

    @cached_property
    def labelled_site(self) -> Site:
        """Cases with label maps of the organs of BTCV."""
        return read_site(self.phantoms[0])

    def pretraining(self, feature_size: int, side: int, device: Device = "cpu", **sections: Any) -> Job:
        """Return a pre-training job of 2 sub-volumes a step with two views each, and the paper's heads."""
        return self._job("pretrain", feature_size, (side, side, side), device, 2, sections)

    def demo_pretraining(self, validation_batches: int, trainer: dict[str, Any], federation: dict[str, Any]) -> Job:
        """Return the demo's pre-training at the three phantom sites.

        Args:
            validation_batches: that each model is scored on.
            trainer: settings beside the demo's.
            federation: how many rounds and steps.
        """
        return self.pretraining(
            12,
            32,
            data={"roi": [32, 32, 32], "spacing": [4.0, 4.0, 4.0]},
            pretraining={"reconstruction_head": "deconv5", "validation_batches": validation_batches},
            trainer={"learning_rate": 3e-3, "batch_size": 2, "warmup_steps": 4, **trainer},
            federation={"min_sites": 3, **federation},
        )

    def finetuning(self, feature_size: int, roi: tuple[int, int, int], device: Device = "cpu", **sections: Any) -> Job:
        """Return a fine-tuning job of 13 organs, with one sub-volume a step."""
        classes = {"segmentation": {"classes": dict(BTCV_ORGANS)}}
        return self._job("finetune", feature_size, roi, device, 1, {**classes, **sections})

    def _job(
        self, task: str, feature_size: int, roi: tuple[int, int, int], device: Device, batch: int, sections: Any
    ) -> Job:
        trainer = {"batch_size": batch, "device": device, "cpu_threads": self.threads, "warmup_steps": 0}
        content = {
            "name": f"bench_{task}",
            "task": task,
            "model": {"feature_size": feature_size},
            "data": {"roi": list(roi)},
            "trainer": trainer,
            "federation": {"local_steps": 1},
        }
        return parse_job({**content, **sections}, "bench")


def is_there(device: Device) -> bool:
    """Tell whether torch can use ``device``."""
    return device == "cpu" or torch.cuda.is_available()
