"""What a model segments beside what a person did, as a picture for the site's own people."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from fedswin.data.planes import AXES, Picture, busiest, grey, montage, overlaid, square, upright


def segmentation_picture(image: Tensor, label: Tensor, predicted: Tensor, spacing: Sequence[float]) -> Picture:
    """Draw a case: the image, with its label and with the prediction in colour; a row for each of three planes.

    Each plane is the one that crosses most organs of the label.

    Args:
        image: (channels, X, Y, Z); the first channel is drawn, black to white over its own range.
        label: class indices, (1, X, Y, Z).
        predicted: likewise.
        spacing: the voxel size along X, Y and Z.
    """
    volume, labels, guesses = (tensor[0].cpu().numpy() for tensor in (image, label, predicted))
    low, high = float(volume.min()), float(volume.max())
    rows = []
    for axis in AXES:
        place = busiest(labels, axis)
        plane, own, guess = (square(upright(each, axis, place), axis, spacing) for each in (volume, labels, guesses))
        picture = grey((plane - low) / max(high - low, 1e-6))
        rows.append([picture, overlaid(picture, own), overlaid(picture, guess)])
    return montage(rows)
