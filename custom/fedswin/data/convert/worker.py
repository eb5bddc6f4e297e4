"""What a worker process of a conversion does: convert one volume. It imports no torch, so that it starts quickly."""

from __future__ import annotations

import logging
import os
import resource
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import SimpleITK
from numpy.typing import NDArray

from fedswin.data.convert.case_files import ConvertedCase, write_case
from fedswin.data.convert.dicom_volume import read_series
from fedswin.data.convert.image_volume import read_file, read_label
from fedswin.data.convert.source import ConversionRefusedError, LeftOut, Source, Volume
from fedswin.data.volume import hu_problem
from fedswin.errors import FedSwinError

GO_ON = "Make room or mend that, and go on with --resume."


class Outcome(NamedTuple):
    """What became of a source: a case, or none; and what was left out, which may be its label map alone."""

    case: ConvertedCase | None
    left_out: tuple[LeftOut, ...] = ()


def prepare(memory: int) -> None:
    """Prepare this process: it may take so many bytes for voxels, says nothing of its own, and ends with its parent."""
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    logging.getLogger().addHandler(logging.NullHandler())
    warnings.simplefilter("ignore")
    threading.Thread(target=_end_with_parent, daemon=True).start()
    limit = psutil.Process().memory_info().vms + memory  # all that is reserved so far, for threads too, is no voxel
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def convert_source(source: Source, folder: Path, *, resample: bool) -> Outcome:
    """Convert a volume into ``folder``.

    A label map that cannot be used is left out and the image is converted. DICOM says what it shows; an image of
    another form, which does not, is left out if its values cannot be HU, lest a label map is taken for a scan.

    Args:
        source: the volume.
        folder: of the conversion.
        resample: see `fedswin.data.convert.dicom_volume.read_series`.

    Raises:
        FedSwinError: if it cannot be written.
    """
    try:
        with _refusing():
            volume = _read(source, resample)
            label, left_out = _label_of(source, volume)
            return Outcome(_write(folder, source.form, volume, label), left_out)
    except ConversionRefusedError as refusal:
        return Outcome(None, (LeftOut(source.files, refusal.reason, refusal.fix),))


def _read(source: Source, resample: bool) -> Volume:
    is_dicom = source.form == "DICOM"
    volume = read_series(source, resample=resample) if is_dicom else read_file(source.files[0])
    problem = hu_problem(volume.voxels)
    if problem and not is_dicom:
        fix = "If it is CT, convert it to HU; if it is a label map, put it beside its image as label.*."
        raise ConversionRefusedError("its values are no HU", fix)
    return volume._replace(notes=(*volume.notes, problem)) if problem else volume


def _label_of(source: Source, volume: Volume) -> tuple[NDArray[Any] | None, tuple[LeftOut, ...]]:
    if source.label is None:
        return None, ()
    try:
        with _refusing():
            return read_label(source.label, volume), ()
    except ConversionRefusedError as refusal:
        return None, (LeftOut((source.label,), f"a label map, its image kept: {refusal.reason}", refusal.fix),)


def _write(folder: Path, form: str, volume: Volume, label: NDArray[Any] | None) -> ConvertedCase:
    try:
        return write_case(folder, form, volume, label)
    except OSError as error:
        raise FedSwinError(f"{error.filename or folder}: {error.strerror}. {GO_ON}") from None


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn every error of a reader into a refusal: damaged files make libraries raise almost anything."""
    try:
        yield
    except (ConversionRefusedError, FedSwinError):
        raise
    except MemoryError:
        reason = "needs more memory than a worker may have"
        raise ConversionRefusedError(reason, "Use fewer --workers, or a larger machine.") from None
    except Exception as error:
        raise ConversionRefusedError(f"cannot be read ({type(error).__name__})") from None


def _end_with_parent() -> None:
    parent = parent_process()
    if parent:
        connection.wait([parent.sentinel])
        os._exit(1)
