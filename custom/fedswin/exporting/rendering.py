"""The texts of a model card, which are Jinja templates beside this module."""

from __future__ import annotations

from typing import Any

from fedswin.templates import templates_of

_TEMPLATES = templates_of("fedswin.exporting", keep_trailing_newline=True, autoescape=False)  # of Markdown


def render(template: str, **values: Any) -> str:
    """Fill a template of the folder ``templates``."""
    return _TEMPLATES.get_template(template).render(**values)
