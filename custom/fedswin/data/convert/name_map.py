"""What leads from the names in a site folder back to those in the archive: written only when it is asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from fedswin.data.convert.site_folder import Converted
from fedswin.errors import FedSwinError


def refuse_map(path: Path, sites: Sequence[Path]) -> None:
    """Make sure that a map of names may be written to ``path``.

    Raises:
        FedSwinError: if that is inside one of ``sites``, exists, or is in no folder that can be written.
    """
    if any(path.resolve().is_relative_to(site.resolve()) for site in sites):
        raise FedSwinError(f"{path} is in the site folder, which must not tell the old names. Put it elsewhere.")
    if os.path.lexists(path):
        raise FedSwinError(f"{path} exists, and may be all that knows a site's old names. Choose another name.")
    if not os.access(path.absolute().parent, os.W_OK):
        raise FedSwinError(f"{path} cannot be written. Choose a folder that exists, and that you may write.")


def write_map(path: Path, converted: Sequence[Converted], pseudonyms: Mapping[str, str]) -> None:
    """Write, for each case, the patient's pseudonym and id, and the source's files, for the owner's eyes alone.

    Raises:
        OSError: if it cannot be written, or is there already.
    """
    content = {
        item.case.name: {
            "patient": pseudonyms[item.source.patient],
            "original_patient": item.source.patient,
            "files": [str(path) for path in item.source.files],
        }
        for item in converted
    }
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps(content, indent=2) + "\n")
