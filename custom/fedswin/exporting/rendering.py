"""The texts of a model card, which are Jinja templates beside this module."""

from __future__ import annotations

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

_ENVIRONMENT = Environment(
    loader=PackageLoader("fedswin.exporting"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    autoescape=False,  # Markdown
)


def render(template: str, **values: Any) -> str:
    """Fill a template of the folder ``templates``."""
    return _ENVIRONMENT.get_template(template).render(**values)
