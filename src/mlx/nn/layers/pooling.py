"""Pooling layers. Inputs are ``(N, positions..., C)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.nn._checks import need_arrays
from mlx.nn.layers._windows import window_max, window_mean
from mlx.nn.layers.base import Module

Size = int | tuple[int, ...]


def _tiles(x: mx.array, kernel: tuple[int, ...]) -> mx.array:
    """``(N, windows..., kernel size, C)``: the values of each window of positions, where windows
    neither overlap nor leave anything out."""
    batch, *positions, channels = x.shape
    dims = len(kernel)
    shape = [batch]
    for n, k in zip(positions, kernel, strict=True):
        shape += [n // k, k]
    x = x.reshape(*shape, channels)
    outer, inner = range(1, 2 * dims, 2), range(2, 2 * dims + 1, 2)
    return x.transpose(0, *outer, *inner, 2 * dims + 1).flatten(dims + 1, 2 * dims)


class _Pool(Module):
    """Windows of positions, each folded with `_fold`.

    Where they tile the input, `_reduce` does so, and its gradient fuses with what surrounds it;
    in half precision, where each element would be rounded on the way, `_fold` is faster.
    """

    _dims: int
    _reduce: Callable[..., mx.array]
    _fold: Callable[..., mx.array]

    def __init__(self, kernel_size: Size, stride: Size | None = None, padding: Size = 0) -> None:
        super().__init__()
        self._kernel_size = self._setting("kernel_size", kernel_size)
        self._stride = self._kernel_size if stride is None else self._setting("stride", stride)
        self._padding = self._setting("padding", padding)

    def _setting(self, name: str, value: Any) -> tuple[int, ...]:
        dims = self._dims
        if isinstance(value, int):
            return (value,) * dims
        if (
            isinstance(value, (tuple, list))
            and len(value) == dims
            and all(isinstance(v, int) for v in value)
        ):
            return tuple(value)
        raise ValueError(
            f"[{type(self).__name__}] '{name}' must be an integer or a tuple containing "
            f"{dims} integer{'s' if dims > 1 else ''}"
        )

    def _extra_repr(self) -> str:
        return f"kernel_size={self._kernel_size}, stride={self._stride}, padding={self._padding}"

    def __call__(self, x: mx.array) -> mx.array:
        dims = self._dims
        need_arrays(type(self).__name__, x)
        if x.ndim != dims + 2:
            raise ValueError(
                f"[{type(self).__name__}] Expected an input with {dims + 2} dimensions "
                f"(N, positions..., C), got one of shape {x.shape}."
            )
        kernel, stride, padding = self._kernel_size, self._stride, self._padding
        fits = all(n % k == 0 for n, k in zip(x.shape[1:-1], kernel, strict=True))
        if fits and kernel == stride and not any(padding) and x.itemsize >= 4:
            return type(self)._reduce(_tiles(x, kernel), axis=-2)
        return type(self)._fold(x, kernel, stride, padding)


class _Pool1d(_Pool):
    _dims = 1


class _Pool2d(_Pool):
    _dims = 2


class _Pool3d(_Pool):
    _dims = 3


class MaxPool1d(_Pool1d):
    """Maximum over windows of ``(N, L, C)``; `stride` defaults to `kernel_size`.

    A window larger than the input has no place in it: the result is empty.  Raises ValueError
    for settings of another length, or where the window is larger by more than a stride.

    >>> nn.MaxPool1d(2)(mx.arange(4).reshape(1, 4, 1)).tolist()
    [[[1], [3]]]
    """

    _reduce = staticmethod(mx.max)
    _fold = staticmethod(window_max)


class AvgPool1d(_Pool1d):
    """Mean over windows of ``(N, L, C)``; padding counts as zeros.

    >>> nn.AvgPool1d(2)(mx.arange(4).reshape(1, 4, 1)).tolist()
    [[[0.5], [2.5]]]
    """

    _reduce = staticmethod(mx.mean)
    _fold = staticmethod(window_mean)


class MaxPool2d(_Pool2d):
    """Maximum over windows of ``(N, H, W, C)``; `stride` defaults to `kernel_size`.

    >>> nn.MaxPool2d(2)(mx.arange(16).reshape(1, 4, 4, 1)).flatten().tolist()
    [5, 7, 13, 15]
    """

    _reduce = staticmethod(mx.max)
    _fold = staticmethod(window_max)


class AvgPool2d(_Pool2d):
    """Mean over windows of ``(N, H, W, C)``; padding counts as zeros.

    >>> nn.AvgPool2d(3, stride=1, padding=1)(mx.ones((1, 4, 4, 1))).shape
    (1, 4, 4, 1)
    """

    _reduce = staticmethod(mx.mean)
    _fold = staticmethod(window_mean)


class MaxPool3d(_Pool3d):
    """Maximum over windows of ``(N, D, H, W, C)``; `stride` defaults to `kernel_size`.

    >>> nn.MaxPool3d(2)(mx.ones((1, 4, 4, 4, 1))).shape
    (1, 2, 2, 2, 1)
    """

    _reduce = staticmethod(mx.max)
    _fold = staticmethod(window_max)


class AvgPool3d(_Pool3d):
    """Mean over windows of ``(N, D, H, W, C)``; padding counts as zeros.

    >>> nn.AvgPool3d(2)(mx.ones((1, 4, 4, 4, 1))).shape
    (1, 2, 2, 2, 1)
    """

    _reduce = staticmethod(mx.mean)
    _fold = staticmethod(window_mean)
