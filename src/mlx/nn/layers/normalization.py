"""Normalization layers. Inputs have their features in the last axis."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
from mlx.nn._checks import need_arrays
from mlx.nn.layers.base import Module

_HALF = (mx.float16, mx.bfloat16)


def _wide(x: mx.array) -> mx.array:
    """In at least float32: half precision is rounded once, at the end."""
    return x.astype(mx.float32) if x.dtype in _HALF else x


def _affine(layer: Module, x: mx.array, dtype: mx.Dtype) -> mx.array:
    """``x`` through the layer's weight and bias, in the dtype that they and ``dtype`` have."""
    if "weight" in layer:
        x = layer.weight * x + layer.bias
        dtype = mx.result_type(dtype, layer.weight, layer.bias)
    return x.astype(dtype)


class InstanceNorm(Module):
    """Normalize every channel of every sample over its positions (Ulyanov et al. 2016).

    Inputs are ``(N, ..., dims)``; mean and variance are over the axes between. `affine` adds the
    parameters `weight` and `bias` of shape ``(dims,)``.

    >>> nn.InstanceNorm(4)(mx.ones((2, 5, 4))).shape
    (2, 5, 4)
    """

    def __init__(self, dims: int, eps: float = 1e-5, affine: bool = False) -> None:
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            self.bias = mx.zeros((dims,))
        self.dims = dims
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        need_arrays("InstanceNorm", x)
        if x.ndim < 3:
            raise ValueError(
                "InstanceNorm expects inputs with at least 3 dimensions (N, ..., C) "
                f"but the input has {x.ndim} dimensions."
            )
        axes = list(range(1, x.ndim - 1))
        wide = _wide(x)
        mean = mx.mean(wide, axis=axes, keepdims=True)
        var = mx.var(wide, axis=axes, keepdims=True)
        return _affine(self, (wide - mean) * mx.rsqrt(var + self.eps), x.dtype)


class LayerNorm(Module):
    """Normalize every row to mean 0 and variance 1 (Ba et al. 2016).

    `affine` adds the parameter `weight` and, unless `bias` is False, `bias`, of shape ``(dims,)``.

    >>> nn.LayerNorm(4)(mx.ones((2, 4))).tolist()[0]
    [0.0, 0.0, 0.0, 0.0]
    """

    def __init__(
        self, dims: int, eps: float = 1e-5, affine: bool = True, bias: bool = True
    ) -> None:
        super().__init__()
        if affine:
            self.weight = mx.ones((dims,))
            if bias:
                self.bias = mx.zeros((dims,))
        self.eps = eps
        self.dims = dims

    def _extra_repr(self) -> str:
        return f"{self.dims}, eps={self.eps}, affine={'weight' in self}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.layer_norm(x, self.get("weight"), self.get("bias"), self.eps)


class RMSNorm(Module):
    """Divide every row by its root mean square (Zhang and Sennrich 2019), times `weight`.

    >>> nn.RMSNorm(2)(mx.ones((3, 2))).shape
    (3, 2)
    """

    def __init__(self, dims: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = mx.ones((dims,))
        self.eps = eps

    def _extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, eps={self.eps}"

    def __call__(self, x: mx.array) -> mx.array:
        return mx.fast.rms_norm(x, self["weight"], self.eps)


class GroupNorm(Module):
    """Normalize groups of channels of every sample over all positions (Wu and He 2018).

    Inputs are ``(N, ..., dims)``. `pytorch_compatible`: groups are neighbouring channels; else
    channel ``c`` belongs to group ``c % num_groups``.

    >>> nn.GroupNorm(2, 4)(mx.ones((2, 5, 4))).shape
    (2, 5, 4)
    """

    def __init__(
        self,
        num_groups: int,
        dims: int,
        eps: float = 1e-5,
        affine: bool = True,
        pytorch_compatible: bool = False,
    ) -> None:
        super().__init__()
        if affine:
            self.bias = mx.zeros((dims,))
            self.weight = mx.ones((dims,))
        self.num_groups = num_groups
        self.dims = dims
        self.eps = eps
        self.pytorch_compatible = pytorch_compatible

    def _extra_repr(self) -> str:
        return (
            f"{self.num_groups}, {self.dims}, eps={self.eps}, "
            f"affine={'weight' in self}, pytorch_compatible={self.pytorch_compatible}"
        )

    def _over_group(self, x: mx.array) -> mx.array:
        """The mean over each group of ``(N, 1, dims)``, for each of its channels."""
        batch, _, dims = x.shape
        size = dims // self.num_groups
        groups = (self.num_groups, size) if self.pytorch_compatible else (size, self.num_groups)
        x = x.reshape(batch, 1, *groups)
        mean = mx.mean(x, axis=3 if self.pytorch_compatible else 2, keepdims=True)
        return mx.broadcast_to(mean, x.shape).reshape(batch, 1, dims)

    def __call__(self, x: mx.array) -> mx.array:
        need_arrays("GroupNorm", x)
        if x.shape[-1] % self.num_groups != 0:
            raise ValueError(
                f"The number of features ({x.shape[-1]}) must be evenly divisible by the number "
                f"of groups ({self.num_groups})."
            )
        # Over the positions first: what is large stays as it lies, groups are of few numbers.
        rows = _wide(x).reshape(x.shape[0], math.prod(x.shape[1:-1]), x.shape[-1])
        rows = rows - self._over_group(mx.mean(rows, axis=1, keepdims=True))
        var = self._over_group(mx.mean(mx.square(rows), axis=1, keepdims=True))
        scale = mx.rsqrt(var + self.eps)
        if "weight" not in self:
            return (rows * scale).reshape(x.shape).astype(x.dtype)
        dtype = mx.result_type(x, self.weight, self.bias)
        return (rows * (scale * self.weight) + self.bias).reshape(x.shape).astype(dtype)


class BatchNorm(Module):
    """Normalize every channel over the batch and all positions (Ioffe and Szegedy 2015).

    Inputs have 2 to 4 dimensions, features last. With `track_running_stats` training moves
    `running_mean` and `running_var` by `momentum` towards those of each batch, and `eval` uses
    them; they are never trainable.

    Raises ValueError for inputs of other dimensions.

    >>> nn.BatchNorm(4)(mx.ones((5, 4))).shape
    (5, 4)
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = mx.ones((num_features,))
            self.bias = mx.zeros((num_features,))
        if track_running_stats:
            self.running_mean = mx.zeros((num_features,))
            self.running_var = mx.ones((num_features,))
            self.freeze(keys=["running_mean", "running_var"], recurse=False)

    def unfreeze(self, *args: Any, **kwargs: Any) -> Module:
        """Make the parameters trainable again, except the running statistics."""
        super().unfreeze(*args, **kwargs)
        if self.track_running_stats:
            self.freeze(keys=["running_mean", "running_var"], recurse=False)
        return self

    def _extra_repr(self) -> str:
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={'weight' in self}, track_running_stats={self.track_running_stats}"
        )

    def _statistics(self, x: mx.array) -> tuple[mx.array, mx.array, mx.Dtype]:
        """Mean and variance, and the dtype that x has with them."""
        if self.track_running_stats and not self.training:
            mean, var = self.running_mean, self.running_var
            return mean, _wide(var), mx.result_type(x, mean, var)
        axes, wide = list(range(x.ndim - 1)), _wide(x)
        mean, var = mx.mean(wide, axis=axes), mx.var(wide, axis=axes)
        if self.track_running_stats:
            old, count = 1 - self.momentum, x.size // x.shape[-1]
            unbiased = var * (count / (count - 1)) if count > 1 else var
            moved = self.momentum * mean, self.momentum * unbiased
            self.running_mean = old * self.running_mean + moved[0].astype(x.dtype)
            self.running_var = old * self.running_var + moved[1].astype(x.dtype)
        return mean, var, x.dtype

    def __call__(self, x: mx.array) -> mx.array:
        need_arrays("BatchNorm", x)
        if not 2 <= x.ndim <= 4:
            raise ValueError(
                f"Expected input tensor to have 2, 3 or 4 dimensions, but got {x.ndim}"
            )
        mean, var, dtype = self._statistics(x)
        return _affine(self, (_wide(x) - mean) * mx.rsqrt(var + self.eps), dtype)
