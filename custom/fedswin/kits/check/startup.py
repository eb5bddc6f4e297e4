"""Whether a kit is as it was made, and lies where its process can run."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result
from fedswin.kits.kit import survives_a_shell
from fedswin.kits.manifest import check_manifest, read_manifest


def check_unaltered(context: Context) -> Iterator[Result]:
    """Compare the kit with its manifest, and the manifest with the authority's signature."""
    faults = check_manifest(context.kit.folder, context.authority)
    for fault in faults:
        yield Result("manifest", "error", fault.problem, f"{fault.fix}.")
    if not faults:
        manifest = read_manifest(context.kit.folder)
        found = (
            f"as it was made on {manifest.made} for {manifest.participant}, under the authority {manifest.authority}"
        )
        fix = "" if context.authority else "Compare that with what the study lead says; --authority does it for you."
        yield Result("manifest", "ok", found, fix)
        if manifest.signed_by == "participant":  # so could whoever has had the kit, and with it its key, on the way
            found = f"the manifest is signed with the key of {manifest.participant} itself, by 'fedswin adopt'"
            fix = "That is right if the key was made here. If the kit was sent to you, do not start it: it was altered."
            yield Result("manifest", "warning", found, fix)


def check_place(context: Context) -> Iterator[Result]:
    """NVFlare writes paths into the command line of a job unquoted."""
    broken = [path for path in (str(context.kit.folder), sys.executable) if not survives_a_shell(path)]
    for path in broken:
        fix = "Move it to a path of letters, digits, '/', '-', '_' and '.'."
        yield Result("place", "error", f"'{path}': NVFlare cannot start a job from a path like this", fix)
    if not broken:
        yield Result("place", "ok", str(context.kit.folder))
