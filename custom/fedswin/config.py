"""Every setting of a job, typed. Defaults are the paper's pre-training, where it gives a value.

A fine-tuning job sets what the paper leaves to its supplement, or it gets the values of pre-training: ``data.spacing``,
``data.hu_window``, ``trainer.learning_rate``, ``federation.rounds`` and ``federation.local_steps``.

A job file is YAML with the sections below; an unknown key is refused with the nearest name. "Paper" is
Tang et al., "Self-Supervised Pre-Training of Swin Transformers for 3D Medical Image Analysis", CVPR 2022.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from fedswin.aggregation_settings import AggregationSettings
from fedswin.errors import FedSwinError, nearest
from fedswin.job_problems import job_problem
from fedswin.old_records import as_recorded, is_record
from fedswin.settings import NotNegative, Positive, Section, parse_section, read_mapping

Encoding = Literal["fp32", "fp16", "int8"]
Precision = Literal["float32", "bfloat16"]
_NSD_TOLERANCE_MM = 1.0


class ModelSettings(Section):
    """The Swin encoder (paper, section 3.1: patch 2, window 7, depths 2-2-2-2, heads 3-6-12-24)."""

    feature_size: Literal[12, 24, 48] = 48
    """C, the width of the first stage."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    attention: Literal["windowed", "monai"] = "windowed"
    """How the windows' attention is worked out: a few windows at a time and again in the backward pass, or by MONAI's
    own modules, with more time and memory. Parameters and results are the same, these to rounding."""


class DataSettings(Section):
    """From a NIfTI file to a sub-volume."""

    channels: tuple[str, ...] = ("CT",)
    """The modality of each channel, in the image's order. ``CT`` is windowed; every other modality is scaled to mean 0
    and standard deviation 1 over its voxels above 0."""
    spacing: tuple[float, float, float] | None = None
    """Voxel size in mm along R, A and S after resampling; null keeps the image's own, as the paper's code does
    in pre-training."""
    hu_window: tuple[float, float] = (-1000.0, 1000.0)
    """Hounsfield units mapped to 0 and 1; values outside are clipped. The default is that of pre-training."""
    roi: tuple[Positive, Positive, Positive] = (96, 96, 96)
    """Size of a sub-volume in voxels along R, A and S."""
    folds: Annotated[int, Field(ge=2)] = 5
    """Number of folds of a cross-validation (paper, section 5.2: five)."""
    fold: Annotated[int, Field(ge=0)] | None = None
    """The fold whose patients are for validation, from 0; null keeps the split of the datalist."""
    max_bad_cases: Annotated[int, Field(ge=0)] = 1
    """Cases of training and validation that a site may skip because something is wrong with their files, which its own
    log then says; with more of them it takes no part."""
    cache: Literal["memory", "disk"] = "memory"
    """Where preprocessed volumes are kept, in 16 bits: in RAM, or below ``FEDSWIN_CACHE`` (``~/.cache/fedswin`` without
    it), where all jobs share them, up to ``FEDSWIN_CACHE_GB`` (without it, until a tenth of the disk is left)."""

    @property
    def is_ct(self) -> bool:
        """Whether images are CT, in Hounsfield units."""
        return self.channels == ("CT",)

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if not self.channels or ("CT" in self.channels and not self.is_ct):
            raise ValueError(f"channels {list(self.channels)}: name one or more; CT only by itself")
        if any(side % 32 for side in self.roi):
            raise ValueError(
                f"roi {list(self.roi)}: every side must be a multiple of 32, since Swin UNETR halves it five times"
            )
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError(f"hu_window {list(self.hu_window)}: the lower bound must be below the upper one")
        if self.fold is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold}: there are {self.folds} folds, numbered from 0")
        if self.spacing and min(self.spacing) <= 0:
            raise ValueError(f"spacing {list(self.spacing)}: every voxel size must be above 0 mm")
        return self


class LossWeights(Section):
    """The lambdas of the paper's equation 6. With 0 the task is left out, and its head with it (paper, table 4)."""

    inpainting: NotNegative = 1.0
    rotation: NotNegative = 1.0
    contrastive: NotNegative = 1.0


class PretrainingSettings(Section):
    """The three proxy tasks (paper, section 4)."""

    loss_weights: LossWeights = LossWeights()
    rotation_axis: Literal["x", "y", "z"] = "z"
    """Patient axis of the rotations by 0, 90, 180 and 270 degrees (paper: z, head to foot)."""
    cutout_rate: Annotated[float, Field(ge=0, le=0.9)] = 0.3
    """Share of the voxels that is dropped from each view."""
    cutout: Literal["noise", "noise_and_swap"] = "noise"
    """Noise in ``cutout_rate`` of the voxels (paper), or in up to as many, and then as many again swapped with
    another view (reference code)."""
    temperature: Annotated[float, Field(gt=0)] = 0.5
    """Of the contrastive loss (paper, equation 5); the paper gives no value, and this is the reference code's."""
    embedding_size: Positive = 512
    """Length of the vectors that the contrastive loss compares (paper, section 5.2)."""
    reconstruction_head: Literal["transposed", "deconv5", "vae"] = "transposed"
    """One transposed convolution (paper); five transposed ones of x2, an eighth of its parameters at C=48; or five
    stages of convolution, instance norm and upsampling (reference code)."""
    rotation_head: Literal["mlp", "linear"] = "mlp"
    """An MLP (paper, section 4.2), or one linear layer (reference code)."""
    token_pooling: Literal["mean", "first"] = "mean"
    """What the rotation and contrastive heads read of the bottleneck: the mean over its tokens, or token 0 and
    token 1 (reference code)."""
    crops_per_case: Positive = 1
    """Sub-volumes of each case in a batch, of which ``trainer.batch_size`` is a multiple. By default each is of a case
    of its own, as far as there are so many; the reference code's batch is one case with two."""
    contrastive_negatives: Literal["all", "other_patients"] = "all"
    """The contrastive loss tells a view's partner from all other views of the batch (paper, equation 5), or only from
    those of other patients. A view without any, since its batch is of one patient, then counts with a loss of 0."""
    validation_batches: Positive = 8
    """Batches that a site scores each global model on, always the same ones, from its validation cases."""


class SegmentationSettings(Section):
    """What is segmented, and how it is scored."""

    classes: dict[str, int | Annotated[list[int], Field(min_length=1)]] = Field(default_factory=dict)
    """``{name: label value or list of values}``, in the order of the output channels after background."""
    background: list[int] = Field(default_factory=list)
    """Label values beside 0 that count as background; any other value in a label map is an error."""
    decoder: Literal["unetr", "linear"] = "unetr"
    """MONAI's Swin UNETR (paper, section 3.2), or a linear layer on the encoder's five feature maps, to probe them."""
    squared_dice: bool = False
    """Square the terms of the Dice loss's denominator, an option of the paper's code that is off there, too."""
    overlap: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """Overlap of neighbouring windows in sliding-window inference."""
    nsd_tolerance: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    """``{class: mm}``: how far a surface may lie off and still count as right in the NSD; 1 mm if not given."""

    @model_validator(mode="after")
    def _check(self) -> SegmentationSettings:
        values = [0, *self.background, *(value for values in self.label_values for value in values)]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise ValueError(f"label value {twice[0]} is used twice; 0 is always background")
        for name in self.nsd_tolerance.keys() - self.classes.keys():
            raise ValueError(f"nsd_tolerance names '{name}', which is no class{nearest(name, self.classes)}")
        return self

    @property
    def class_indices(self) -> dict[str, int]:
        """The index of each class in label maps and output channels: 1, 2, …; 0 is background."""
        return {name: index for index, name in enumerate(self.classes, start=1)}

    @property
    def tolerances(self) -> dict[str, float]:
        """The NSD's tolerance of each class, in mm."""
        return {name: self.nsd_tolerance.get(name, _NSD_TOLERANCE_MM) for name in self.classes}

    @property
    def label_values(self) -> list[list[int]]:
        """The label values of each class."""
        return [values if isinstance(values, list) else [values] for values in self.classes.values()]

    @property
    def written_values(self) -> dict[str, int]:
        """The label value that each class is written with: its only one, or the first of several."""
        return {name: values[0] for name, values in zip(self.classes, self.label_values, strict=True)}

    @property
    def known_values(self) -> set[int]:
        """Every label value that a label map may hold."""
        return {0, *self.background, *(value for values in self.label_values for value in values)}


class AugmentationSettings(Section):
    """Probabilities of the fine-tuning augmentations: a flip, for each axis; one to three quarter turns, in a plane
    whose sides are equal; intensity times 0.9 to 1.1; and plus -0.1 to 0.1, where the HU window is 0 to 1."""

    flip: Annotated[float, Field(ge=0, le=1)] = 0.2
    rotate90: Annotated[float, Field(ge=0, le=1)] = 0.2
    scale_intensity: Annotated[float, Field(ge=0, le=1)] = 0.1
    shift_intensity: Annotated[float, Field(ge=0, le=1)] = 0.1


class TrainerSettings(Section):
    """The optimizer and the machine (paper, section 5.2: AdamW, 4e-4, 1e-5, 500 warm-up iterations, cosine)."""

    batch_size: Positive = 4
    """Sub-volumes a step, in each of a site's trainer processes; in pre-training each gives two views."""
    learning_rate: Annotated[float, Field(gt=0)] = 4e-4
    betas: tuple[float, float] = (0.9, 0.999)
    """Of AdamW; the first is the paper's momentum."""
    weight_decay: NotNegative = 1e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 500
    """Optimizer steps of the whole study, not of each round."""
    gradient_clip: Annotated[float, Field(gt=0)] | None = 1.0
    """Largest norm of the gradient; null switches clipping off."""
    amp: bool = True
    """Multiply in bfloat16 on a GPU, and on a CPU that has instructions for it (AVX512-BF16 or AMX) where it is faster:
    in fine-tuning, and in pre-training from feature size 24 on. A site's log and the run's provenance say which."""
    compile: bool = False
    """Train with ``torch.compile``. The first step takes minutes, on a CPU the more so, where it gains little."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """``auto`` is a GPU if the process sees one. ``fedswin simulate`` shows it those of ``--gpus``, or none."""
    frozen: list[str] = Field(default_factory=list)
    """Modules that are not trained, such as ``swinViT``: they stay bit for bit as they were, and are sent."""
    cpu_threads: Positive | None = None
    """CPU threads of each of a site's trainer processes; null shares the cores among the sites on this machine."""


class SelectionSettings(Section):
    """Which global model is the best one, and when to stop looking for a better one."""

    metric: str | None = None
    """A metric that the sites report; null is ``loss`` for pre-training and ``dice`` for fine-tuning."""
    mode: Literal["min", "max"] | None = None
    """Whether less or more of it is better; null takes what is usual for the metric."""
    patience: Positive | None = None
    """Stop after so many scored models in a row without a new best one; null trains all rounds."""


class FederationSettings(Section):
    """Rounds, sites, what they exchange, and what happens when one fails."""

    rounds: Positive = 900
    local_steps: Positive = 500
    """Optimizer steps of a site in one round; rounds x local_steps is the study's length, by default that of the
    paper's pre-training."""
    min_sites: Positive = 1
    """The quorum: a round with fewer updates keeps the old model, and counts as failed."""
    sites: list[str] | None = None
    """The sites that take part; null takes every site there is."""
    gpus: Annotated[int, Field(ge=0)] = 0
    """GPUs that a real site must give the job; 0 asks for none, and the site trains on what its process sees."""
    sample: Literal["all"] | Positive = "all"
    """How many sites train in a round, drawn anew for each; every site scores every model."""
    round_timeout: Annotated[float, Field(gt=0)] = 86400.0
    """Seconds after which a round closes with the answers that have come."""
    grace_after_quorum: NotNegative | None = None
    """Seconds that a round stays open once ``min_sites`` have answered; null waits for all, up to the timeout."""
    silence_timeout: Annotated[float, Field(gt=0)] = 120.0
    """Seconds without a sign of life after which a round that has its quorum no longer waits for a site."""
    max_failed_rounds: Positive = 3
    """So many failed rounds in a row end the study, with the last good model saved."""
    max_norm_ratio: Annotated[float, Field(gt=1)] | None = 10.0
    """Refuse an update whose norm is above this multiple of the median of the recent rounds; null takes any."""
    exchange: Encoding = "fp32"
    """What crosses: whole models, exact; or differences in 16 or 8 bits, whose error is fed back in the next round."""
    local: list[str] = Field(default_factory=list)
    """Modules that each site keeps to itself, such as ``rotation`` or ``out``: trained there and never sent."""
    proximal: NotNegative = 0.0
    """FedProx's mu (Li et al., 2020): pulls a site's model towards the global one; 0 switches it off. It has no effect
    in ``fedswin train``, where there is no global model."""
    aggregation: AggregationSettings = AggregationSettings()
    selection: SelectionSettings = SelectionSettings()
    reset_optimizer: bool = False
    """Start each round with a fresh optimizer instead of the site's own from the round before."""
    stale_optimizer: Literal["keep", "reset", "decay"] = "keep"
    """What a site does with its optimizer's moments when it trains again after rounds without it: keeps them as they
    are, starts a fresh optimizer, or lets them decay as AdamW would in the missed steps with gradients of 0. After some
    thousand missed steps with betas of 0.9 and 0.999 a decayed second moment is next to 0, and the site's first ten
    steps grow to 6 times the learning rate; a fresh optimizer corrects for that, see Kingma and Ba, 2015."""

    @model_validator(mode="after")
    def _check(self) -> FederationSettings:
        if self.sample != "all" and self.sample < self.min_sites:
            raise ValueError(f"sample {self.sample} is below min_sites {self.min_sites}, so every round would fail")
        if self.aggregation.rule == "trimmed_mean" and self.min_sites <= 2 * self.aggregation.trim:
            raise ValueError(
                f"min_sites {self.min_sites}: a trimmed mean with trim {self.aggregation.trim} needs at least "
                f"{2 * self.aggregation.trim + 1} sites"
            )
        if self.reset_optimizer and self.stale_optimizer != "keep":
            raise ValueError(
                f"stale_optimizer '{self.stale_optimizer}' has no effect with reset_optimizer: every round starts with "
                "a fresh optimizer. Leave one of them out"
            )
        return self


class Job(Section):
    """What to train and how to federate it; never where a hospital's data is."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    task: Literal["pretrain", "finetune"]
    seed: Annotated[int, Field(ge=0)] = 0
    model: ModelSettings = ModelSettings()
    data: DataSettings = DataSettings()
    pretraining: PretrainingSettings = PretrainingSettings()
    segmentation: SegmentationSettings = SegmentationSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    trainer: TrainerSettings = TrainerSettings()
    federation: FederationSettings = FederationSettings()

    @model_validator(mode="after")
    def _check(self) -> Job:
        if problem := job_problem(self):
            raise ValueError(problem)
        return self

    @property
    def total_steps(self) -> int:
        """Optimizer steps of the whole study."""
        return self.federation.rounds * self.federation.local_steps

    @property
    def training_scalars(self) -> list[str]:
        """The values that a site tells of each training step: losses, and how the step went."""
        of_the_step = ["learning_rate", "gradient_norm", "steps_per_second", "voxels_per_second", "memory_megabytes"]
        return [*self._losses, *["proximal"] * bool(self.federation.proximal), *of_the_step, "waiting_seconds"]

    @property
    def voxels_per_step(self) -> int:
        """Voxels that a trainer process puts through the network in one step; in pre-training, of two views each."""
        return (2 if self.task == "pretrain" else 1) * self.trainer.batch_size * math.prod(self.data.roi)

    @property
    def metrics(self) -> dict[str, Literal["min", "max"]]:
        """The metrics that a site may report of a global model, and whether less or more of each is better."""
        if self.task == "finetune":
            return dict.fromkeys(["dice", *(f"dice_{name}" for name in self.segmentation.classes)], "max")
        metrics: dict[str, Literal["min", "max"]] = dict.fromkeys(self._losses, "min")
        metrics |= {"rotation_accuracy": "max"} if "rotation" in metrics else {}
        metrics |= {"contrastive_share": "min"} if "contrastive" in metrics else {}
        return metrics | {"feature_spread": "max", "feature_rank": "max"}

    @property
    def reported(self) -> list[str]:
        """The numbers that a site may report of a global model: metrics, and how one over patients deviates."""
        return [*self.metrics, *["rotation_accuracy_sd"] * ("rotation_accuracy" in self.metrics)]

    @property
    def _losses(self) -> list[str]:
        weights = self.pretraining.loss_weights.model_dump() if self.task == "pretrain" else {}
        return ["loss", *(name for name, weight in weights.items() if weight)]

    @property
    def key_metric(self) -> tuple[str, Literal["min", "max"]]:
        """The metric that picks ``best.pt``, and whether less or more of it is better."""
        selection = self.federation.selection
        metric = selection.metric or next(iter(self.metrics))
        return metric, selection.mode or self.metrics[metric]

    def changed(self, section: str, **settings: Any) -> Job:
        """Return the job with other ``settings`` in one section. They are not checked."""
        return self.model_copy(update={section: getattr(self, section).model_copy(update=settings)})

    def as_dict(self) -> dict[str, Any]:
        """Return every setting as plain values."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """Return the job file with every setting written out."""
        return yaml.safe_dump(self.as_dict(), sort_keys=False)

    @property
    def digest(self) -> str:
        """SHA-256 over all settings: two jobs with the same digest do the same."""
        return hashlib.sha256(json.dumps(self.as_dict(), sort_keys=True).encode()).hexdigest()


def load_job(path: Path, overrides: Sequence[str] = ()) -> Job:
    """Read a job file.

    Args:
        path: the YAML file.
        overrides: ``section.key=value`` strings that replace settings; values are read as YAML.

    Raises:
        FedSwinError: if the file cannot be read, or a key or value in it is wrong.
    """
    content = read_mapping(path, "job file", "'name' and 'task'")
    for override in overrides:
        _override(content, override)
    return parse_job(content, str(path))


def parse_job(content: dict[str, Any], where: str) -> Job:
    """Check ``content`` and return the job; ``where`` names its origin in error messages.

    Raises:
        FedSwinError: if a key or value is wrong.
    """
    return parse_section(Job, as_recorded(content), where, is_record=is_record(content))


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals:
        raise FedSwinError(f"--set {override}: expected section.key=value, such as federation.rounds=3.")
    *sections, last = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise FedSwinError(f"--set {override}: '{section}' is a value, not a section.")
    content[last] = yaml.safe_load(value)
