"""What a kit holds for the people who run it: a page to follow, the site's policy, units and recipes to deploy it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from string import Template

import fedswin
from fedswin.kits.consortium import SERVER, Consortium, Hospital, Server

_TEMPLATES = Path(__file__).with_name("templates")
_CONSTRAINTS = "constraints.txt"
_NVFLARE_README = "readme.txt"
"""NVFlare's own page; it says to run ``start.sh``, which checks nothing."""
_FIRST_FREE_PORT = 1024
"""Below it, only root may listen."""


class _Text(Template):
    """A template whose placeholders are ``@{name}``: its texts are full of the shell's ``$``."""

    delimiter = "@"


def write_kit_files(kit: Path, plan: Consortium, name: str, authority: str) -> None:
    """Write what a kit of the server, a site or a person holds outside of NVFlare's folder ``startup``.

    The kit of a site names no other site.

    Args:
        kit: the kit, as NVFlare made it.
        plan: the consortium.
        name: whose kit it is: the server's, a site's or a person's.
        authority: the fingerprint of the authority.
    """
    (kit / _NVFLARE_README).unlink(missing_ok=True)
    common = _common(plan) | {"fingerprint": authority}
    if name == SERVER:
        _fill("server", kit, common | {"organization": plan.server.organization} | _server_values(plan.server))
    for site in plan.sites:
        if site.name == name:
            _fill("site", kit, common | _site_values(site))
    for person in plan.people:
        if person.email == name:
            about = {"email": name, "role": person.role, "organization": person.organization}
            _fill("lead" if person.submits else "watcher", kit, common | about)
    deployment = kit / "deployment"  # people have none
    _write(_TEMPLATES / _CONSTRAINTS, (deployment if deployment.is_dir() else kit) / _CONSTRAINTS, common)


def _common(plan: Consortium) -> dict[str, str]:
    return {
        "study": plan.study,
        "host": plan.server.host,
        "port": str(plan.server.port),
        "leads": ", ".join(person.email for person in plan.people if person.submits),
        "fedswin": fedswin.__version__,
        **{name: version(name).partition("+")[0] for name in ("nvflare", "torch", "monai")},
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
    }


def _server_values(server: Server) -> dict[str, str]:
    return {"capabilities": "CAP_NET_BIND_SERVICE" if server.port < _FIRST_FREE_PORT else ""}


def _site_values(site: Hospital) -> dict[str, str]:
    request = f"\n    device_requests: [{{Count: {site.gpus}, Capabilities: [[gpu]]}}]"
    numbers = ",".join(str(number) for number in range(site.gpus))
    return {
        "name": site.name,
        "organization": site.organization,
        "contact": f", {site.contact}" if site.contact else "",
        "gpus": str(site.gpus),
        "gpu_line": f"#CUDA_VISIBLE_DEVICES={numbers}" if site.gpus else "CUDA_VISIBLE_DEVICES=",
        "docker_gpus": "--gpus all " if site.gpus else "",
        "device_requests": request if site.gpus else "",
    }


def _fill(template: str, kit: Path, values: Mapping[str, str]) -> None:
    """Write each file of a template folder into the kit; the names of files may have placeholders, too."""
    root = _TEMPLATES / template
    for source in sorted(path for path in root.rglob("*") if path.is_file()):
        _write(source, kit / _Text(source.relative_to(root).as_posix()).substitute(values), values)


def _write(source: Path, target: Path, values: Mapping[str, str]) -> None:
    target.parent.mkdir(exist_ok=True)
    target.write_text(_Text(source.read_text()).substitute(values))
