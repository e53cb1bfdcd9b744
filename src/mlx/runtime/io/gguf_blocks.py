"""GGUF's quantized arrays: blocks of 32 kept packed, and blocks of 256 as float16.

A block of 256 has a float16 scale (and one of offsets) for small integer scales (and offsets)
of its groups of 16 or 32 numbers.
"""

from __future__ import annotations

from collections.abc import Callable

from mlx.base.lazy import numpy as np

GROUP = 32
PACKED = {2: (4, 18), 3: (4, 20), 8: (8, 34)}
"""Q4_0, Q4_1, Q8_0 by type of tensor: bits, and bytes of a block of 32."""


def unpacked(kind: int, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Blocks of 32 as (words of packed numbers, scales, biases).

    The low halves of a block's bytes are its first 16 numbers, the high halves the others.
    """
    scales = _half(raw, 0)
    if PACKED[kind][0] == 8:
        numbers = raw[:, 2:] ^ 0x80  # from signed to an offset of 128
        biases = -128 * scales
    else:
        packed = raw[:, -16:]
        numbers = np.concatenate([packed & 15, packed >> 4], axis=1)
        numbers = numbers[:, ::2] | numbers[:, 1::2] << 4
        biases = _half(raw, 2) if kind == 3 else -8 * scales
    return np.ascontiguousarray(numbers).view("<u4"), scales, biases


def _half(raw: np.ndarray, at: int) -> np.ndarray:
    """The float16 at a byte of each block: a column."""
    return np.ascontiguousarray(raw[:, at : at + 2]).view("<f2")


def _q2_k(raw: np.ndarray) -> np.ndarray:
    """Groups of 16: scale and offset of 4 bits, numbers of 2 bits."""
    both, packed = raw[:, :16], raw[:, 16:80].reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    numbers = (packed >> shifts & 3).reshape(-1, 16, 16)
    return _affine(numbers, _half(raw, 80), both & 15, _half(raw, 82), both >> 4)


def _q4_k(raw: np.ndarray) -> np.ndarray:
    """Groups of 32: scale and offset of 6 bits, numbers of 4 bits."""
    first, second, rest = raw[:, 4:8], raw[:, 8:12], raw[:, 12:16]
    scales = np.concatenate([first & 63, rest & 15 | first >> 6 << 4], axis=1)
    offsets = np.concatenate([second & 63, rest >> 4 | second >> 6 << 4], axis=1)
    packed = raw[:, 16:].reshape(-1, 4, 32)
    numbers = np.stack([packed & 15, packed >> 4], axis=2).reshape(-1, 8, 32)
    return _affine(numbers, _half(raw, 0), scales, _half(raw, 2), offsets)


def _affine(
    numbers: np.ndarray,
    scale: np.ndarray,
    scales: np.ndarray,
    offset: np.ndarray,
    offsets: np.ndarray,
) -> np.ndarray:
    """Numbers (blocks, groups, n) times the scales of their groups, less the offsets."""
    factors = scale.astype(np.float32) * scales
    less = offset.astype(np.float32) * offsets
    return numbers * factors[..., None] - less[..., None]


def _q6_k(raw: np.ndarray) -> np.ndarray:
    """Groups of 16: signed scale of 8 bits, numbers of 6 bits with an offset of 32."""
    low = raw[:, :128].reshape(-1, 2, 2, 32)
    high = raw[:, 128:192].reshape(-1, 2, 1, 32)
    shifts = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    nibbles = np.concatenate([low & 15, low >> 4], axis=2)
    numbers = (nibbles | (high >> shifts & 3) << 4).astype(np.float32) - 32
    scales = np.ascontiguousarray(raw[:, 192:208]).view(np.int8)
    factors = _half(raw, 208).astype(np.float32) * scales
    return numbers.reshape(-1, 16, 16) * factors[..., None]


LARGE_GROUP = 256
EXPANDED: dict[int, tuple[int, Callable[[np.ndarray], np.ndarray]]] = {
    10: (84, _q2_k),
    12: (144, _q4_k),
    14: (210, _q6_k),
}
"""Q2_K, Q4_K, Q6_K by type of tensor: bytes of a block of 256, and how to expand it."""


def expanded(kind: int, raw: np.ndarray) -> np.ndarray:
    """Blocks of 256 as float16."""
    with np.errstate(all="ignore"):
        return EXPANDED[kind][1](raw).astype(np.float16)
