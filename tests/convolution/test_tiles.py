"""Convolutions of bfloat16 on tile registers, under emulation, against float32."""

from __future__ import annotations

import pytest

from mlx.backend.llvm.target import host
from tests.processes import output_of

PROGRAM = """
import numpy as np

from tests.gemm.emulation import pretend_everywhere

pretend_everywhere()

import mlx.core as mx
from tests.generators.convolution_cases import CASES

CASES |= {
    "full tiles": ((2, 14, 13, 64), (64, 3, 3, 64), {"padding": 1}),
    "runs behind whole tiles": ((2, 9, 13, 20), (40, 3, 3, 20), {"padding": 1, "stride": 2}),
    "odd channels": ((2, 9, 13, 5), (48, 3, 3, 5), {"padding": 2}),
    "few channels": ((2, 19, 23, 3), (64, 7, 7, 3), {"padding": 3, "stride": 2}),
    "several blocks": ((2, 9, 9, 450), (40, 3, 3, 450), {"padding": 1}),
    "wide groups": ((2, 9, 9, 64), (96, 3, 3, 32), {"padding": 1, "groups": 2}),
    "lines": ((2, 400, 33), (70, 5, 33), {"padding": 2}),
    "phases": ((1, 10, 10, 36), (33, 4, 4, 36), {"padding": 2, "input_dilation": 2}),
    "volumes": ((1, 6, 7, 8, 17), (33, 3, 3, 3, 17), {"padding": 1}),
}
rng = np.random.default_rng(0)


def numbers(shape):
    return mx.array(rng.standard_normal(shape).astype(np.float32)).astype(mx.bfloat16)


for name, (shape, kernel, options) in CASES.items():
    x, w = numbers(shape), numbers(kernel)
    conv = lambda x, w: mx.conv_general(x, w, **options)
    cotangent = numbers(conv(x, w).shape)
    found = []
    for dtype in (mx.bfloat16, mx.float32):
        operands = [value.astype(dtype) for value in (x, w, cotangent)]
        out, gradients = mx.vjp(conv, operands[:2], operands[2:])
        found.append([np.array(value.astype(mx.float32)) for value in (*out, *gradients)])
    for got, want in zip(*found):
        error = np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))
        assert error < 4e-3, (name, error)
kernels = str(mx.explain(lambda x: mx.conv2d(x, numbers((64, 3, 3, 64))), numbers((2, 9, 9, 64))))
assert "convweights" in kernels
print("done")
"""


@pytest.mark.skipif(not host().has("avx512bf16"), reason="tiles are emulated beside pairs")
def test_values_and_gradients() -> None:
    assert output_of(PROGRAM, MLX_NUM_THREADS="1").strip() == "done"
