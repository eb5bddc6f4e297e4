"""The settings of a job that differ from the paper's, or from FedSwin's where the paper has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fedswin.config import Job
from fedswin.data.phantom.tissue import BTCV_ORGANS
from fedswin.flat_settings import flat_settings
from fedswin.report.wording import count, readable

# The paper leaves fine-tuning to its supplement: jobs/finetune_btcv.yaml stands for it, and a test keeps these equal.
FINETUNING: dict[str, Any] = {
    "segmentation.classes": BTCV_ORGANS,
    "data.spacing": [1.5, 1.5, 2.0],
    "data.hu_window": [-175.0, 250.0],
    "trainer.learning_rate": 1e-4,
}
_STEPS = {"pretrain": 450_000, "finetune": 25_000}
_OWN = "FedSwin's default; the paper gives none"
_BTCV = "jobs/finetune_btcv.yaml"
_SOURCES = {
    "pretrain": {
        "model.feature_size": "paper, section 3.1",
        "data.hu_window": "jobs/pretrain.yaml",
        "data.spacing": "the paper's code, which does not resample",
        "data.roi": "paper, section 5.2",
        "pretraining.loss_weights": "paper, equation 6",
        "pretraining.rotation": "paper, section 4.2",
        "pretraining.cutout": "paper, sections 4.1 and 5.2",
        "pretraining.crops_per_case": "FedSwin's default; the paper gives none, and its code has 2",
        "pretraining.contrastive_negatives": "paper, equation 5",
        "pretraining.temperature": "the paper's code; the paper gives no value",
        "pretraining.embedding_size": "paper, section 5.2",
        "pretraining.reconstruction_head": "paper, section 4.1",
        "pretraining.token_pooling": "paper, section 4",
        "trainer.batch_size": "paper, section 5.2",
        "trainer.learning_rate": "paper, section 5.2",
        "trainer.betas": "paper, section 5.2",
        "trainer.weight_decay": "paper, section 5.2",
        "trainer.warmup_steps": "paper, section 5.2",
    },
    "finetune": {
        "model.feature_size": "paper, section 3.1",
        "data.spacing": _BTCV,
        "data.hu_window": _BTCV,
        "data.roi": _BTCV,
        "data.folds": "paper, section 5.2",
        "segmentation.classes": "paper, section 5.1: the 13 organs of BTCV",
        "segmentation.squared_dice": "the paper's code",
        "segmentation.overlap": _BTCV,
        "trainer.batch_size": _BTCV,
        "trainer.learning_rate": _BTCV,
        "trainer.weight_decay": _BTCV,
        "trainer.warmup_steps": _BTCV,
    },
}
_WHOLE = ("segmentation.classes", "segmentation.nsd_tolerance")  # a mapping that is one setting
_STUDY_LENGTH = ("federation.rounds", "federation.local_steps")  # compared as their product
_IDENTITY = ("name", "task", "seed", "data.fold")


@dataclass(frozen=True)
class Deviation:
    """A setting that is not as usual.

    Attributes:
        setting: its name in the job file.
        value: its value in the run.
        usual: the value that it is compared with.
        source: where that value comes from.
    """

    setting: str
    value: str
    usual: str
    source: str

    @property
    def is_of_paper(self) -> bool:
        """Whether the paper, or its code, has such a setting."""
        return self.source != _OWN


def deviations(job: Job) -> list[Deviation]:
    """Return every setting that differs, those first that the paper has."""
    usual = _usual(job)
    found = [_steps(job)] if job.total_steps != _STEPS[job.task] else []
    for setting, value in flat_settings(job, _WHOLE).items():
        if setting not in (*_IDENTITY, *_STUDY_LENGTH) and value != usual[setting]:
            found.append(Deviation(setting, _text(value), _text(usual[setting]), _source(job, setting)))
    return sorted(found, key=lambda deviation: not deviation.is_of_paper)


def _usual(job: Job) -> dict[str, Any]:
    """Return what each setting is compared with: the defaults, and the paper's fine-tuning."""
    content: dict[str, Any] = {"name": job.name, "task": job.task}
    if job.task == "pretrain":
        return flat_settings(Job.model_validate(content), _WHOLE)
    defaults = Job.model_validate({**content, "segmentation": {"classes": {"any": 1}}})
    return {**flat_settings(defaults, _WHOLE), **FINETUNING}


def _steps(job: Job) -> Deviation:
    federation = job.federation
    value = f"{count(job.total_steps)} ({federation.rounds} × {federation.local_steps})"
    source = "paper, section 5.2" if job.task == "pretrain" else _BTCV
    return Deviation("federation.rounds × local_steps", value, count(_STEPS[job.task]), source)


def _source(job: Job, setting: str) -> str:
    sources = _SOURCES[job.task]
    return next((text for start, text in sources.items() if setting.startswith(start)), _OWN)


def _text(value: Any, between: str = ", ") -> str:
    if isinstance(value, list):
        return between.join(map(_text, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{readable(name)}: {_text(part, ' + ')}" for name, part in value.items()) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}".replace("-", "−").replace("e−0", "e−") if isinstance(value, float) else readable(str(value))
