"""Whether what is installed here is what the study was set up with."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from nvflare.private.fed.app.utils import version_check

import fedswin
from fedswin.kits.check.context import Context
from fedswin.kits.check.result import Result, State
from fedswin.kits.manifest import read_manifest


def check_python(context: Context) -> Iterator[Result]:
    """NVFlare names the versions of Python that it takes."""
    try:
        version_check()
    except RuntimeError as error:
        yield Result("Python", "error", str(error).rstrip("."), "Install FedSwin with one of those.")
    else:
        yield Result("Python", "ok", platform.python_version())


def check_packages(context: Context) -> Iterator[Result]:
    """Sites and server must agree: FedSwin as a whole, NVFlare up to its minor version; others had better."""
    manifest = read_manifest(context.kit.folder)
    wanted = {"fedswin": manifest.fedswin, "nvflare": manifest.nvflare, **manifest.packages}
    for name, made_with in wanted.items():
        yield _compare(name, made_with, _installed(name))


def _compare(name: str, wanted: str, installed: str | None) -> Result:
    fix = f"Install {name} {wanted} in the environment that has FedSwin, or ask the study lead."
    if installed is None:
        return Result(name, "error", f"not installed; the kit was made with {wanted}", fix)
    if installed == wanted or (name != "fedswin" and _minor(installed) == _minor(wanted)):
        return Result(name, "ok", installed)
    state: State = "error" if name in ("fedswin", "nvflare") else "warning"
    return Result(name, state, f"{installed} is installed, and the kit was made with {wanted}", fix)


def _installed(name: str) -> str | None:
    """Return the version of a package; FedSwin's own may run from its source."""
    if name == "fedswin":
        return fedswin.__version__
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _minor(number: str) -> list[str]:
    """Return the first two parts of a version, without what a build adds, as in ``2.13.0+cpu``."""
    return number.partition("+")[0].split(".")[:2]
