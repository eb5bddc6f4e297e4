"""Why the server does not take a site's update."""

from __future__ import annotations


class UpdateRefusedError(Exception):
    """An update that must not enter the global model; the message says why, with the key and the number.

    It goes into the records and back to the site, so it holds names of tensors and numbers, nothing else.
    """
