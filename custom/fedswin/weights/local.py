"""Modules that a job names: those that each site keeps to itself, and those that are not trained."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from itertools import accumulate

from torch import Tensor

from fedswin.errors import FedSwinError, nearest


def local_names(names: Collection[str], modules: Iterable[str]) -> set[str]:
    """Return those of the parameters ``names`` that ``federation.local`` names: they never leave a site.

    Raises:
        FedSwinError: if a module holds no parameter, or the modules hold all of them.
    """
    return _inside(names, modules, "federation.local", "so nothing is exchanged")


def frozen_names(names: Collection[str], modules: Iterable[str]) -> set[str]:
    """Return those of the parameters ``names`` that ``trainer.frozen`` names: they are not trained.

    Raises:
        FedSwinError: if a module holds no parameter, or the modules hold all of them.
    """
    return _inside(names, modules, "trainer.frozen", "so nothing is trained")


def split(tensors: Mapping[str, Tensor], local: Collection[str]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Part ``tensors`` into those that are shared and those whose names are ``local``; none is copied.

    The server so parts the initial weights, and sends a new site both halves. The site so parts what comes, takes the
    local half if it has no values of its own, and parts what it has trained, to send the shared half.
    """
    shared = {name: tensor for name, tensor in tensors.items() if name not in local}
    return shared, {name: tensor for name, tensor in tensors.items() if name in local}


def _inside(names: Collection[str], modules: Iterable[str], setting: str, outcome: str) -> set[str]:
    """Return the parameters that lie in one of ``modules``.

    A module covers all that is below it: ``rotation`` covers ``rotation.0.weight``, and not ``rotations.weight``.
    """
    found: set[str] = set()
    for module in modules:
        inside = {name for name in names if name.startswith(f"{module}.")}
        if not inside:
            hint = nearest(module, _modules(names))
            raise FedSwinError(f"{setting} names '{module}', a module without a parameter in this model{hint}.")
        found |= inside
    if found == set(names):
        raise FedSwinError(f"{setting} covers all of the model, {outcome}. Name fewer modules.")
    return found


def _modules(names: Iterable[str]) -> list[str]:
    """List every module that holds a parameter: for ``rotation.0.weight``, ``rotation`` and ``rotation.0``."""
    paths = (accumulate(name.split(".")[:-1], "{}.{}".format) for name in names)
    return sorted({module for path in paths for module in path})
