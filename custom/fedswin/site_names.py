"""What a site may be called: in a study, in a federation's kits, and as a folder."""

from __future__ import annotations

import re

SITE_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]*"
"""The pattern: what NVFlare takes; it reads a dot in a site's name as the end of it."""
TAKEN = ("server", "global")
"""Names that no site may have: NVFlare's server, and the global model, which has curves as sites have."""
SITE_NAME_RULE = "letters, digits, '_' and '-', the first a letter or digit, and not 'server' or 'global'"
"""The rule in words, for messages."""


def is_site_name(name: str) -> bool:
    """Tell whether a site may be called ``name``."""
    return bool(re.fullmatch(SITE_NAME, name)) and name.lower() not in TAKEN
