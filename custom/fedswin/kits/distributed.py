"""Kits whose private key is made by their owner: what `nvflare cert` and `nvflare package` need, and leave to do."""

from __future__ import annotations

from pathlib import Path

import yaml
from cryptography.x509.oid import NameOID
from nvflare.lighter.constants import PropKey
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.utils import load_crt, load_private_key_file

from fedswin.errors import FedSwinError
from fedswin.federation.recipe import class_paths
from fedswin.kits.consortium import Consortium, Kind
from fedswin.kits.make import STATIC_FILES, capacity
from fedswin.kits.manifest import MANIFEST, Manifest, own_certificate, read_manifest, write_manifest
from fedswin.kits.policy import restrict

PARTICIPANT = "participant.yaml"
"""What `nvflare cert request` reads, in the folder that would be the site's kit."""

_CONFIGURATIONS: dict[str, Kind] = {
    "fed_server.json": "server",
    "fed_client.json": "site",
    "fed_admin.json": "person",
}
"""What NVFlare reads first in the folder ``startup`` of each kind of kit."""


def write_profile(plan: Consortium, authority: Path) -> None:
    """Write ``profile.yaml``, which `nvflare cert approve --profile` wants, into the authority's folder."""
    profile = {
        "name": plan.study,
        "scheme": STATIC_FILES["scheme"],
        "connection_security": "mtls",
        "server": {"host": plan.server.name, "fed_learn_port": plan.server.port},
    }
    _write(authority / "profile.yaml", profile)


def write_participants(plan: Consortium, kits: Path) -> None:
    """Write ``<site>/participant.yaml``, which `nvflare cert request` wants, for each site that makes its own key."""
    for site in plan.sites:
        if site.own_key:
            (kits / site.name).mkdir()
            participant = {"name": site.name, "type": "client", "org": site.organization}
            content = {
                "name": plan.study,
                "participants": [{**participant, PropKey.CAPACITY: capacity(site)}],
                "builders": [{"path": class_paths((StaticFileBuilder,))[0], "args": STATIC_FILES}],
            }
            _write(kits / site.name / PARTICIPANT, content)


def adopt(kit: Path, *, code_in_jobs: bool = False) -> Manifest:
    """Make a kit of `nvflare package` what `fedswin provision` makes: with the kits' policy, and a manifest.

    The manifest is signed with the participant's own key, since the authority never sees the kit.

    Args:
        kit: the folder of the kit.
        code_in_jobs: whether a lead or project_admin may send code with a job, as the consortium's file says.

    Returns:
        The manifest.

    Raises:
        FedSwinError: if it is no kit, or has a manifest.
    """
    if (kit / MANIFEST).exists():
        raise FedSwinError(f"{kit} has a manifest, so there is nothing to do: fedswin provision made it, or adopt did.")
    startup = kit / "startup"
    kinds = [kind for name, kind in _CONFIGURATIONS.items() if (startup / name).is_file()]
    if not kinds:
        raise FedSwinError(f"{kit} is no kit. Give the folder that holds 'startup' and 'local'.")
    restrict(kit, kinds[0], code_in_jobs=code_in_jobs)
    key = load_private_key_file(startup / ("server.key" if kinds[0] == "server" else "client.key"))
    study, participant = (
        str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
        for certificate in (load_crt(startup / "rootCA.pem"), own_certificate(kit))
    )
    write_manifest(kit, study, participant, kinds[0], key, "participant")
    return read_manifest(kit)


def _write(path: Path, content: object) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
