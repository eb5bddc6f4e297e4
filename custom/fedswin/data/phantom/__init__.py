"""Synthetic abdominal CT of several hospitals, for trying FedSwin without patient data."""

from fedswin.data.phantom.tissue import BTCV_ORGANS
from fedswin.data.phantom.write import write_phantoms

__all__ = ["BTCV_ORGANS", "write_phantoms"]
