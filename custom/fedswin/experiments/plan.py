"""The plan file: which runs an experiment is made of.

    question: Does federated pre-training pay at a hospital with few labels?
    data: {shard: {collection: $FEDSWIN_REAL_CT, by: source}}
    folds: 3
    seeds: [0, 1, 2]
    arms: [scratch, local, federated, central]
    labels: [1, 2, all]
    pretraining: {job: ../../jobs/demo/pretrain.yaml, local: sarcoma}
    tasks:
      tumour: {job: ../../jobs/demo/finetune_tumour.yaml, sites: [sarcoma]}

Every list is an axis of the grid, and every combination a run. In place of ``folds`` and ``seeds``, which couple the
test with the seed, a plan may have one test for all runs, and seeds of encoders beside seeds of fine-tuning:

    test_patients: 30
    encoder_seeds: [0, 1, 2]
    finetune_seeds: [0, 1, 2]

``folds`` take the two kinds of seeds, too, where each task has data of its own, so that no fold is kept from
pre-training: the paper's five-fold cross-validation from one encoder (section 5.2).

A path is relative to the plan file, and may hold
``$NAME`` of an environment variable in ``data``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from fedswin.config import Job, load_job
from fedswin.data.dealing.plan import By
from fedswin.errors import FedSwinError
from fedswin.operations.scenario import Scenario, ScenarioSettings, Seed
from fedswin.settings import Positive, Section, parse_section, read_mapping

Arm = Literal["scratch", "local", "federated", "central"]
Amount = Positive | Literal["all"]
Objective = Literal["inpainting", "rotation", "contrastive"]
OBJECTIVES: tuple[Objective, ...] = get_args(Objective)
EndPoint = Literal["dice", "dice_area", "hd95", "nsd", "worst_site_dice"]
AS_THEY_ARE = "as they are"
"""The shard of a plan that deals no case again."""

NotEmpty = Field(min_length=1)
_PROBE = {"trainer.frozen": ["swinViT"], "segmentation.decoder": "linear"}


class Dealing(Section):
    """How the cases of all sites are dealt to sites again, as `fedswin data shard` does it."""

    by: By
    sites: Positive
    alpha: Annotated[float, Field(gt=0)] | None = None
    seed: Seed = 0


class Pretraining(Section):
    """What the encoder learns before it sees a label."""

    job: str
    set: dict[str, Any] = Field(default_factory=dict)
    """``{section.key: value}``: settings that differ from the job file's."""
    local: str | None = None
    """The site that pre-trains alone in the arm ``local``; null takes the first that pre-trains, by name."""
    objectives: Annotated[tuple[Annotated[tuple[Objective, ...], NotEmpty], ...], NotEmpty] = (OBJECTIVES,)
    """Which of the three losses are trained on, together (paper, table 4)."""
    cases: Annotated[tuple[Amount, ...], NotEmpty] = ("all",)
    """How many cases of each site are trained on (paper, figure 8)."""


class Task(Section):
    """What the encoder is fine-tuned for."""

    job: str
    set: dict[str, Any] = Field(default_factory=dict)
    """``{section.key: value}``: settings that differ from the job file's."""
    sites: Annotated[tuple[str, ...], NotEmpty] | None = None
    """Sites whose labelled cases are trained on and tested on; null takes all."""
    probe: dict[str, Any] = Field(default_factory=dict)
    """``{section.key: value}``: settings of the runs with a frozen encoder, beside those that freeze it."""
    data: ScenarioSettings | None = None
    """Sites of its own; without it those of the plan, whose test cases are then kept from pre-training, too."""


class PlanSettings(Section):
    """What a plan file holds."""

    question: str
    """What the experiment is to answer, in one line."""
    description: str = ""
    """On what, and how; for the reader."""
    reading: str = ""
    """What is to be known beside the conclusions, which are drawn from the rows; in words without numbers."""
    encoders: Literal["at_chance"] | None = None
    """``at_chance`` says that the encoders of rows which do not record it were measured later, and had learned nothing:
    the page says so, and draws no conclusion from them."""
    data: ScenarioSettings
    """The sites, in the form of a scenario file. Their splits have no meaning here: folds are dealt."""
    shards: Annotated[dict[str, Dealing | None], NotEmpty] = Field({AS_THEY_ARE: None}, validate_default=True)
    """``{name: dealing}``: the same cases, dealt to sites in several ways; null leaves them where they are."""
    folds: Annotated[int, Field(ge=2)] | None = None
    """Seed s, of fine-tuning, tests on fold s modulo ``folds`` of a site's labelled patients: as many seeds test each
    of them once."""
    test_patients: Positive | Annotated[tuple[str, ...], NotEmpty] | None = None
    """In place of ``folds`` the patients that every run is tested on and no run reads: their names, or how many are
    drawn, of each site in proportion to those that it has to choose from."""
    test_structures: Literal["any", "all"] = "any"
    """Patients are drawn whose label maps show any of the task's classes, or all of them."""
    validation_patients: Annotated[int, Field(ge=0)] = 0
    """How many more are drawn like the test's. No run trains on them; each of its models is scored on them, in
    pre-training and in fine-tuning."""
    data_seed: Seed = 0
    """Draws the patients of test and validation: the same for all runs."""
    seeds: tuple[Seed, ...] = ()
    """Each deals, initialises and orders anew, pre-training and fine-tuning alike."""
    encoder_seeds: tuple[Seed, ...] = ()
    """In place of ``seeds``: of pre-training. From scratch there is none. With ``folds``, each task needs data of its
    own."""
    finetune_seeds: tuple[Seed, ...] = ()
    """In place of ``seeds``: of fine-tuning, and of the draw of labelled cases. Each starts from every encoder."""
    arms: Annotated[tuple[Arm, ...], NotEmpty]
    """From scratch, or from an encoder that was pre-trained by one site alone, by all together, or on pooled cases."""
    labels: Annotated[tuple[Amount, ...], NotEmpty] = ("all",)
    """How many labelled cases of each site are fine-tuned on."""
    frozen: Annotated[tuple[bool, ...], NotEmpty] = (False,)
    """Whether the encoder is fine-tuned, or frozen under a linear decoder: a probe of what it has learned."""
    end_points: Annotated[tuple[EndPoint, ...], NotEmpty] = ("dice",)
    """What arms are compared by; the first is the main one."""
    left_out: Annotated[tuple[str | None, ...], NotEmpty] = (None,)
    """A site that trains on nothing, and on whose labelled cases the model is tested: the unseen hospital."""
    pretraining: Pretraining
    tasks: Annotated[dict[str, Task], NotEmpty]

    @model_validator(mode="after")
    def _check(self) -> PlanSettings:
        if "local" in self.arms and self.pretraining.local and self.pretraining.local in self.left_out:
            raise ValueError(f"left_out names '{self.pretraining.local}', which is also to pre-train alone")
        for name in ("seeds", "encoder_seeds", "finetune_seeds", "arms", "labels", "left_out", "frozen", "end_points"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                raise ValueError(f"{name}: {list(values)} names one twice")
        return self

    @model_validator(mode="after")
    def _check_test_and_seeds(self) -> PlanSettings:
        if (self.folds is None) == (self.test_patients is None):
            raise ValueError("the test is given by 'folds' or by 'test_patients': give one of them")
        if bool(self.seeds) == bool(self.encoder_seeds or self.finetune_seeds):
            raise ValueError("seeds are 'seeds', or 'encoder_seeds' and 'finetune_seeds': give one or the other")
        if bool(self.encoder_seeds) != bool(self.finetune_seeds):
            raise ValueError("encoder_seeds and finetune_seeds go together: give both")
        if self.folds and self.validation_patients:
            raise ValueError("with 'folds' each seed has a test of its own: validation_patients need 'test_patients'")
        if self.folds and self.encoder_seeds and any(task.data is None for task in self.tasks.values()):
            raise ValueError(
                "with 'folds' each seed has a test of its own, which is kept from pre-training: encoder_seeds and "
                "finetune_seeds need 'test_patients' in its place, or 'data' of its own for each task"
            )
        if self.test_patients and any(self.left_out):
            raise ValueError("left_out is with 'folds' alone: all labelled cases of the site are the test")
        return self

    @property
    def seed_pairs(self) -> list[tuple[int, int]]:
        """The seeds of pre-training and fine-tuning that go together, so that the first encoder has all of its runs."""
        if self.seeds:
            return [(seed, seed) for seed in self.seeds]
        return [(encoder, finetune) for encoder in self.encoder_seeds for finetune in self.finetune_seeds]


@dataclass(frozen=True)
class Plan:
    """A plan file.

    Attributes:
        path: where it is.
        settings: what it holds.
    """

    path: Path
    settings: PlanSettings

    @property
    def name(self) -> str:
        """The name of its CSV, its table and its plot: that of the file."""
        return self.path.stem

    @cached_property
    def pretraining(self) -> Job:
        """The job of pre-training, before a run's seed and objectives.

        Raises:
            FedSwinError: if it cannot be read, or pre-trains nothing.
        """
        return self._job(self.settings.pretraining.job, self.settings.pretraining.set, "pretrain")

    @cached_property
    def tasks(self) -> Mapping[str, Job]:
        """The jobs of fine-tuning, before a run's seed.

        Raises:
            FedSwinError: if one cannot be read, or is not of fine-tuning.
        """
        return {name: self._job(task.job, task.set, "finetune") for name, task in self.settings.tasks.items()}

    @cached_property
    def probes(self) -> Mapping[str, Job]:
        """The jobs of fine-tuning with a frozen encoder, before a run's seed.

        Raises:
            FedSwinError: as `tasks`.
        """
        return {
            name: self._job(task.job, {**task.set, **_PROBE, **task.probe}, "finetune")
            for name, task in self.settings.tasks.items()
        }

    def scenario(self, task: str | None = None) -> Scenario:
        """Return how the sites of the plan are made, or those of ``task``, if it has some of its own."""
        own = self.settings.tasks[task].data if task else None
        return Scenario(self.path, own or self.settings.data)

    def shares_data(self, task: str) -> bool:
        """Tell whether ``task`` is fine-tuned at the sites that pre-train."""
        return self.settings.tasks[task].data is None

    def _job(self, path: str, changes: Mapping[str, Any], kind: str) -> Job:
        where = self.path.parent / path
        job = load_job(where, [f"{key}={json.dumps(value)}" for key, value in changes.items()])
        if job.task != kind:
            raise FedSwinError(f"{self.path}: {path} is a job of the task '{job.task}', where '{kind}' is needed.")
        return job


def load_plan(path: Path) -> Plan:
    """Read a plan file and the jobs that it names; its data are not looked at.

    Raises:
        FedSwinError: if one of them cannot be read, or a key or value in it is wrong.
    """
    content = read_mapping(path, "plan file", "'question', 'data', 'arms', 'pretraining' and 'tasks'")
    plan = Plan(path, parse_section(PlanSettings, content, str(path)))
    size = plan.pretraining.model.feature_size
    for job in (plan.pretraining, *plan.tasks.values(), *plan.probes.values()):
        if job.federation.sample != "all" or job.federation.selection.patience:
            raise FedSwinError(
                f"{path}: the job {job.name} sets federation.sample or selection.patience, with which runs differ in "
                "their optimizer steps. Leave them out."
            )
    for name, job in plan.tasks.items():
        if job.model.feature_size != size:
            raise FedSwinError(
                f"{path}: pre-training has model.feature_size {size}, and the task '{name}' "
                f"{job.model.feature_size}. An encoder is handed over only between the same."
            )
    return plan
