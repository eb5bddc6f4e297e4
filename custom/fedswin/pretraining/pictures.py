"""What a pre-trained model sees and makes of it, as a picture for the site's own people."""

from __future__ import annotations

from torch import Tensor

from fedswin.data.planes import AXES, Picture, grey, montage, upright


def inpainting_picture(target: Tensor, masked: Tensor, inpainted: Tensor | None) -> Picture:
    """Draw a view: as it is, with cut-out, and as the model has filled it in; a row each for the middle planes.

    Args:
        target: the view, (channels, X, Y, Z); the first channel is drawn, black to white over its own range.
        masked: the view with cut-out.
        inpainted: the model's reconstruction; ``None`` if it has no head for it.
    """
    volumes = [volume[0].float().cpu().numpy() for volume in (target, masked, inpainted) if volume is not None]
    low, high = float(volumes[0].min()), float(volumes[0].max())
    scaled = [(volume - low) / max(high - low, 1e-6) for volume in volumes]
    return montage([[grey(upright(volume, axis, volume.shape[axis] // 2)) for volume in scaled] for axis in AXES])
