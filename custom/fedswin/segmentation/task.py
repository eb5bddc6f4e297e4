"""Supervised fine-tuning as a task: Dice + cross entropy on crops, Dice per class on whole volumes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from fedswin.config import Job
from fedswin.data.datalist import Site
from fedswin.data.loading import Volumes, case_order
from fedswin.data.planes import Picture
from fedswin.data.prepared import Prepared
from fedswin.seeds import generator, integer
from fedswin.segmentation.augmentation import training_transforms
from fedswin.segmentation.inference import predict_classes
from fedswin.segmentation.losses import segmentation_loss
from fedswin.segmentation.metrics import dice_by_class
from fedswin.segmentation.model import build_segmenter
from fedswin.segmentation.pictures import segmentation_picture
from fedswin.training.scores import Validation, validation_of


class Crops(NamedTuple):
    """Labelled sub-volumes.

    Attributes:
        image: (B, 1, X, Y, Z).
        label: class indices, (B, 1, X, Y, Z).
        annotated: for each of the B, the indices of the classes that its label can show.
    """

    image: Tensor
    label: Tensor
    annotated: list[tuple[int, ...]]


class SegmentationTask:
    """Fine-tuning on one site's labelled cases; those in which no class of the job was annotated are left out.

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
        self._transforms = training_transforms(job)
        training, self._validation_cases = (
            site.annotated_cases(split, job.segmentation) for split in ("training", "validation")
        )
        self._annotated = [case.annotation.annotated_indices(job.segmentation) for case in training]
        self._training = Volumes(training, job, progress)
        self._validation = Volumes(self._validation_cases, job, progress)
        self.training_cases = len(self._training)
        self.validation_cases = len(self._validation)
        self.annotated_cases = self._count_annotated()
        self._first_predicted: Tensor | None = None  # of the first validation case

    def batch(self, number: int) -> Crops:
        """Return batch ``number``: ``trainer.batch_size`` augmented crops."""
        job, count = self._job, self._job.trainer.batch_size
        order = case_order(
            self.training_cases,
            number * count,
            count,
            lambda epoch: generator(job.seed, self._site, "order", epoch),
        )
        crops = [self._crop(self._training[case], number, place) for place, case in enumerate(order)]
        image, label = (torch.stack([crop[key] for crop in crops]) for key in ("image", "label"))
        return Crops(image, label, [self._annotated[case] for case in order])

    def losses(self, batch: Crops) -> dict[str, Tensor]:
        """Return ``loss``, Dice loss plus cross entropy over the annotated classes."""
        logits = self.model(batch.image.to(self._device))
        label, squared = batch.label.to(self._device), self._job.segmentation.squared_dice
        return {"loss": segmentation_loss(logits.float(), label, batch.annotated, squared=squared)}

    def validate(self) -> Validation:
        """Mean Dice, over all annotated classes and of each, over the validation cases."""
        classes = list(self._job.segmentation.classes)
        self.model.eval()
        scores = []
        for number, case in enumerate(self._validation_cases):
            volume = self._validation[number]
            predicted = predict_classes(self.model, volume.image(), self._job, self._device)
            annotated = case.annotation.annotated_classes(self._job.segmentation)
            scores.append(dice_by_class(predicted, volume.label(), classes, annotated))
            if number == 0:
                self._first_predicted = predicted.to(torch.uint8)
        self.model.train()
        return validation_of(scores)

    def pictures(self) -> dict[str, Picture]:
        """Draw the first validation case, with its label and with what `validate` has predicted; none without one."""
        if self._first_predicted is None:
            return {}
        volume, spacing = self._validation[0], self._job.data.spacing or (1.0, 1.0, 1.0)
        return {"segmentation": segmentation_picture(volume.image(), volume.label(), self._first_predicted, spacing)}

    def _count_annotated(self) -> dict[str, int]:
        counts = Counter(index for indices in self._annotated for index in indices)
        return {name: counts[index] for name, index in self._job.segmentation.class_indices.items()}

    def _crop(self, volume: Prepared, batch: int, place: int) -> dict[str, Tensor]:
        self._transforms.set_random_state(seed=integer(self._job.seed, self._site, "crop", batch, place))
        [crop] = self._transforms(volume.stored())
        return crop
