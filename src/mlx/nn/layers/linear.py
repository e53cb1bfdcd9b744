"""Identity, Linear and Bilinear."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
from mlx.nn._checks import need_arrays, positive
from mlx.nn.layers.base import Module
from mlx.nn.layers.quantized import quantize_linear


class Identity(Module):
    """Return the input; arguments of the constructor are ignored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def __call__(self, x: mx.array) -> mx.array:
        return x


class Linear(Module):
    """Affine map ``x @ weight.T + bias`` over the last axis.

    `weight` has shape ``(output_dims, input_dims)`` and is drawn, like `bias`, uniformly from
    +-1/sqrt(input_dims).

    >>> nn.Linear(2, 3)(mx.ones((5, 2))).shape
    (5, 3)
    """

    def __init__(self, input_dims: int, output_dims: int, bias: bool = True) -> None:
        super().__init__()
        bound = math.sqrt(1.0 / positive("Linear", input_dims))
        self.weight = mx.random.uniform(-bound, bound, (output_dims, input_dims))
        if bias:
            self.bias = mx.random.uniform(-bound, bound, (output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input_dims = self.weight.shape
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        if "bias" in self:
            return mx.addmm(self["bias"], x, self["weight"].T)
        return x @ self["weight"].T

    def to_quantized(
        self,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
        quantize_input: bool = False,
    ) -> Module:
        """Return a `QuantizedLinear` (or `QQLinear`, with `quantize_input`) of this layer.

        Raises ValueError for `quantize_input` in a mode other than "nvfp4" and "mxfp8".
        """
        return quantize_linear(self, group_size, bits, mode, quantize_input)


class Bilinear(Module):
    """Bilinear map of two inputs: ``y_k = x1^T W_k x2 + b_k``.

    `weight` has shape ``(output_dims, input2_dims, input1_dims)``.

    >>> nn.Bilinear(2, 3, 4)(mx.ones((5, 2)), mx.ones((5, 3))).shape
    (5, 4)
    """

    def __init__(
        self, input1_dims: int, input2_dims: int, output_dims: int, bias: bool = True
    ) -> None:
        super().__init__()
        bound = math.sqrt(1.0 / positive("Bilinear", input1_dims))
        self.weight = mx.random.uniform(-bound, bound, (output_dims, input2_dims, input1_dims))
        if bias:
            self.bias = mx.random.uniform(-bound, bound, (output_dims,))

    def _extra_repr(self) -> str:
        output_dims, input2_dims, input1_dims = self.weight.shape
        return (
            f"input1_dims={input1_dims}, input2_dims={input2_dims}, "
            f"output_dims={output_dims}, bias={'bias' in self}"
        )

    def __call__(self, x1: mx.array, x2: mx.array) -> mx.array:
        need_arrays("Bilinear", x1, x2)
        weight = self["weight"]
        output_dims, input2_dims, input1_dims = weight.shape
        batch = x1.shape[:-1]
        x1 = x1.reshape(-1, input1_dims)
        x2 = x2.reshape(-1, 1, input2_dims)
        # (rows, outputs * inputs2) -> (rows, inputs2, outputs), contracted with x2 row by row.
        y = (x1 @ weight.reshape(-1, input1_dims).T).reshape(-1, output_dims, input2_dims)
        y = (x2 @ y.swapaxes(-2, -1)).reshape(*batch, output_dims)
        return y + self["bias"] if "bias" in self else y
