"""The curves of a study: a TensorBoard run for the global model and one for each site, on one axis.

The axis is the study's optimizer step: global model r stands at r x ``federation.local_steps``, beside the steps that
the sites make from there on.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from fedswin.config import Job
from fedswin.flat_settings import flat_settings
from fedswin.records import attendance

TENSORBOARD = "tensorboard"
"""The folder of the curves, in a run folder."""
GLOBAL = "global"
"""The TensorBoard run of the global model."""

_LOSS = "train/loss"
_ROUND_TAGS = {
    "norm": ("round/update_norm", 1.0),
    "cosine": ("round/cosine_to_global_step", 1.0),
    "seconds": ("round/seconds_training", 1.0),
    "waiting": ("round/seconds_waiting", 1.0),
    "bytes_up": ("round/megabytes_up", 1e-6),
    "bytes_down": ("round/megabytes_down", 1e-6),
    "memory": ("round/memory_megabytes", 1e-6),
}
"""The tag of what a record says of a site's part in a round, and the factor to the unit in it."""

log = logging.getLogger(__name__)


class Curves:
    """Writes the curves; what a process before this one drew from the first step on, it replaces.

    They are there for people to look at: a point that cannot be written, such as on a full disk, is lost and the study
    goes on; the first one is logged.

    TensorBoard reads one file of a run at a time, so whoever draws in a study must draw with the same object. Threads
    may share it.

    Args:
        run: the run folder.
        job: the job.
        first_round: the first global model that is going to be scored.
    """

    def __init__(self, run: Path, job: Job, first_round: int = 0) -> None:
        self._folder = run / TENSORBOARD
        self._local_steps = job.federation.local_steps
        self._of_sites = {f"train/{name}" for name in job.training_scalars}
        self._total_steps = job.total_steps
        self._first_step = self._step(first_round)
        self._newest: dict[str, tuple[int, float]] = {}
        self._writers: dict[str, SummaryWriter] = {}
        self._opened: set[str] = set()
        self._lock = threading.Lock()
        self._complete = True
        if not first_round:
            self._try(GLOBAL, partial(self._describe, job))

    def add(self, name: str, tag: str, value: float, step: int) -> None:
        """Draw a point.

        Args:
            name: the TensorBoard run: ``GLOBAL`` or a site.
            tag: the curve.
            value: the point's height.
            step: the study's optimizer step.
        """
        self._try(name, lambda writer: writer.add_scalar(tag, value, step))
        if tag == _LOSS:
            self._newest[name] = (step, value)

    def allows(self, tag: str, step: int | None) -> bool:
        """Tell whether a site may have such a point drawn: a value of a training step, under its known name."""
        return tag in self._of_sites and step is not None and 0 <= step < self._total_steps

    def draw(self, record: Mapping[str, Any]) -> None:
        """Draw a line of ``metrics.jsonl``: the scores of a global model, and how the sites took part in making it."""
        step = self._step(record["round"])
        for name, tag, value in _points(record):
            if value is not None:
                self.add(name, tag, value, step)
        self.flush()

    def newest(self) -> dict[str, tuple[int, float]]:
        """Return the step and the value of each site's newest training loss."""
        return dict(self._newest)

    def flush(self) -> None:
        """Make what has been drawn visible."""
        for name in list(self._writers):
            self._try(name, SummaryWriter.flush)

    def close(self) -> None:
        """Write what has been drawn, and close the files."""
        for name in list(self._writers):
            self._try(name, SummaryWriter.close)
        self._writers.clear()

    def _try(self, name: str, action: Callable[[SummaryWriter], object]) -> None:
        """Do something with the writer of ``name``; after an error, the next one writes a file of its own."""
        with self._lock:
            try:
                action(self._writer(name))
            except OSError as error:
                self._writers.pop(name, None)
                if self._complete:
                    log.warning("%s: the curves cannot be written (%s). The study goes on.", self._folder, error)
                self._complete = False

    def _step(self, round_number: int) -> int:
        return round_number * self._local_steps

    def _writer(self, name: str) -> SummaryWriter:
        if name not in self._writers:
            purge = None if name in self._opened else self._first_step
            self._writers[name] = SummaryWriter(str(self._folder / name), purge_step=purge)
            self._opened.add(name)
        return self._writers[name]

    def _describe(self, job: Job, writer: SummaryWriter) -> None:
        """Show the job's text, and its settings as hyperparameters of the metric that picks the best model."""
        writer.add_text("job", f"```yaml\n{job.to_yaml()}```", 0)
        metric, _ = job.key_metric
        settings = {name: _hyperparameter(value) for name, value in flat_settings(job).items()}
        # In the run's own file: SummaryWriter.add_hparams would open another one.
        for summary in hparams(settings, {f"validation/{metric}": 0.0}):
            writer._get_file_writer().add_summary(summary, 0)


def _points(record: Mapping[str, Any]) -> Iterator[tuple[str, str, float | None]]:
    """Yield ``(TensorBoard run, tag, value)`` of everything that a record holds; some numbers may be unknown."""
    for kind, scores in (("validation", record["global"]), ("validation_pooled", record.get("pooled", {}))):
        yield from ((GLOBAL, f"{kind}/{metric}", value) for metric, value in scores.items())
    if record["status"] != "initial":
        who = attendance(record)
        yield GLOBAL, "round/updates", len(who["answered"])
        yield from ((GLOBAL, f"round/{how}", len(who[how])) for how in ("refused", "late", "missing"))
        known = sorted({*record["sites"], *who["refused"]})
        yield from ((site, "round/refused", float(site in who["refused"])) for site in known)
    for name, site in record["sites"].items():
        yield from ((name, f"validation/{metric}", value) for metric, value in site.get("metrics", {}).items())
        for key, (tag, unit) in _ROUND_TAGS.items():
            value = site.get(key)
            yield name, tag, value if value is None else value * unit


def _hyperparameter(value: Any) -> str | float:
    """Return a setting in the types that TensorBoard takes."""
    return value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
