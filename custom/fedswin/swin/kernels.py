"""Attention within boxes of tokens on a CPU, compiled by numba: one pass over keys that stay in the processor's cache.

Swin's heads have few numbers (4 at feature size 12, 8 at 24). torch then spends most of its time on the matrices of
attention, which it writes and reads several times; here no row of them leaves the processor. Heads of 16 numbers are
multiplied by torch, and only the softmax between the products is done here.

The kernels are loops over scalars, which numba turns into vector instructions. Where threads can share the work, a
kernel does the part from ``first`` to ``last - 1``. All arrays are contiguous, of float32, or of int64 where they
hold numbers of tokens, places or positions. The number of tokens of a box is T; K is T, or T + 1 with padding as the
last key.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pickle import UnpicklingError
from typing import Any

import numpy as np
from llvmlite import ir
from numba import config, njit, types
from numba.extending import intrinsic

if config.DISABLE_JIT:
    raise ImportError("NUMBA_DISABLE_JIT is set, and the kernels are for the compiler alone")

_F = np.float32
_ZERO = _F(0)
_ONE = _F(1)
_LOG2_E = _F(1.4426950408889634)
_SMALLEST_EXPONENT = _F(-126)
_EXPONENT_BIAS = np.int32(127)
_MANTISSA_BITS = np.int32(23)
_SIGN_BITS = np.int32(31)
_ALL_BUT_SIGN = np.int32(0x7FFFFFFF)
# Taylor coefficients of 2**x, whose remainder on -0.5 to 0.5 is below float32's rounding.
_T1, _T2, _T3, _T4, _T5, _T6 = (
    _F(np.log(2.0) ** n / d) for n, d in ((1, 1), (2, 2), (3, 6), (4, 24), (5, 120), (6, 720))
)
_REORDER = {"reassoc", "contract", "nsz", "arcp", "afn"}
"""Sums may be reordered, always in the same way; NaN and infinity must come through, so that a step can be refused."""


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile for the types of the first call, and keep the result on disk where that can be done.

    A kernel neither reads nor writes a file, so such an error is of what is kept: a full disk, or a file that was cut
    off. It comes before the kernel has begun.
    """
    plain = njit(fastmath=_REORDER, nogil=True)(function)
    try:
        kept = njit(fastmath=_REORDER, nogil=True, cache=True)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        return plain

    @wraps(function)
    def run(*given: Any) -> None:
        nonlocal kept
        try:
            kept(*given)
        except (OSError, EOFError, UnpicklingError):
            kept = plain
            kept(*given)

    return run


@intrinsic  # type: ignore[untyped-decorator]
def _float_of(_: Any, bits: Any) -> Any:
    """Read the bits of an int32 as a float32."""
    return types.float32(types.int32), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic  # type: ignore[untyped-decorator]
def _bits_of(_: Any, value: Any) -> Any:
    """Read the bits of a float32 as an int32."""
    return types.int32(types.float32), lambda _c, builder, _s, args: builder.bitcast(args[0], ir.IntType(32))


@njit(inline="always", fastmath=_REORDER)
def _exp(x):  # type: ignore[no-untyped-def]
    z = x * _LOG2_E
    if z < _SMALLEST_EXPONENT:  # and not max, which would lose NaN
        z = _SMALLEST_EXPONENT
    whole = np.floor(z + _F(0.5))
    f = z - whole
    power = _ONE + f * (_T1 + f * (_T2 + f * (_T3 + f * (_T4 + f * (_T5 + f * _T6)))))
    return power * _float_of((np.int32(whole) + _EXPONENT_BIAS) << _MANTISSA_BITS)


@njit(inline="always", fastmath=_REORDER)
def _largest(row, count):  # type: ignore[no-untyped-def]
    """Return the maximum; of integers in the order of the floats, since LLVM compares floats one by one, for NaN."""
    most = np.int32(-(2**31))
    for k in range(count):
        bits = _bits_of(row[k])
        most = max(most, bits ^ ((bits >> _SIGN_BITS) & _ALL_BUT_SIGN))
    return _float_of(most ^ ((most >> _SIGN_BITS) & _ALL_BUT_SIGN))


@njit(inline="always", fastmath=_REORDER)
def _gather(qkv, padding, part, b, h, box, rows):  # type: ignore[no-untyped-def]
    """Fill ``rows`` (head size, K) with the keys (``part`` 1) or values (2) of a box."""
    size = padding.shape[2]
    for k in range(len(box)):
        for d in range(size):
            rows[d, k] = qkv[b, box[k], part, h, d]
    if rows.shape[1] > len(box):
        for d in range(size):
            rows[d, len(box)] = padding[part - 1, h, d]


@_compiled
def attend(qkv, padding, bias, boxes, scale, out, norm, first, last):  # type: ignore[no-untyped-def]
    """Attend within some of all B x boxes.

    Args:
        qkv: queries, keys and values, (B, tokens, 3, heads, head size).
        padding: key and value of padding, (2, heads, head size).
        bias: what is added to the logits, (heads, T, K).
        boxes: the tokens of each box, (boxes, T).
        scale: what the products of queries and keys are multiplied by.
        out: is given the results, (B, tokens, heads, head size).
        norm: is given the logarithm of the sum of the exponentials of a row's logits, (B, tokens, heads).
    """
    heads, size, keys = padding.shape[1], padding.shape[2], bias.shape[2]
    padded = (size + 3) // 4 * 4  # heads are worked through four numbers at a time
    key, value = np.zeros((padded, keys), _F), np.zeros((padded, keys), _F)
    row, query, sums = np.empty(keys, _F), np.zeros(padded, _F), np.zeros(padded, _F)
    for h in range(heads):
        for item in range(first, last):
            b, box = item // len(boxes), boxes[item % len(boxes)]
            _gather(qkv, padding, 1, b, h, box, key)
            _gather(qkv, padding, 2, b, h, box, value)
            for i in range(len(box)):
                token = box[i]
                for d in range(size):
                    query[d] = qkv[b, token, 0, h, d] * scale
                for k in range(keys):
                    row[k] = bias[h, i, k]
                for d in range(0, padded, 4):
                    q0, q1, q2, q3 = query[d], query[d + 1], query[d + 2], query[d + 3]
                    for k in range(keys):
                        row[k] += q0 * key[d, k] + q1 * key[d + 1, k] + q2 * key[d + 2, k] + q3 * key[d + 3, k]
                top = _largest(row, keys)
                total = _ZERO
                for k in range(keys):
                    weight = _exp(row[k] - top)
                    row[k] = weight
                    total += weight
                for d in range(0, padded, 4):
                    s0, s1, s2, s3 = _ZERO, _ZERO, _ZERO, _ZERO
                    for k in range(keys):
                        weight = row[k]
                        s0 += weight * value[d, k]
                        s1 += weight * value[d + 1, k]
                        s2 += weight * value[d + 2, k]
                        s3 += weight * value[d + 3, k]
                    sums[d], sums[d + 1], sums[d + 2], sums[d + 3] = s0, s1, s2, s3
                for d in range(size):
                    out[b, token, h, d] = sums[d] / total
                norm[b, token, h] = top + np.log(total)


@_compiled
def gradients(  # type: ignore[no-untyped-def]
    qkv, padding, bias, boxes, scale, out, norm, of_out, of_qkv, of_padding, of_bias, first, last
):
    """Set the gradients of what `attend` was given, and add those that boxes share to what is there.

    Args:
        qkv: as for `attend`, and so the others up to ``scale``.
        out: what `attend` has set.
        norm: the same.
        of_out: the gradient of ``out``.
        of_qkv: is given the gradient of ``qkv``.
        of_padding: that of ``padding`` is added to it.
        of_bias: that of ``bias`` is added to it.
    """
    heads, size, keys = padding.shape[1], padding.shape[2], bias.shape[2]
    padded = (size + 3) // 4 * 4
    key, value = np.zeros((padded, keys), _F), np.zeros((padded, keys), _F)
    of_key, of_value = np.empty((padded, keys), _F), np.empty((padded, keys), _F)
    row, of_row = np.empty(keys, _F), np.empty(keys, _F)
    query, given, sums = np.zeros(padded, _F), np.zeros(padded, _F), np.zeros(padded, _F)
    for h in range(heads):
        for item in range(first, last):
            b, box = item // len(boxes), boxes[item % len(boxes)]
            _gather(qkv, padding, 1, b, h, box, key)
            _gather(qkv, padding, 2, b, h, box, value)
            of_key[:], of_value[:] = _ZERO, _ZERO
            for i in range(len(box)):
                token = box[i]
                mean = _ZERO
                for d in range(size):
                    query[d] = qkv[b, token, 0, h, d] * scale
                    given[d] = of_out[b, token, h, d]
                    mean += given[d] * out[b, token, h, d]
                for k in range(keys):
                    row[k] = bias[h, i, k] - norm[b, token, h]
                    of_row[k] = -mean
                for d in range(0, padded, 4):
                    q0, q1, q2, q3 = query[d], query[d + 1], query[d + 2], query[d + 3]
                    g0, g1, g2, g3 = given[d], given[d + 1], given[d + 2], given[d + 3]
                    for k in range(keys):
                        row[k] += q0 * key[d, k] + q1 * key[d + 1, k] + q2 * key[d + 2, k] + q3 * key[d + 3, k]
                        of_row[k] += (
                            g0 * value[d, k] + g1 * value[d + 1, k] + g2 * value[d + 2, k] + g3 * value[d + 3, k]
                        )
                for k in range(keys):
                    weight = _exp(row[k])
                    row[k] = weight
                    of_row[k] *= weight
                    of_bias[h, i, k] += of_row[k]
                for d in range(0, padded, 4):
                    q0, q1, q2, q3 = query[d], query[d + 1], query[d + 2], query[d + 3]
                    g0, g1, g2, g3 = given[d], given[d + 1], given[d + 2], given[d + 3]
                    s0, s1, s2, s3 = _ZERO, _ZERO, _ZERO, _ZERO
                    for k in range(keys):
                        slope, weight = of_row[k], row[k]
                        s0 += slope * key[d, k]
                        s1 += slope * key[d + 1, k]
                        s2 += slope * key[d + 2, k]
                        s3 += slope * key[d + 3, k]
                        of_key[d, k] += slope * q0
                        of_key[d + 1, k] += slope * q1
                        of_key[d + 2, k] += slope * q2
                        of_key[d + 3, k] += slope * q3
                        of_value[d, k] += weight * g0
                        of_value[d + 1, k] += weight * g1
                        of_value[d + 2, k] += weight * g2
                        of_value[d + 3, k] += weight * g3
                    sums[d], sums[d + 1], sums[d + 2], sums[d + 3] = s0, s1, s2, s3
                for d in range(size):
                    of_qkv[b, token, 0, h, d] = sums[d] * scale
            for k in range(len(box)):
                for d in range(size):
                    of_qkv[b, box[k], 1, h, d] = of_key[d, k]
                    of_qkv[b, box[k], 2, h, d] = of_value[d, k]
            if keys > len(box):
                for d in range(size):
                    of_padding[0, h, d] += of_key[d, len(box)]
                    of_padding[1, h, d] += of_value[d, len(box)]


@_compiled
def softmax(logits, bias, first, last):  # type: ignore[no-untyped-def]
    """Add ``bias`` (heads, queries, keys) to ``logits`` (N, heads, queries, keys), and replace them by their softmax.

    What threads share is the heads x queries.
    """
    count, queries, keys = len(logits), logits.shape[2], logits.shape[3]
    for r in range(first, last):
        h, i = r // queries, r % queries
        for n in range(count):
            row = logits[n, h, i]
            for k in range(keys):
                row[k] += bias[h, i, k]
            top = _largest(row, keys)
            total = _ZERO
            for k in range(keys):
                weight = _exp(row[k] - top)
                row[k] = weight
                total += weight
            inverse = _ONE / total
            for k in range(keys):
                row[k] *= inverse


@_compiled
def softmax_gradient(weights, slopes, of_bias, first, last):  # type: ignore[no-untyped-def]
    """Replace ``slopes``, the gradient of what `softmax` has set, by that of the logits, and add it up in ``of_bias``.

    ``weights`` is what `softmax` has set, of the same shape (N, heads, queries, keys).
    """
    count, queries, keys = len(weights), weights.shape[2], weights.shape[3]
    for r in range(first, last):
        h, i = r // queries, r % queries
        for n in range(count):
            row, of_row = weights[n, h, i], slopes[n, h, i]
            mean = _ZERO
            for k in range(keys):
                mean += row[k] * of_row[k]
            for k in range(keys):
                of_row[k] = row[k] * (of_row[k] - mean)
                of_bias[h, i, k] += of_row[k]


@_compiled
def look_up_bias(table, index, places, padding, bias):  # type: ignore[no-untyped-def]
    """Set what `attend` adds to the logits of boxes.

    Args:
        table: the bias of each relative position, (positions, heads).
        index: the relative position of each pair of places in a window, (places, places).
        places: where in its window each token of a box is, (T,).
        padding: where padding is that they see, (P,). All of it has the same key, so that it is one key whose weight
            is the sum of all: its bias is the logarithm of the sum of the exponentials.
        bias: is given the result, (heads, T, K).
    """
    heads, count = bias.shape[0], len(places)
    for h in range(heads):
        for i in range(count):
            positions = index[places[i]]
            for k in range(count):
                bias[h, i, k] = table[positions[places[k]], h]
            if len(padding):
                top = table[positions[padding[0]], h]
                for p in range(len(padding)):
                    top = max(top, table[positions[padding[p]], h])
                total = _ZERO
                for p in range(len(padding)):
                    total += np.exp(table[positions[padding[p]], h] - top)
                bias[h, i, count] = top + np.log(total)


@_compiled
def gradient_of_table(table, index, places, padding, bias, of_bias, of_table):  # type: ignore[no-untyped-def]
    """Add to ``of_table`` the gradient of the table, from ``of_bias``, that of what `look_up_bias` has set."""
    heads, count = bias.shape[0], len(places)
    for h in range(heads):
        for i in range(count):
            positions = index[places[i]]
            for k in range(count):
                of_table[positions[places[k]], h] += of_bias[h, i, k]
            for p in range(len(padding)):
                position = positions[padding[p]]
                of_table[position, h] += of_bias[h, i, count] * np.exp(table[position, h] - bias[h, i, count])
