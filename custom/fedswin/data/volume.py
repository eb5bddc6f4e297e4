"""One NIfTI volume: read it whole, and judge whether it is what training needs."""

from __future__ import annotations

import gzip
import itertools
import math
import os
import zlib
from collections.abc import Callable, Collection
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.nifti1 import data_type_codes
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from fedswin.errors import FedSwinError

SUFFIXES = (".nii.gz", ".nii")
SMALLEST_SPACING_MM = 1e-3
GRID_TOLERANCE_MM = 1e-2
"""How far the corners of a label grid may lie from its image's: far above the rounding of float32
headers (1e-4 mm), far below a voxel."""

_AIR_AND_FAT = (-1100, -75)
_SOFT_TISSUE = (-200, 200)
_BLANK_BELOW = -1500
_CHUNK_BYTES = 1 << 20
_DEFLATE_RATIO = 1032
"""No byte of a gzip file can stand for more."""
_UNREADABLE = (
    ImageFileError, HeaderDataError, OSError, EOFError, ValueError, OverflowError, MemoryError, zlib.error
)  # fmt: skip

Voxels = NDArray[Any]
_T = TypeVar("_T")


class Grid(NamedTuple):
    """The size in voxels and the spacing in mm of an image, along R, A and S."""

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]


class VolumeError(FedSwinError):
    """A file that cannot be used: ``path``, the ``problem`` and its ``fix``, also as one message."""

    def __init__(self, path: Path, problem: str, fix: str) -> None:
        super().__init__(f"{path}: {problem}. {fix}")
        self.path, self.problem, self.fix = path, problem, fix

    def __reduce__(self) -> tuple[type[VolumeError], tuple[Path, str, str]]:
        """Let it pass from one process to another: an exception is made again from its message otherwise."""
        return type(self), (self.path, self.problem, self.fix)


class UnreadableError(VolumeError):
    """A file that is truncated or damaged; ``problem`` quotes a library, which may have named the path."""


def volume_suffix(path: Path) -> str:
    """Return ``.nii.gz`` or ``.nii``, or an empty string if ``path`` is not named as a NIfTI file."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), "")


def volume_stem(path: Path) -> str:
    """Return the file's name without ``.nii.gz`` or ``.nii``."""
    return path.name.removesuffix(volume_suffix(path))


def read_volume(path: Path, channels: int = 1) -> nib.Nifti1Image:
    """Open a NIfTI-1 or NIfTI-2 file and check its header; its voxels stay on disk.

    Args:
        path: the file.
        channels: how many it must hold; with more than one they are its fourth dimension.

    Raises:
        VolumeError: if the file is missing, is not NIfTI, claims more voxels than its bytes can hold, is not 3-D or
            has other channels, holds no voxel or colours, or its affine is singular or not finite.
    """
    if not os.path.isfile(path):  # Path.is_file raises for a name that is too long
        raise VolumeError(path, "there is no such file", "Put it there, or take the case off the list.")
    if not volume_suffix(path):
        raise VolumeError(path, "is not named .nii or .nii.gz", "Convert it with 'fedswin data convert'.")
    _require_room(path)
    image = _readable(path, lambda: nib.load(path))
    if not isinstance(image, nib.Nifti1Image):
        raise VolumeError(path, f"is not NIfTI but {type(image).__name__}", "Convert it to NIfTI.")
    _require_volume(path, image, channels)
    require_affine(path, np.asarray(image.affine))
    return image


def read_voxels(path: Path, channels: int = 1) -> Voxels:
    """Read all voxels of a NIfTI file, as stored (scaled where the header scales), to the last byte.

    Returns:
        An array ``(x, y, z)``, with several channels ``(x, y, z, channels)``, of integers or floats; for CT, in HU.

    Raises:
        VolumeError: as ``read_volume``; also if the file is truncated or damaged (a gzip file's checksum
            is verified), or a voxel is NaN or infinite.
    """
    kind = type(read_volume(path, channels))
    voxels = _readable(path, lambda: _read_to_the_end(path, kind))
    bad = voxels.size - np.count_nonzero(np.isfinite(voxels))
    if bad:
        raise VolumeError(path, f"{bad} of {voxels.size} voxels are NaN or infinite", "Convert it again.")
    return voxels


def read_grid(path: Path) -> Grid:
    """Read the grid of a NIfTI file, of any number of channels, from its header alone.

    Raises:
        VolumeError: if the header cannot be read, or its affine is singular or not finite.
    """
    image = _readable(path, lambda: nib.load(path))
    require_affine(path, np.asarray(image.affine))
    return grid_of(image)


def grid_of(image: nib.Nifti1Image) -> Grid:
    """Return the grid of an image whose affine is sound, in whatever way its axes are stored."""
    r, a, s = nib.io_orientation(image.affine)[:, 0].argsort()
    shape = (*image.shape, 1, 1)  # NIfTI may leave out last axes that are one voxel wide
    spacing = nib.affines.voxel_sizes(image.affine).tolist()
    return Grid((shape[r], shape[a], shape[s]), (spacing[r], spacing[a], spacing[s]))


def require_bytes(path: Path, claimed: int, *, is_packed: bool) -> None:
    """Refuse a file that cannot hold what its header claims, before anything is set aside for it.

    Args:
        path: the file.
        claimed: how many bytes it must hold, unpacked.
        is_packed: whether they are compressed, by gzip or zlib.

    Raises:
        VolumeError: with both numbers.
    """
    room = path.stat().st_size * (_DEFLATE_RATIO if is_packed else 1)
    if claimed > room:
        problem = f"its header claims {claimed} bytes, but the file can hold {room} at most"
        raise VolumeError(path, problem, "It is truncated or damaged: copy or convert it again.")


def require_affine(path: Path, affine: NDArray[np.floating[Any]]) -> None:
    """Check an affine (4, 4), in mm, that was read from ``path``.

    Raises:
        VolumeError: if it is not finite or singular, or voxels are smaller than `SMALLEST_SPACING_MM`.
    """
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    fix = "Convert it again from DICOM, or set its affine."
    if not np.isfinite(affine).all() or spacing.min() < SMALLEST_SPACING_MM:
        raise VolumeError(path, f"its spacing is {np.round(spacing, 4).tolist()} mm", fix)
    if abs(np.linalg.det(affine[:3, :3] / spacing)) < 1e-3:
        raise VolumeError(path, "its affine is singular: two axes point the same way", fix)


def require_same_grid(path: Path, image: nib.Nifti1Image, label: nib.Nifti1Image) -> None:
    """Check that ``label``, read from ``path``, has the shape of ``image`` and lies on it.

    Raises:
        VolumeError: if the shapes differ, or a corner voxel lies over ``GRID_TOLERANCE_MM`` away.
    """
    fix = "Resample the label to the image's grid (nearest neighbour), or pair it with its own image."
    if label.shape != image.shape[:3]:
        raise VolumeError(path, f"has shape {label.shape}, but its image {image.shape[:3]}", fix)
    corners = np.array(list(itertools.product(*[(0, size - 1) for size in label.shape], (1,))))
    shift = corners @ (np.asarray(label.affine) - np.asarray(image.affine)).T
    distance = float(np.linalg.norm(shift, axis=1).max())
    if distance > GRID_TOLERANCE_MM:
        raise VolumeError(path, f"lies up to {distance:.3g} mm off its image (their affines differ)", fix)


def require_label_values(path: Path, voxels: Voxels, allowed: Collection[int] | None) -> None:
    """Check that a label map holds whole numbers, and only ``allowed`` ones (``None``: any).

    Raises:
        VolumeError: naming up to ten of the values that are wrong.
    """
    values = np.unique(voxels)
    fractions = values[values != np.round(values)]
    if fractions.size:
        fix = "Make the label map again with nearest-neighbour interpolation."
        raise VolumeError(path, f"label values are not whole numbers: {_some(fractions)}", fix)
    foreign = values if allowed is None else values[~np.isin(values, list(allowed))]
    if allowed is not None and foreign.size:
        fix = f"Known are {_some(np.array(sorted(allowed)))}: correct the label map, or the job's classes."
        raise VolumeError(path, f"unknown label values: {_some(foreign)}", fix)


def hu_problem(voxels: Voxels) -> str | None:
    """Say why ``voxels`` cannot be Hounsfield units, and what to add if that is all, or return ``None`` if they can.

    Judged by where the bulk lies, so neither padding nor a crop without air is a fault. In HU, soft
    tissue lies within -200..200. Add 1024 (stored values of 0..4095, a rescale intercept not applied) and it lies
    about 1000-1100, with nothing left where fat and lung were; rescale twice and it lies at -1000. Air and bone alone
    tell little: shifted by 1024, air falls on soft tissue and soft tissue on bone. But every CT has voxels below 0.

    Args:
        voxels: an array of any shape, finite.
    """
    if not voxels.size or voxels.min() == voxels.max():
        return "holds one value only: it is no CT"
    if voxels.max() < voxels.min() + 50.0:
        return f"all voxels lie within {voxels.min():.3g}..{voxels.max():.3g}: they are normalised, not HU"
    body = _without_padding(voxels)
    low, high = float(body.min()), float(body.max())
    if low >= 0 and high <= 255:
        return f"all voxels lie within {low:.3g}..{high:.3g}: they were squeezed to 8 bits, and are not HU"
    return _shift_problem(body) or (_stored_problem(low, high) if low >= 0 else None)


def _shift_problem(body: Voxels) -> str | None:
    above_bone = _share(body, 600, np.inf)
    soft_and_1024 = _share(body, 800, 1250)
    # A crop of dense bone has bulk up there too, but spread over 600..2000, and fat and marrow below.
    is_peak = soft_and_1024 >= max(0.15, above_bone / 2)
    if is_peak and _share(body, *_AIR_AND_FAT) < 0.02:
        shifted = f"{soft_and_1024:.0%} of the voxels lie within 800..1250, as soft tissue shifted by +1024 does"
        return f"{shifted}: add -1024 (stored values without their rescale?)"
    soft = _share(body, *_SOFT_TISSUE)
    if soft >= 0.05:
        return None
    twice = _share(body, -1224, -824) >= 0.05
    likely = ": add 1024 (shifted by about -1024: rescaled twice?)" if twice else ""
    return f"only {soft:.1%} of the voxels lie within -200..200, where soft tissue is in HU{likely}"


def _stored_problem(low: float, high: float) -> str:
    stored = f"all voxels lie within {low:.0f}..{high:.0f}, and none below 0, where fat, lung and air are in HU"
    return f"{stored}: add -1024 if these are stored values without their rescale"


def _without_padding(voxels: Voxels) -> Voxels:
    # No tissue is darker than air, and what is painted outside the field of view is one value, the lowest.
    return cast(Voxels, voxels[voxels > max(voxels.min(), _BLANK_BELOW)])


def _share(voxels: Voxels, low: float, high: float) -> float:
    return np.count_nonzero((voxels >= low) & (voxels <= high)) / voxels.size


def _readable(path: Path, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except _UNREADABLE as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        fix = "It is truncated or damaged: copy or convert it again."
        raise UnreadableError(path, f"cannot be read as NIfTI ({reason})", fix) from None


def _read_to_the_end(path: Path, kind: type[nib.Nifti1Image]) -> Voxels:
    with _opened(path) as stream:
        voxels = np.asanyarray(kind.from_stream(stream).dataobj)
        while stream.read(_CHUNK_BYTES):  # gzip compares its checksum at the end only
            pass
    return voxels


def _require_room(path: Path) -> None:
    header = _readable(path, lambda: _raw_header(path))
    if header is None:
        return  # what it is instead, nibabel will say
    if int(header["datatype"]) not in data_type_codes.code:
        raise VolumeError(path, f"its voxels are of the unknown type {header['datatype']}", "Convert it again.")
    claimed = _readable(path, lambda: _claimed_bytes(header))
    require_bytes(path, claimed, is_packed=volume_suffix(path) == ".nii.gz")


def _raw_header(path: Path) -> nib.Nifti1Header | None:
    with _opened(path) as stream:
        content = stream.read(nib.Nifti2Header.sizeof_hdr)
    for kind in (nib.Nifti1Header, nib.Nifti2Header):
        sizes = (int.from_bytes(content[:4], order) for order in ("little", "big"))
        if len(content) >= kind.sizeof_hdr and kind.sizeof_hdr in sizes:
            return kind(content[: kind.sizeof_hdr], check=False)
    return None


def _claimed_bytes(header: nib.Nifti1Header) -> int:
    voxels = math.prod(abs(int(size)) for size in header.get_data_shape())
    return int(header.get_data_offset()) + voxels * int(header.get_data_dtype().itemsize)


def _opened(path: Path) -> IO[bytes]:
    opener: Callable[..., Any] = gzip.open if volume_suffix(path) == ".nii.gz" else open
    return opener(path, "rb")


def _require_volume(path: Path, image: nib.Nifti1Image, channels: int) -> None:
    shape, dtype = image.shape, image.get_data_dtype()
    if channels > 1 and (len(shape) != 4 or shape[3] != channels):
        fix = f"The job's data.channels are {channels}: give one file with the channels as its fourth dimension."
        raise VolumeError(path, f"has the shape {shape}, not 3-D with {channels} channels", fix)
    if channels == 1 and len(shape) != 3:
        raise VolumeError(path, f"is {len(shape)}-D, of shape {shape}", "Give each 3-D volume its own file.")
    if min(shape) < 1:
        raise VolumeError(path, f"has the impossible shape {shape}", "Its header is damaged. Convert it again.")
    if dtype.kind not in "iuf":
        raise VolumeError(path, f"its voxels are of type {dtype}, not numbers", "Convert it to int16 or float32.")


def _some(values: NDArray[Any]) -> str:
    shown = ", ".join(f"{value:g}" for value in values[:10].tolist())
    return shown + (f" and {values.size - 10} more" if values.size > 10 else "")
