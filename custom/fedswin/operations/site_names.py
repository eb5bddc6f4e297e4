"""What a site may be called in a study."""

from __future__ import annotations

import re

SITE_NAME_RULE = "letters, digits, '_', '-' and '.', the first a letter or digit, and not 'server' or 'global'"
"""The rule in words, for messages."""


def is_site_name(name: str) -> bool:
    """Tell whether a site may be called ``name``: NVFlare's server is ``server``, and ``global`` has curves too."""
    return bool(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name)) and name not in ("server", "global")
