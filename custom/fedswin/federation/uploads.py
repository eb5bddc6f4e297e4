"""How updates come in at the server: one that breaks off costs its site the round, and not everybody the job."""

from __future__ import annotations

from typing import Any, NoReturn

from nvflare.app_opt.pt.decomposers import TensorDecomposer

from fedswin.federation.refusal import UpdateRefusedError


class UploadDecomposer(TensorDecomposer):
    """NVFlare's tensors, except that a failed transfer is told when its tensors are read.

    NVFlare brings them while it decodes the answer, and ends the server's process when that raises.
    """

    def download(self, *args: Any, **kwargs: Any) -> tuple[str, Any]:
        """Return no error, and the tensors or what stands for lost ones."""
        error, tensors = super().download(*args, **kwargs)
        return "", _LostTensors() if error else tensors


class _LostTensors:
    """What NVFlare asks for the items of a transfer that failed."""

    def __len__(self) -> int:
        return 0

    def get(self, item: str) -> _LostTensor:
        return _LostTensor()


class _LostTensor:
    """Stands where a tensor that was left on disk would."""

    def materialize(self) -> NoReturn:
        raise UpdateRefusedError("the transfer broke off before the update was whole")
