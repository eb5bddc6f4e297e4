"""From a consortium's file to the startup kits of its server, sites and people."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from pathlib import Path

from nvflare.lighter.constants import CtxKey, PropKey
from nvflare.lighter.entity import Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner

from fedswin.errors import FedSwinError
from fedswin.kits.consortium import AUTHORITY, SERVER, Consortium, load_consortium
from fedswin.kits.policy import restrict_server, restrict_site
from fedswin.output import refuse_output, staged

_SCHEME = "grpc"
"""NVFlare's default, http, drops the connection at a message over 4 MB, such as a job with its initial weights."""
_PRICE = ": the kits in it then stop working, since they were signed by the authority that is replaced"


def provision(consortium: Path, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Make the startup kits of a consortium with NVFlare's provisioner.

    ``out`` then holds ``server``, a folder for each site and person, and ``authority``: the key that
    signed all certificates, which must stay private.

    Args:
        consortium: the consortium's file.
        out: the folder to write; it appears whole or not at all.
        overwrite: replace earlier kits at ``out``. Their authority goes too, so they work no longer.

    Returns:
        The folders of the kits.

    Raises:
        FedSwinError: if the file is wrong, ``out`` exists, or NVFlare cannot make the kits.
    """
    plan = load_consortium(consortium)
    refuse_output(out, overwrite=overwrite, kind="a folder of kits", is_kind=_holds_kits, price=_PRICE)
    with staged(out) as kits, tempfile.TemporaryDirectory(dir=kits.parent) as work:
        _make_kits(plan, Path(work), kits)
    return [out / name for name in plan.kit_names]


def _holds_kits(out: Path) -> bool:
    return (out / AUTHORITY).is_dir()


def _make_kits(plan: Consortium, work: Path, kits: Path) -> None:
    """Make the kits in ``work``, and move them to ``kits`` as the result shall be laid out."""
    made = _run_provisioner(plan, work)
    for kit, participant in zip(plan.kit_names, [plan.server.name, *plan.kit_names[1:]], strict=True):
        (made / participant).rename(kits / kit)
    (work / plan.study / "state").rename(kits / AUTHORITY)
    _make_private(kits / AUTHORITY)
    restrict_server(kits / SERVER / "local", code_in_jobs=plan.code_in_jobs)
    for site in plan.sites:
        restrict_site(kits / site.name / "local", code_in_jobs=plan.code_in_jobs)


def _run_provisioner(plan: Consortium, work: Path) -> Path:
    """Run NVFlare's provisioner in ``work`` and return the folder that holds its kits."""
    builders = [WorkspaceBuilder(), StaticFileBuilder(config_folder="config", scheme=_SCHEME), CertBuilder()]
    silent = logging.Logger("provisioner")  # NVFlare prints where it is given none; its errors are in the context
    silent.addHandler(logging.NullHandler())
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        context = Provisioner(str(work), builders).provision(_project(plan), logger=silent)
    if context.get(CtxKey.BUILD_ERROR):
        raise FedSwinError(f"NVFlare could not make the kits: {'; '.join(context.get_errors())}")
    return Path(context.get_result_location())


def _project(plan: Consortium) -> Project:
    project = Project(plan.study, description="")
    project.set_server(plan.server.name, plan.server.organization, _server_properties(plan))
    for site in plan.sites:
        capacity = {PropKey.NUM_GPUS: site.gpus, PropKey.GPU_MEM: 0}
        project.add_client(site.name, site.organization, {PropKey.CAPACITY: capacity})
    for person in plan.people:
        project.add_admin(person.email, person.organization, {PropKey.ROLE: person.role})
    return project


def _server_properties(plan: Consortium) -> dict[str, object]:
    properties: dict[str, object] = {PropKey.FED_LEARN_PORT: plan.server.port}
    if plan.server.name != plan.server.host:
        properties[PropKey.HOST_NAMES] = [plan.server.host]
    return properties


def _make_private(authority: Path) -> None:
    """NVFlare writes the root key, and a copy of everybody's key, readable for all."""
    authority.chmod(0o700)
    for path in authority.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
