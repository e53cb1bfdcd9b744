"""Writes ``tests/ops/attention.npz`` with MLX itself (run where MLX is installed).

Run: python -m tests.generators.record_attention
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import mlx.core as mx
from tests.generators.attention_cases import attend, cases

FILE = Path(__file__).parents[1] / "ops" / "attention.npz"


def main() -> None:
    out = {}
    for case in cases():
        found, gradients = attend(*case)
        for part, x in zip(("out", "q", "k", "v"), (found, *gradients), strict=True):
            out[" ".join((*case, part))] = np.array(x.astype(mx.float32))
    np.savez_compressed(FILE, **out)


if __name__ == "__main__":
    main()
