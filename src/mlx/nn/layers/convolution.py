"""Convolution layers. Inputs are ``(N, positions..., in_channels)``."""

from __future__ import annotations

import math
from typing import Any

import mlx.core as mx
from mlx.nn._checks import positive
from mlx.nn.layers.base import Module


def spread(value: int | tuple[int, ...], dims: int) -> Any:
    """Return a setting as one number a dimension."""
    return (value,) * dims if isinstance(value, int) else tuple(value)


def uniform_weight(out_channels: int, kernel: tuple[int, ...], in_channels: int) -> mx.array:
    """Draw a weight ``(out, *kernel, in)`` from +-1/sqrt of the number of inputs of a unit."""
    bound = math.sqrt(1 / positive("Conv", in_channels * math.prod(kernel)))
    return mx.random.uniform(-bound, bound, (out_channels, *kernel, in_channels))


def _check_groups(in_channels: int, groups: int) -> None:
    if positive("Conv", in_channels) % positive("Conv", groups) != 0:
        raise ValueError(
            f"The number of input channels ({in_channels}) must be "
            f"divisible by the number of groups ({groups})"
        )


class Conv1d(Module):
    """Convolution over ``(N, L, in_channels)``; `weight` is ``(out, kernel_size, in / groups)``.

    Raises ValueError unless `in_channels` is a multiple of `groups`.

    >>> nn.Conv1d(2, 4, kernel_size=3)(mx.ones((1, 8, 2))).shape
    (1, 6, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_groups(in_channels, groups)
        self.weight = uniform_weight(out_channels, (kernel_size,), in_channels // groups)
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = padding
        self.dilation = dilation
        self.stride = stride
        self.groups = groups

    def _extra_repr(self) -> str:
        out_channels, kernel_size, in_channels = self.weight.shape
        return (
            f"{in_channels * self.groups}, {out_channels}, kernel_size={kernel_size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, bias={'bias' in self}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.conv1d(x, self.weight, self.stride, self.padding, self.dilation, self.groups)
        return y + self.bias if "bias" in self else y


class Conv2d(Module):
    """Convolution over ``(N, H, W, in_channels)``; `weight` is ``(out, *kernel, in / groups)``.

    Raises ValueError unless `in_channels` is a multiple of `groups`.

    >>> nn.Conv2d(2, 4, kernel_size=3, padding=1)(mx.ones((1, 8, 8, 2))).shape
    (1, 8, 8, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        _check_groups(in_channels, groups)
        kernel = spread(kernel_size, 2)
        self.weight = uniform_weight(out_channels, kernel, in_channels // groups)
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = spread(padding, 2)
        self.stride = spread(stride, 2)
        self.dilation = dilation
        self.groups = groups

    def _extra_repr(self) -> str:
        out_channels, *kernel, in_channels = self.weight.shape
        return (
            f"{in_channels * self.groups}, {out_channels}, kernel_size={tuple(kernel)}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"groups={self.groups}, bias={'bias' in self}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.conv2d(x, self.weight, self.stride, self.padding, self.dilation, self.groups)
        return y + self.bias if "bias" in self else y


class Conv3d(Module):
    """Convolution over ``(N, D, H, W, in_channels)``; `weight` is ``(out, *kernel, in)``.

    >>> nn.Conv3d(2, 4, kernel_size=2)(mx.ones((1, 4, 4, 4, 2))).shape
    (1, 3, 3, 3, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        bias: bool = True,
    ) -> None:
        super().__init__()
        self.weight = uniform_weight(out_channels, spread(kernel_size, 3), in_channels)
        if bias:
            self.bias = mx.zeros((out_channels,))
        self.padding = spread(padding, 3)
        self.stride = spread(stride, 3)
        self.dilation = dilation

    def _extra_repr(self) -> str:
        out_channels, *kernel, in_channels = self.weight.shape
        return (
            f"{in_channels}, {out_channels}, kernel_size={tuple(kernel)}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"bias={'bias' in self}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.conv3d(x, self.weight, self.stride, self.padding, self.dilation)
        return y + self.bias if "bias" in self else y
