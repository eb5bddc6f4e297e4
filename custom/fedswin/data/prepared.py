"""A preprocessed case as it is kept, in 16 bits, of which only what is read becomes float32."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedswin.config import DataSettings

Arrays = Mapping[str, NDArray[Any]]
"""What is kept of a case: ``image`` (channels, X, Y, Z), uint16 or float16, see `as_kept`; for fine-tuning also
``label`` (1, X, Y, Z), uint8 class indices, and the flat indices in ``label_fg_indices`` and ``label_bg_indices``."""
Box = tuple[slice, ...]
"""The voxels of a box in a volume (X, Y, Z)."""

_INDICES = ("label_fg_indices", "label_bg_indices")
"""The names that MONAI gives the flat indices of foreground and background."""

_MOST = 2**16 - 1
_WHOLE: Box = (slice(None),) * 3


class Prepared:
    """A preprocessed case in RAS. A crop is read without its volume, and of a memory map only its pages.

    Args:
        arrays: what is kept of it.
        data: the settings that it was kept with.
    """

    def __init__(self, arrays: Arrays, data: DataSettings) -> None:
        self._arrays = arrays
        self._data = data

    @property
    def shape(self) -> tuple[int, ...]:
        """The size in voxels along R, A and S."""
        return self._arrays["image"].shape[1:]

    def image(self, box: Box = _WHOLE) -> Tensor:
        """Read the image in ``box`` (channels, X, Y, Z), float32, for CT of 0 to 1."""
        x, y, z = box
        return as_read(torch.from_numpy(self._arrays["image"][:, x, y, z]), self._data)

    def label(self) -> Tensor:
        """Read the class indices (1, X, Y, Z), uint8; for fine-tuning only."""
        return torch.from_numpy(self._arrays["label"])

    def stored(self) -> dict[str, Tensor]:
        """Return what is kept, without reading or copying it, for transforms that crop; see `as_read`."""
        return {name: torch.from_numpy(array) for name, array in self._arrays.items()}


def as_kept(item: Mapping[str, Any], data: DataSettings) -> dict[str, NDArray[Any]]:
    """Return a preprocessed case in the form to keep.

    CT is in even steps, and whole HU fall on a step, so they lose nothing: the error is 1/64 HU at most in a window of
    2000 HU. Any other modality has no bounds, and is in half precision, with a relative error of 2^-11 at most. It does
    not overflow: no value of 2^32 voxels of standard deviation 1 can be above 65504.

    Args:
        item: what `fedswin.data.loading.preprocessing` makes.
        data: decides the form of the image.
    """
    arrays = {name: np.ascontiguousarray(item[name]) for name in ("image", "label", *_INDICES) if name in item}
    image = arrays["image"]
    kept = np.rint(image * np.float32(_steps(data))).astype(np.uint16) if data.is_ct else image.astype(np.float16)
    places = {name: arrays[name].astype(index_type(kept[0].size)) for name in _INDICES if name in arrays}
    return {**arrays, "image": kept, **places}


def as_read(image: Tensor, data: DataSettings) -> Tensor:
    """Return an image, or a part of one, that `as_kept` has made as float32."""
    read = image.to(torch.float32)
    return read.div_(_steps(data)) if data.is_ct else read


def index_type(voxels: int) -> np.dtype[Any]:
    """Return the type of the flat index of a voxel among ``voxels``."""
    return np.dtype(np.int32 if voxels <= 2**31 else np.int64)


def _steps(data: DataSettings) -> float:
    """Return how many steps the window has: as many to each HU as fit into 16 bits, where one does."""
    low, high = data.hu_window
    return _MOST // (high - low) * (high - low) or float(_MOST)
