"""Training as a good engineer would write it without this project: MONAI's modules in a plain loop.

It is what FedSwin's steps and its loading are compared with, so nothing here may come from the rooms that are measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from monai.data import CacheDataset, DataLoader, Dataset, PersistentDataset
from monai.losses import ContrastiveLoss, DiceCELoss
from monai.networks.nets import SwinUNETR
from monai.networks.nets.swin_unetr import SwinTransformer
from monai.transforms import (
    Compose,
    CropForegroundd,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    RandSpatialCropd,
    ScaleIntensityRanged,
    SpatialPadd,
)
from torch import Tensor, nn

from fedswin.config import Job
from fedswin.data.datalist import Case

_AIR = 0.25
"""-500 HU in a window of -1000 to 1000."""


class PlainPretrainer(nn.Module):
    """MONAI's Swin transformer with the paper's three heads."""

    def __init__(self, feature_size: int) -> None:
        super().__init__()
        width = 16 * feature_size
        self.encoder = SwinTransformer(
            in_chans=1,
            embed_dim=feature_size,
            window_size=(7, 7, 7),
            patch_size=(2, 2, 2),
            depths=(2, 2, 2, 2),
            num_heads=(3, 6, 12, 24),
            norm_layer=nn.LayerNorm,
            spatial_dims=3,
        )
        self.reconstruction = nn.ConvTranspose3d(width, 1, kernel_size=32, stride=32)
        self.rotation = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, 4))
        self.contrastive = nn.Linear(width, 512)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the inpainted views, the logits of their rotations, and their codes."""
        bottleneck = self.encoder(views)[-1]
        tokens = bottleneck.flatten(2).mean(2)
        return self.reconstruction(bottleneck), self.rotation(tokens), self.contrastive(tokens)


class PlainPretraining:
    """Pre-training steps as in the paper's published script: two views in two passes, cut-out and turns in loops.

    Args:
        job: feature size, ROI, batch size and device.
        cases: the cases, which are kept in memory as MONAI's ``CacheDataset`` does.
    """

    def __init__(self, job: Job, cases: Sequence[Case]) -> None:
        self._device = torch.device(job.trainer.device)
        self._model = PlainPretrainer(job.model.feature_size).to(self._device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=4e-4, weight_decay=1e-5)
        self._batches = batches(job, cached(job, cases, [random_crop(job)]))
        self._contrastive = ContrastiveLoss(temperature=0.5)

    def step(self) -> None:
        """Make one optimizer step."""
        crops = next(self._batches).to(self._device)
        first, first_turns = turned(crops)
        second, second_turns = turned(crops)
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            volume1, rotation1, code1 = self._model(with_cut_out(first))
            volume2, rotation2, code2 = self._model(with_cut_out(second))
            loss = F.l1_loss(torch.cat([volume1, volume2]), torch.cat([first, second]))
            loss = loss + F.cross_entropy(torch.cat([rotation1, rotation2]), torch.cat([first_turns, second_turns]))
            loss = loss + self._contrastive(code1, code2)
        descend(self._model, self._optimizer, loss)


class PlainFinetuning:
    """Fine-tuning steps of MONAI's Swin UNETR, as in its tutorial on BTCV."""

    def __init__(self, job: Job, cases: Sequence[Case]) -> None:
        self._device = torch.device(job.trainer.device)
        classes = 1 + len(job.segmentation.classes)
        self._model = SwinUNETR(in_channels=1, out_channels=classes, feature_size=job.model.feature_size)
        self._model.to(self._device)
        self._optimizer = torch.optim.AdamW(self._model.parameters(), lr=1e-4, weight_decay=1e-5)
        data = cached(job, cases, _labelled_crops(job))
        self._batches = iter(itertools.chain.from_iterable(itertools.repeat(DataLoader(data, shuffle=True))))
        self._loss = DiceCELoss(to_onehot_y=True, softmax=True)

    def step(self) -> None:
        """Make one optimizer step."""
        batch = next(self._batches)
        image, label = (batch[key].as_tensor().to(self._device) for key in ("image", "label"))
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            loss = self._loss(self._model(image), label)
        descend(self._model, self._optimizer, loss)


def descend(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """Step down the gradient, clipped to a norm of 1, and read the loss, as scripts that print it do."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()


def loading(job: Job) -> Compose:
    """Return MONAI's transforms from a NIfTI file to a volume in RAS, windowed and cropped to the body."""
    keys = ["image", "label"] if job.task == "finetune" else ["image"]
    return Compose(
        [
            LoadImaged(keys, image_only=True),
            EnsureChannelFirstd(keys),
            Orientationd(keys, axcodes="RAS", labels=None),
            ScaleIntensityRanged("image", *job.data.hu_window, 0.0, 1.0, clip=True),
            CropForegroundd(keys, source_key="image", select_fn=_is_body, allow_smaller=True),
            SpatialPadd(keys, job.data.roi),
        ]
    )


def cached(job: Job, cases: Sequence[Case], transforms: Sequence[object] = ()) -> CacheDataset:
    """Return the volumes in memory; ``transforms`` are applied to each that is read."""
    return CacheDataset(entries(job, cases), Compose([*loading(job).transforms, *transforms]), progress=False)


def persistent(job: Job, cases: Sequence[Case], folder: Path, transforms: Sequence[object] = ()) -> PersistentDataset:
    """Return the volumes on disk, below ``folder``; ``transforms`` are applied to each that is read."""
    return PersistentDataset(entries(job, cases), Compose([*loading(job).transforms, *transforms]), cache_dir=folder)


def entries(job: Job, cases: Sequence[Case]) -> list[dict[str, str]]:
    """Return the files of the cases as MONAI's data sets take them."""
    if job.task == "finetune":
        return [{"image": str(case.image), "label": str(case.label)} for case in cases]
    return [{"image": str(case.image)} for case in cases]


def batches(job: Job, data: Dataset) -> Iterator[Tensor]:
    """Yield batches of crops without end, in an order drawn anew for each epoch."""
    while True:
        # Cases are drawn with replacement, so that a site of fewer cases than a batch has one, too.
        sampler = torch.utils.data.RandomSampler(data, replacement=True, num_samples=job.trainer.batch_size)
        for batch in DataLoader(data, batch_size=job.trainer.batch_size, sampler=sampler):
            yield batch["image"].as_tensor()


def random_crop(job: Job) -> RandSpatialCropd:
    """Return MONAI's random crop of the job's ROI."""
    return RandSpatialCropd("image", roi_size=job.data.roi, random_size=False)


def turned(crops: Tensor) -> tuple[Tensor, Tensor]:
    """Turn each of (B, 1, X, Y, Z) about z by quarter turns drawn by chance; return them and the turns, (B,)."""
    turns = torch.randint(4, (len(crops),), device=crops.device)
    views = crops.clone()
    for view, turn in zip(views, turns.tolist(), strict=True):
        view.copy_(torch.rot90(view, turn, (1, 2)))
    return views, turns


def with_cut_out(views: Tensor, rate: float = 0.3) -> Tensor:
    """Fill boxes of each of (B, 1, X, Y, Z) with noise, until they have ``rate`` of its voxels, overlaps twice."""
    result = views.clone()
    for view in result:
        dropped = 0
        while dropped < rate * view.numel():
            box = (0, *(_range(side) for side in view.shape[1:]))
            view[box] = torch.rand_like(view[box])
            dropped += view[box].numel()
    return result


def _range(side: int) -> slice:
    length = int(torch.randint(side // 8, side // 4 + 1, ()))
    start = int(torch.randint(side - length + 1, ()))
    return slice(start, start + length)


def _labelled_crops(job: Job) -> list[object]:
    keys = ["image", "label"]
    return [
        RandCropByPosNegLabeld(keys, label_key="label", spatial_size=job.data.roi, pos=1, neg=1, num_samples=1),
        *(RandFlipd(keys, prob=0.2, spatial_axis=axis) for axis in range(3)),
        RandScaleIntensityd("image", factors=0.1, prob=0.1),
        RandShiftIntensityd("image", offsets=0.1, prob=0.1),
    ]


def _is_body(image: Tensor) -> Tensor:
    return image > _AIR
