"""Self-supervised pre-training as a task: sub-volumes in, three losses out (paper, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.data.loading import Volumes, case_order, random_crop
from fedswin.data.planes import Picture
from fedswin.pretraining.cutout import CUTOUTS
from fedswin.pretraining.diagnostics import ValidationViews
from fedswin.pretraining.heads import Predictions, build_pretrainer
from fedswin.pretraining.losses import contrastive_chance, contrastive_loss, inpainting_loss, rotation_loss, total_loss
from fedswin.pretraining.negatives import check_negatives
from fedswin.pretraining.pictures import inpainting_picture
from fedswin.pretraining.rotation import draw_rotations, rotate
from fedswin.seeds import generator
from fedswin.training.scores import Validation, mean_scores


class Views(NamedTuple):
    """Two views of N sub-volumes, stacked: the first N are the first views, the rest the second ones.

    Attributes:
        masked: what the model sees, (2 N, 1, X, Y, Z).
        target: the same views without cut-out, (2 N, 1, X, Y, Z).
        turns: the quarter turns of each view, (2 N,).
        patients: a number for the patient of each sub-volume, (N,).
    """

    masked: Tensor
    target: Tensor
    turns: Tensor
    patients: Tensor


class PretrainingTask:
    """Inpainting, rotation prediction and contrastive coding on one site's unlabelled CT.

    Args:
        job: a ``pretrain`` job.
        site: the site's cases; labels are never opened.
        device: where the model lives.
        progress: called while the cases are read.

    Raises:
        FedSwinError: if the site's cases give the only loss nothing to learn; see `check_negatives`.
    """

    def __init__(self, job: Job, site: Site, device: torch.device, progress: Callable[[str], None]) -> None:
        self.model = build_pretrainer(job).to(device)
        self._job = job
        self._site = site.name
        self._device = device
        self._training = Volumes(site.cases("training"), job, progress)
        self._validation = Volumes(site.cases("validation"), job, progress)
        if job.pretraining.loss_weights.contrastive:
            for split, volumes in (("training", self._training), ("validation", self._validation)):
                check_negatives(job, site.name, split, volumes.patients, progress)
        self.training_cases = len(self._training)
        self.validation_cases = len(self._validation)
        self.annotated_cases: Mapping[str, int] = {}
        self._shown: tuple[Tensor, Tensor, Tensor | None] | None = None  # a view, masked, and inpainted

    def batch(self, number: int) -> Views:
        """Return batch ``number``: two views each of ``trainer.batch_size`` sub-volumes."""
        return self._draw(self._training, "training", number)

    def losses(self, batch: Views) -> dict[str, Tensor]:
        """Return ``loss`` and its parts: ``inpainting``, ``rotation``, ``contrastive``, where they have a weight."""
        return self._losses(self.model(batch.masked.to(self._device)), batch)

    @torch.no_grad()
    def validate(self) -> Validation:
        """Mean losses and the diagnostics over ``pretraining.validation_batches`` fixed batches."""
        self.model.eval()
        losses, chances, views = [], [], ValidationViews()
        for number in range(self._job.pretraining.validation_batches if self.validation_cases else 0):
            batch = self._draw(self._validation, "validation", number)
            predicted = self.model(batch.masked.to(self._device))
            losses.append({name: float(value) for name, value in self._losses(predicted, batch).items()})
            chances.append({"contrastive": contrastive_chance(len(batch.patients), self._apart(batch))})
            views.add(predicted, batch.turns, batch.patients.repeat(2).tolist())
            if number == 0:
                self._shown = _first_view(batch, predicted)
        self.model.train()
        means = mean_scores(losses)  # every batch has every loss
        diagnostics, patients = views.diagnostics(means.get("contrastive"), mean_scores(chances).get("contrastive", 0))
        few = 0 < patients < self.validation_cases
        return Validation({**means, **diagnostics}, {"rotation_accuracy": patients} if few else {})

    @torch.no_grad()
    def pictures(self) -> dict[str, Picture]:
        """Draw the first validation view and how it was inpainted, or a training view if there is no validation case.

        It is the same view each time.
        """
        if self._shown:
            return {"inpainting": inpainting_picture(*self._shown)}
        batch = self._draw(self._training, "pictures", 0)
        self.model.eval()
        predicted = self.model(batch.masked[:1].to(self._device))
        self.model.train()
        return {"inpainting": inpainting_picture(*_first_view(batch, predicted))}

    def _losses(self, predicted: Predictions, batch: Views) -> dict[str, Tensor]:
        settings = self._job.pretraining
        parts = {}
        if predicted.volume is not None:
            parts["inpainting"] = inpainting_loss(predicted.volume, batch.target.to(self._device))
        if predicted.rotation is not None:
            parts["rotation"] = rotation_loss(predicted.rotation, batch.turns.to(self._device))
        if predicted.embedding is not None:
            first, second = predicted.embedding.chunk(2)
            parts["contrastive"] = contrastive_loss(first, second, settings.temperature, self._apart(batch))
        return {"loss": total_loss(parts, settings.loss_weights), **parts}

    def _apart(self, batch: Views) -> Tensor | None:
        """Return the patients whose views are no negatives of each other, if the job leaves such pairs out."""
        return batch.patients if self._job.pretraining.contrastive_negatives == "other_patients" else None

    def _draw(self, volumes: Volumes, split: str, number: int) -> Views:
        job, crops_per_case = self._job, self._job.pretraining.crops_per_case
        cases = job.trainer.batch_size // crops_per_case
        order = case_order(
            len(volumes),
            number * cases,
            cases,
            lambda epoch: generator(job.seed, self._site, split, "order", epoch),
        )
        order = [case for case in order for _ in range(crops_per_case)]
        rng = generator(job.seed, self._site, split, "views", number)
        crops = torch.stack([random_crop(volumes[case], job.data, rng) for case in order])
        pair = torch.cat([crops, crops])
        turns = draw_rotations(len(pair), rng)
        target = rotate(pair, turns, job.pretraining.rotation_axis)
        masked = CUTOUTS[job.pretraining.cutout](target, job.pretraining.cutout_rate, rng)
        return Views(masked, target, turns, torch.tensor([volumes.patients[case] for case in order]))


def _first_view(batch: Views, predicted: Predictions) -> tuple[Tensor, Tensor, Tensor | None]:
    return batch.target[0], batch.masked[0], None if predicted.volume is None else predicted.volume[0].cpu()
