"""Encoded differences against numpy, entry by entry, and what the server refuses to decode."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from torch import nn

from fedswin.federation.encoding import SCALE, decode, encode, misfit

TINY = np.finfo(np.float32).tiny
MODEL = {"weight": torch.zeros(3, 2), "bias": torch.zeros(3)}


def differences(limit: float, min_dims: int = 2):
    """Float32 arrays of up to four dimensions, with denormals and zeros of both signs."""
    values = st.floats(-limit, limit, width=32) | st.sampled_from([0.0, -0.0, 2.0**-149, 189 * 2.0**-149])
    return arrays(np.float32, array_shapes(min_dims=min_dims, max_dims=4, max_side=4), elements=values)


def sent_and_read(difference: np.ndarray, encoding: str) -> np.ndarray:
    return decode("w", encode("w", torch.from_numpy(difference), encoding)).numpy()


@settings(deadline=None)
@given(differences(limit=2.0**100))
def test_int8_is_off_by_at_most_half_a_scale_in_each_entry(difference):
    found = sent_and_read(difference, "int8").astype(np.float64)
    assert (found * difference >= 0).all()  # nothing has left the range of int8 and changed its sign
    for channel, read in zip(difference.astype(np.float64), found, strict=True):
        scale = max(np.abs(channel).max() / 127, TINY)
        assert np.abs(read - channel).max() <= 0.5 * scale * (1 + 1e-4)


@settings(deadline=None)
@given(arrays(np.int8, (3, 5), elements=st.integers(-127, 127)), st.integers(-60, 60))
def test_int8_is_exact_for_multiples_of_the_scale(multiples, exponent):
    multiples[:, 0] = 127
    difference = multiples * np.float32(2.0**exponent)
    payload = encode("w", torch.from_numpy(difference), "int8")
    assert np.array_equal(payload["w"].numpy(), multiples)
    assert np.array_equal(payload["w..scale"].numpy(), np.full((3, 1), 2.0**exponent, np.float32))
    assert np.array_equal(decode("w", payload).numpy(), difference)


def test_a_loud_channel_does_not_coarsen_a_quiet_one():
    difference = np.array([[1000, -1000], [1e-3, -5e-4]], np.float32)
    assert sent_and_read(difference, "int8") == pytest.approx(difference, rel=1e-2)


def test_a_channel_of_zeros_stays_zeros_and_nothing_is_divided_by_zero():
    payload = encode("w", torch.tensor([[0.0, -0.0], [1.0, 0.5]]), "int8")
    assert (payload["w..scale"] > 0).all()
    assert decode("w", payload)[0].tolist() == [0, 0]


@settings(deadline=None)
@given(differences(limit=2.0**100, min_dims=0))
def test_fp16_is_numpys_float16_within_its_range(difference):
    nearest = np.clip(difference, -65504, 65504).astype(np.float16)
    payload = encode("w", torch.from_numpy(difference), "fp16")
    assert payload["w"].numpy().tobytes() == nearest.tobytes()
    assert np.array_equal(decode("w", payload).numpy(), nearest.astype(np.float32))


@pytest.mark.parametrize("shape", [(), (7,)])
def test_int8_leaves_tensors_of_fewer_than_two_dimensions_as_they_are(shape):
    difference = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    payload = encode("w", difference, "int8")
    assert payload.keys() == {"w"}
    assert torch.equal(decode("w", payload), difference)


def test_no_parameter_can_be_called_like_a_scale():
    assert "" in f"weight{SCALE}".split(".")
    with pytest.raises(KeyError, match="name can.*t be empty"):
        nn.Module().add_module("", nn.Module())


@pytest.mark.parametrize("encoding", ["fp32", "fp16", "int8"])
def test_what_is_encoded_fits(encoding):
    payload = {}
    for name, tensor in MODEL.items():
        payload |= encode(name, tensor, encoding)
    assert misfit(payload, encoding, MODEL) is None


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"weight..scale": None}, "missing weight..scale"),
        ({"bias": None}, "missing bias"),
        ({"extra": torch.zeros(1)}, "unknown extra"),
        ({"bias..scale": torch.zeros(3)}, "unknown bias..scale"),
        ({"weight": torch.zeros(2, 3, dtype=torch.int8)}, r"weight has the shape \[2, 3\], expected \[3, 2\]"),
        ({"weight..scale": torch.zeros(3)}, r"weight..scale has the shape \[3\], expected \[3, 1\]"),
        ({"weight": torch.zeros(3, 2)}, "weight is torch.float32, expected torch.int8"),
        ({"weight..scale": torch.zeros(3, 1).double()}, "weight..scale is torch.float64, expected torch.float32"),
        ({"bias": torch.zeros(3).half()}, "bias is torch.float16, expected torch.float32"),
        ({"bias": [0.0, 0.0, 0.0]}, "bias is no tensor"),
    ],
)
def test_a_malformed_payload_is_told_by_name_and_reason(change, reason):
    payload = encode("weight", MODEL["weight"], "int8") | encode("bias", MODEL["bias"], "int8")
    changed = {name: value for name, value in {**payload, **change}.items() if value is not None}
    problem = misfit(changed, "int8", MODEL)
    assert problem is not None
    assert re.search(reason, problem)


@pytest.mark.parametrize(("sent", "expected"), [("fp16", "int8"), ("int8", "fp16"), ("fp32", "fp16"), ("fp32", "int8")])
def test_one_encoding_is_not_taken_for_another(sent, expected):
    payload = encode("weight", MODEL["weight"] + 1, sent)
    assert misfit(payload, expected, {"weight": MODEL["weight"]})
