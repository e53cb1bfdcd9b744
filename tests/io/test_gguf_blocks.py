"""Quantized arrays of GGUF files against a decoder that goes number by number."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pytest

import mlx.core as mx

SIZES = {2: 18, 3: 20, 8: 34, 10: 84, 12: 144, 14: 210}
HALVES = {2: (0,), 3: (0, 2), 8: (0,), 10: (80, 82), 12: (0, 2), 14: (208,)}
"""By type of tensor: bytes of a block, and where it has float16 numbers."""


def blocks(kind: int, count: int) -> list[bytearray]:
    rng = np.random.default_rng(kind)
    out = []
    for _ in range(count):
        block = bytearray(rng.integers(0, 256, SIZES[kind], np.uint8).tobytes())
        for at in HALVES[kind]:
            block[at : at + 2] = np.float16(rng.normal() * 0.01).tobytes()
        out.append(block)
    return out


def text(s: str) -> bytes:
    return struct.pack("<Q", len(s)) + s.encode()


def file_of(kind: int, shape: tuple[int, ...], data: bytes) -> io.BytesIO:
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0) + text("a.weight")
    head += struct.pack(f"<I{len(shape)}Q", len(shape), *shape[::-1])
    head += struct.pack("<IQ", kind, 0)
    return io.BytesIO(head + bytes(-len(head) % 32) + data)


def half(block: bytes, at: int) -> float:
    return float(np.frombuffer(block[at : at + 2], np.float16)[0])


def signed(byte: int) -> int:
    return byte - 256 if byte > 127 else byte


def q2_k(b: bytes, i: int) -> float:
    part, rest = divmod(i, 128)
    group = b[i // 16]
    number = b[16 + 32 * part + rest % 32] >> (2 * (rest // 32)) & 3
    return half(b, 80) * (group & 15) * number - half(b, 82) * (group >> 4)


def q4_k(b: bytes, i: int) -> float:
    j, s = i // 32, b[4:16]
    if j < 4:
        scale, offset = s[j] & 63, s[j + 4] & 63
    else:
        scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4
        offset = (s[j + 4] >> 4) | (s[j] >> 6) << 4
    byte = b[16 + 32 * (j // 2) + i % 32]
    number = byte >> 4 if j % 2 else byte & 15
    return half(b, 0) * scale * number - half(b, 2) * offset


def q6_k(b: bytes, i: int) -> float:
    part, rest = divmod(i, 128)
    quarter, at = divmod(rest, 32)
    low = b[64 * part + 32 * (quarter % 2) + at] >> (4 * (quarter // 2)) & 15
    high = b[128 + 32 * part + at] >> (2 * quarter) & 3
    return half(b, 208) * signed(b[192 + i // 16]) * ((low | high << 4) - 32)


@pytest.mark.parametrize(("kind", "decode"), [(10, q2_k), (12, q4_k), (14, q6_k)])
def test_blocks_of_256(kind: int, decode: Any) -> None:
    made = blocks(kind, 6)
    found = mx.load(file_of(kind, (3, 512), b"".join(made)), format="gguf")
    want = np.array([decode(bytes(b), i) for b in made for i in range(256)]).reshape(3, 512)
    assert list(found) == ["a.weight"] and found["a.weight"].dtype == mx.float16
    np.testing.assert_allclose(np.array(found["a.weight"]), want, rtol=2e-3, atol=2e-3)


def q4(b: bytes, i: int) -> int:
    byte = b[-16 + i % 16]
    return byte >> 4 if i >= 16 else byte & 15


@pytest.mark.parametrize("kind", [2, 3, 8])
def test_blocks_of_32(kind: int) -> None:
    """Numbers times scales plus biases are what the block says."""
    made = blocks(kind, 6)
    found = {
        k: np.array(v)
        for k, v in mx.load(file_of(kind, (3, 64), b"".join(made)), format="gguf").items()
    }
    assert set(found) == {"a.weight", "a.scales", "a.biases"}
    bits = 8 if kind == 8 else 4
    words = found["a.weight"]
    assert words.dtype == np.uint32 and words.shape == (3, 64 * bits // 32)
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    numbers = (words[..., None] >> shifts & (2**bits - 1)).reshape(3, 2, 32)
    scales, biases = (found[k].astype(np.float64)[..., None] for k in ("a.scales", "a.biases"))
    got = (numbers * scales + biases).reshape(3, 64)
    decode = {
        2: lambda b, i: half(b, 0) * (q4(b, i) - 8),
        3: lambda b, i: half(b, 0) * q4(b, i) + half(b, 2),
        8: lambda b, i: half(b, 0) * signed(b[2 + i]),
    }[kind]
    want = np.array([decode(bytes(b), i) for b in made for i in range(32)]).reshape(3, 64)
    np.testing.assert_allclose(got, want, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize(
    ("kind", "shape", "cause"),
    [
        (6, (32,), "type 6, which is not supported"),
        (2, (3, 30), "not made of blocks of 32"),
        (12, (3, 128), "not made of blocks of 256"),
        (12, (), "not made of blocks of 256"),
        (2, (64,), "truncated"),
    ],
)
def test_damaged(kind: int, shape: tuple[int, ...], cause: str) -> None:
    with pytest.raises(ValueError, match=f"not a valid GGUF file: .*{cause}"):
        mx.load(file_of(kind, shape, bytes(18)), format="gguf")
