"""How well a predicted label map agrees with its reference: overlap, and distance of the surfaces in mm."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from monai.metrics import DiceHelper, compute_dice, compute_surface_dice
from monai.metrics.utils import get_edge_surface_distance
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from torch import Tensor

from fedswin.training.scores import Score, mean_scores

METRICS = ("dice", "hd", "hd95", "nsd")
FAILURES = ("missed", "spurious")
"""Counts of classes: in the reference but not predicted, and predicted but not in the reference."""

LabelMap = NDArray[np.integer]
_Mask = NDArray[np.bool_]
_Box = tuple[slice, ...]


def dice_by_class(
    predicted: Tensor, reference: Tensor, classes: Sequence[str], annotated: Collection[str] | None = None
) -> dict[str, Score]:
    """Dice (paper, equation 7) of each annotated class between two label maps, and ``dice``, their mean.

    Args:
        predicted: class indices, (1, X, Y, Z).
        reference: class indices, (1, X, Y, Z).
        classes: the names of classes 1, 2, …
        annotated: the classes that the reference can show; the others are left out. All by default.

    Returns:
        ``dice`` and ``dice_<class>``; ``None`` for a class that the reference does not hold, as in
        MONAI's ``DiceMetric``.
    """
    helper = DiceHelper(include_background=False, num_classes=1 + len(classes), reduction="none", get_not_nans=False)
    values = helper(predicted[None], reference[None])[0].tolist()
    by_class = {name: None if value != value else value for name, value in zip(classes, values, strict=True)}
    return _with_mean("dice", {name: by_class[name] for name in classes if annotated is None or name in annotated})


def score(
    predicted: LabelMap,
    reference: LabelMap,
    classes: Mapping[str, int],
    spacing: Sequence[float],
    tolerances: Mapping[str, float],
) -> dict[str, Score]:
    """Dice, HD, HD95 and NSD of each class between two label maps on the same grid, and their means.

    - ``dice``: paper, equation 7.
    - ``hd``, in mm: the Hausdorff distance (paper, equation 8 and table 4).
    - ``hd95``, in mm: the same with the 95th percentile of the distances in place of their maximum, which a single
      stray voxel decides; the larger of both directions (paper, section 5.2).
    - ``nsd``: normalised surface Dice, the share of both surfaces that lies within the tolerance of the other
      (Nikolov et al. 2018, arXiv:1809.04430); surface elements and their areas as in DeepMind's ``surface-distance``.

    A class that the reference does not hold has no scores, and does not count in means. One that it holds and
    the prediction does not is ``missed``: its Dice and NSD are 0, and its HD and HD95 are the diagonal of the grid,
    the worst there can be. Infinity would spoil every mean, and to leave the case out would reward the failure.

    Args:
        predicted: class indices, (X, Y, Z).
        reference: class indices, (X, Y, Z).
        classes: the classes to score and their indices; the others are ignored.
        spacing: voxel size in mm along X, Y and Z.
        tolerances: of each class's NSD, in mm.

    Returns:
        ``<metric>`` and ``<metric>_<class>`` for each of `METRICS`, and the counts `FAILURES`.
    """
    found, shown = _boxes(predicted), _boxes(reference)
    by_class: dict[str, dict[str, Score]] = {}
    for name, index in classes.items():
        if index not in shown:
            by_class[name] = dict.fromkeys(METRICS)
        elif index not in found:
            by_class[name] = _missed(predicted.shape, spacing)
        else:
            box = _around(found[index], shown[index])
            by_class[name] = _compare(predicted[box] == index, reference[box] == index, spacing, tolerances[name])
    scores: dict[str, Score] = {}
    for metric in METRICS:
        scores |= _with_mean(metric, {name: values[metric] for name, values in by_class.items()})
    scored = set(classes.values())
    missed, spurious = scored & (shown.keys() - found.keys()), scored & (found.keys() - shown.keys())
    return {**scores, "missed": len(missed), "spurious": len(spurious)}


def _with_mean(metric: str, by_class: Mapping[str, Score]) -> dict[str, Score]:
    mean = mean_scores([{metric: value} for value in by_class.values()])
    return {metric: mean.get(metric), **{f"{metric}_{name}": value for name, value in by_class.items()}}


def _boxes(labels: LabelMap) -> dict[int, _Box]:
    return {index: box for index, box in enumerate(find_objects(labels), start=1) if box}


def _around(one: _Box, other: _Box) -> _Box:
    return tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))


def _missed(shape: Sequence[int], spacing: Sequence[float]) -> dict[str, Score]:
    diagonal = float(np.linalg.norm(np.multiply(shape, spacing)))
    return {"dice": 0.0, "hd": diagonal, "hd95": diagonal, "nsd": 0.0}


def _compare(predicted: _Mask, reference: _Mask, spacing: Sequence[float], tolerance: float) -> dict[str, Score]:
    """Score two masks (X, Y, Z), neither of them empty, that their common bounding box was cut to."""
    masks = [torch.from_numpy(mask)[None, None] for mask in (predicted, reference)]
    # Measured once for HD and HD95, by the function that MONAI's compute_hausdorff_distance calls for either.
    _, both_ways, _ = get_edge_surface_distance(*(mask[0, 0] for mask in masks), spacing=spacing, symmetric=True)
    values = {
        "dice": compute_dice(*masks),
        "hd": torch.stack([distances.max() for distances in both_ways]).max(),
        "hd95": torch.stack([torch.quantile(distances, 0.95) for distances in both_ways]).max(),
        "nsd": compute_surface_dice(
            *masks, class_thresholds=[tolerance], include_background=True, spacing=spacing, use_subvoxels=True
        ),
    }
    return {metric: value.item() for metric, value in values.items()}
