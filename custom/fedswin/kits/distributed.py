"""Kits whose private key is made by their owner: what `nvflare cert` and `nvflare package` need, and leave to do."""

from __future__ import annotations

from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.x509.oid import NameOID
from nvflare.lighter.constants import PropKey
from nvflare.lighter.impl.static_file import StaticFileBuilder
from nvflare.lighter.utils import load_private_key_file

from fedswin.errors import FedSwinError
from fedswin.federation.recipe import class_paths
from fedswin.kits.consortium import Consortium, Kind
from fedswin.kits.make import STATIC_FILES, capacity
from fedswin.kits.manifest import MANIFEST, Manifest, own_certificate, read_manifest, root_certificate, write_manifest
from fedswin.kits.policy import restrict
from fedswin.kits.site_files import write_kit_files

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


def write_participants(plan: Consortium, kits: Path, authority: str) -> None:
    """Write ``<site>`` for each site that makes its own key: what `nvflare cert request` wants, and the site's pages.

    Args:
        plan: the consortium.
        kits: the folder to write into.
        authority: the fingerprint of the authority.
    """
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
            write_kit_files(kits / site.name, plan, site.name, authority)


def adopt(kit: Path, *, code_in_jobs: bool = False) -> Manifest:
    """Make a kit of `nvflare package` what `fedswin provision` makes: with the kits' policy, and a manifest.

    The manifest is signed with the participant's own key, since the authority never sees the kit.

    Args:
        kit: the folder of the kit.
        code_in_jobs: whether a lead or project_admin may send code with a job, as the consortium's file says.

    Returns:
        The manifest.

    Raises:
        FedSwinError: if it is no kit, is incomplete, or has a manifest.
    """
    if (kit / MANIFEST).exists():
        raise FedSwinError(f"{kit} has a manifest, so there is nothing to do: fedswin provision made it, or adopt did.")
    startup = kit / "startup"
    kinds = [kind for name, kind in _CONFIGURATIONS.items() if (startup / name).is_file()]
    if not kinds:
        raise FedSwinError(f"{kit} is no kit. Give the folder that holds 'startup' and 'local'.")
    study, participant = (_name(certificate) for certificate in (root_certificate(kit), own_certificate(kit)))
    key = _own_key(startup / ("server.key" if kinds[0] == "server" else "client.key"))
    restrict(kit, kinds[0], code_in_jobs=code_in_jobs)
    write_manifest(kit, study, participant, kinds[0], key, "participant")
    return read_manifest(kit)


def _name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _own_key(path: Path) -> RSAPrivateKey:
    try:
        return load_private_key_file(path)
    except (OSError, ValueError) as error:
        raise FedSwinError(
            f"{path}: cannot read the private key ({error}). Make the kit again: nvflare package."
        ) from None


def _write(path: Path, content: object) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
