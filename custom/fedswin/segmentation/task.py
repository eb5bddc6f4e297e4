"""Supervised fine-tuning as a task: Dice + cross entropy on crops, Dice per class on whole volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from monai.losses import DiceCELoss
from torch import Tensor

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.data.loading import Item, Volumes, case_order
from fedswin.seeds import generator, integer
from fedswin.segmentation.augmentation import training_transforms
from fedswin.segmentation.inference import predict_classes
from fedswin.segmentation.metrics import dice_by_class
from fedswin.segmentation.model import build_segmenter
from fedswin.training.scores import mean_scores


class Crops(NamedTuple):
    """Labelled sub-volumes: ``image`` (B, 1, X, Y, Z) and ``label`` (B, 1, X, Y, Z) of class indices."""

    image: Tensor
    label: Tensor


class SegmentationTask:
    """Fine-tuning on one site's labelled cases; cases without a label are left out.

    Args:
        job: a ``finetune`` job.
        site: the site's cases.
        device: where the model lives.
        progress: called while the cases are read.
    """

    def __init__(self, job: Job, site: Site, device: torch.device, progress: Callable[[str], None]) -> None:
        self.model = build_segmenter(job).to(device)
        self._job = job
        self._site = site.name
        self._device = device
        # Squared denominators and an unsmoothed numerator, as in the paper's reference code: a class that a crop does
        # not show then adds no gradient, which matters where most crops hold few of the organs.
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True, smooth_nr=0, smooth_dr=1e-6)
        self._transforms = training_transforms(job)
        self._training = Volumes(site.cases("training", labelled=True), job, progress)
        self._validation = Volumes(site.cases("validation", labelled=True), job, progress)
        self.training_cases = len(self._training)
        self.validation_cases = len(self._validation)

    def batch(self, step: int) -> Crops:
        """Return ``trainer.batch_size`` augmented crops for optimizer step ``step``."""
        job, count = self._job, self._job.trainer.batch_size
        order = case_order(
            self.training_cases,
            step * count,
            count,
            lambda epoch: generator(job.seed, self._site, "order", epoch),
        )
        crops = [self._crop(self._training[case], step, number) for number, case in enumerate(order)]
        return Crops(*(torch.stack([crop[key] for crop in crops]) for key in ("image", "label")))

    def losses(self, batch: Crops) -> dict[str, Tensor]:
        """Return ``loss``, Dice loss plus cross entropy."""
        logits = self.model(batch.image.to(self._device))
        return {"loss": self._loss(logits.float(), batch.label.to(self._device))}

    def validate(self) -> dict[str, float]:
        """Mean Dice, over all classes and of each, over the validation cases."""
        classes = list(self._job.segmentation.classes)
        self.model.eval()
        scores = []
        for number in range(self.validation_cases):
            item = self._validation[number]
            predicted = predict_classes(self.model, item["image"], self._job, self._device)
            scores.append(dice_by_class(predicted, item["label"], classes))
        self.model.train()
        return mean_scores(scores)

    def _crop(self, item: Item, step: int, number: int) -> Item:
        self._transforms.set_random_state(seed=integer(self._job.seed, self._site, "crop", step, number))
        [crop] = self._transforms(item)
        return crop
