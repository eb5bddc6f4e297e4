"""What two images with the same voxels have in common, however their files were written."""

from __future__ import annotations

import hashlib
from typing import Any

import nibabel as nib
from numpy.typing import NDArray


def voxel_digest(voxels: NDArray[Any], affine: NDArray[Any]) -> str:
    """Return the SHA-256 of an image's voxels, in hexadecimal.

    It is taken over float32 in the order of R, A and S, so that it does not depend on the compression, the type on
    disk, the scaling by the header, or the way in which the axes are stored. Where the image lies is no part of it.

    Args:
        voxels: (x, y, z) or (x, y, z, channels).
        affine: (4, 4), from voxel indices to mm.
    """
    upright = nib.apply_orientation(voxels, nib.io_orientation(affine))
    digest = hashlib.sha256(repr(upright.shape).encode())
    for number in range(upright.shape[2]):  # a slice at a time: no copy of the volume
        digest.update(upright[:, :, number].astype("<f4").tobytes())
    return digest.hexdigest()
