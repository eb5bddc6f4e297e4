"""Where the server keeps submitted jobs and their results."""

from __future__ import annotations

import os

from nvflare.app_common.storages.filesystem_storage import FilesystemStorage


class KitStorage(FilesystemStorage):
    """A file storage below the folder that the server runs in, which is its kit, wherever it has been put.

    NVFlare's own takes absolute paths only, and its default, ``/tmp/nvflare``, is shared by every
    federation of a machine and lost when the machine starts again.

    Args:
        folder: relative to the kit.
    """

    def __init__(self, folder: str = ".") -> None:
        super().__init__(root_dir=os.path.abspath(folder))
