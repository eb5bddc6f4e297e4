"""The Jinja templates of the package's rooms: each room that writes texts has a folder ``templates``."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def templates_of(package: str, **options: Any) -> Environment:
    """Return the templates of ``package``, which fail where a value is missing; values are escaped for HTML and XML.

    Args:
        package: its dotted name.
        options: of Jinja's ``Environment``, where they differ.
    """
    return Environment(
        loader=PackageLoader(package),
        undefined=StrictUndefined,
        **{"autoescape": True, "trim_blocks": True, "lstrip_blocks": True, **options},
    )
