"""NVFlare's provisioner makes kits, and we add what FedSwin has in them."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Collection
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from nvflare.lighter.constants import CtxKey, ParticipantType, PropKey
from nvflare.lighter.entity import Participant, Project
from nvflare.lighter.impl.cert import CertBuilder
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.impl.workspace import WorkspaceBuilder
from nvflare.lighter.provisioner import Provisioner
from nvflare.lighter.utils import Identity, generate_cert, generate_keys, serialize_cert

from fedswin.errors import FedSwinError
from fedswin.kits.authority import CLOCK_SKEW, Authority
from fedswin.kits.consortium import SERVER, Consortium, Hospital
from fedswin.kits.manifest import write_manifest
from fedswin.kits.policy import restrict
from fedswin.kits.site_files import write_kit_files

STATIC_FILES = {"config_folder": "config", "scheme": "grpc"}
"""Arguments of NVFlare's builder of the folder ``startup``: where a job has its configuration, and how messages go.
NVFlare's default, http, drops the connection at a message over 4 MB, such as a job with its initial weights."""


def make_kits(plan: Consortium, names: Collection[str], authority: Authority, out: Path) -> None:
    """Make kits, each with a new private key.

    Args:
        plan: the consortium.
        names: the kits to make, some of ``plan.kits``.
        authority: signs their certificates and manifests.
        out: the existing folder to put them into.

    Raises:
        FedSwinError: if NVFlare cannot make them.
    """
    if not names:
        return
    with tempfile.TemporaryDirectory(dir=out) as work:
        made = _run_provisioner(_project(plan, names, authority), plan.certificate_days, Path(work))
        for name in names:
            (made / (plan.server.name if name == SERVER else name)).rename(out / name)
    for name in names:
        restrict(out / name, plan.kits[name], code_in_jobs=plan.code_in_jobs)
        write_kit_files(out / name, plan, name, authority.fingerprint)
        write_manifest(out / name, plan.study, name, plan.kits[name], authority.key, "authority")


def capacity(site: Hospital) -> dict[str, int]:
    """What a site offers, as NVFlare has it; no memory is reserved on a GPU."""
    return {PropKey.NUM_GPUS: site.gpus, PropKey.GPU_MEM: 0}


class _Certificates(CertBuilder):
    """NVFlare's, which gives every participant 360 days from now."""

    def __init__(self, days: int) -> None:
        super().__init__()
        self._days = days

    def get_pri_key_cert(self, participant: Participant) -> tuple[RSAPrivateKey, x509.Certificate]:
        key, public_key = generate_keys()
        now = datetime.now(timezone.utc)
        server = participant if participant.type == ParticipantType.SERVER else None
        certificate = generate_cert(
            Identity(participant.subject, participant.org, participant.get_prop(PropKey.ROLE)),
            Identity(self.issuer),
            self.pri_key,
            public_key,
            server_default_host=server and server.get_default_host(),
            server_additional_hosts=server and server.get_prop(PropKey.HOST_NAMES),
            not_valid_before=now - CLOCK_SKEW,
            not_valid_after=min(now + timedelta(days=self._days), self.root_cert.not_valid_after_utc),
        )
        return key, certificate


def _run_provisioner(project: Project, days: int, work: Path) -> Path:
    """Run NVFlare's provisioner in ``work`` and return the folder that holds its kits."""
    builders = [WorkspaceBuilder(), StaticFileBuilder(**STATIC_FILES), _Certificates(days)]
    silent = logging.Logger("provisioner")  # NVFlare prints where it is given none; its errors are in the context
    silent.addHandler(logging.NullHandler())
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        context = Provisioner(str(work), builders).provision(project, logger=silent)
    if context.get(CtxKey.BUILD_ERROR):
        raise FedSwinError(f"NVFlare could not make the kits: {'; '.join(context.get_errors())}")
    return Path(context.get_result_location())


def _project(plan: Consortium, names: Collection[str], authority: Authority) -> Project:
    """The consortium as NVFlare sees it: the server, without which it makes nothing, and who shall have a kit."""
    root = serialize_cert(authority.certificate)
    project = Project(plan.study, description="", serialized_root_cert=root, root_private_key=authority.key)
    project.set_server(plan.server.name, plan.server.organization, _server_properties(plan))
    for site in plan.sites:
        if site.name in names:
            project.add_client(site.name, site.organization, {PropKey.CAPACITY: capacity(site)})
    for person in plan.people:
        if person.email in names:
            project.add_admin(person.email, person.organization, {PropKey.ROLE: person.role})
    return project


def _server_properties(plan: Consortium) -> dict[str, object]:
    properties: dict[str, object] = {PropKey.FED_LEARN_PORT: plan.server.port}
    if plan.server.name != plan.server.host:
        properties[PropKey.HOST_NAMES] = [plan.server.host]
    return properties
