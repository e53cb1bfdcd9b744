"""Writes ``tests/quantized/recorded.npz`` with MLX itself (run where MLX is installed).

Run: python tests/generators/record_quantized.py
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np

import mlx.core as mx

FILE = Path(__file__).parents[1] / "quantized" / "recorded.npz"
DTYPES = {"float32": mx.float32, "float16": mx.float16, "bfloat16": mx.bfloat16}


def matrix() -> np.ndarray:
    """Rows of many kinds: constant, of one sign, tiny, large, with ties."""
    w = np.random.default_rng(0).standard_normal((8, 128)).astype(np.float32)
    w[0], w[1], w[2], w[3] = 0, 3.5, np.abs(w[2]), -np.abs(w[3])
    w[4] *= 1e-9
    w[5] *= 100
    w[6] = np.round(w[6] * 4) / 4
    return w


def stored(x: mx.array) -> np.ndarray:
    return np.array(x.view(mx.uint16) if x.dtype == mx.bfloat16 else x)


def main() -> None:
    w, x = matrix(), np.random.default_rng(1).standard_normal((3, 128)).astype(np.float32)
    out = {"w": w, "x": x}
    cases = [
        ("affine", name, bits, group)
        for at, (bits, group) in enumerate(product((1, 2, 3, 4, 5, 6, 8), (32, 64, 128)))
        for name in [list(DTYPES)[at % 3]]
    ]
    cases += [("affine", name, 4, 64) for name in DTYPES]
    for mode, group, bits in (("mxfp4", 32, 4), ("mxfp8", 32, 8), ("nvfp4", 16, 4)):
        cases += [(mode, name, bits, group) for name in DTYPES]
    for mode, name, bits, group in cases:
        options = {"group_size": group, "bits": bits, "mode": mode}
        parts = mx.quantize(mx.array(w).astype(DTYPES[name]), **options)
        key = f"{mode} {name} {bits} {group} "
        for part, value in zip(("packed", "scales", "biases"), parts, strict=False):
            out[key + part] = stored(value)
        out[key + "dense"] = stored(mx.dequantize(*parts, **options))
        row = mx.array(x).astype(DTYPES[name])
        out[key + "product"] = np.array(
            mx.quantized_matmul(row, *parts, **options).astype(mx.float32)
        )
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    out["halves as fp8"] = np.array(mx.to_fp8(mx.array(halves)))
    out["fp8 as float32"] = np.array(mx.from_fp8(mx.arange(256).astype(mx.uint8), mx.float32))
    np.savez_compressed(FILE, **out)


if __name__ == "__main__":
    main()
