"""The certificate authority of a consortium: the folder that only the study lead has."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from nvflare.lighter.constants import CtxKey
from nvflare.lighter.utils import load_private_key

_STATE = "cert.json"
"""Where NVFlare's provisioner keeps the authority's key and certificate."""


def private_key(authority: Path) -> RSAPrivateKey:
    """Return the key that signed all certificates, from the folder ``authority``."""
    return load_private_key(json.loads((authority / _STATE).read_text())[CtxKey.ROOT_PRI_KEY])
