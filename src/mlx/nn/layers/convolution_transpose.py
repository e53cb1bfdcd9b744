"""Transposed convolution layers. Inputs are ``(N, positions..., in_channels)``."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.nn.layers.convolution import spread, uniform_weight


class _ConvTranspose(Module):
    """What the three layers share."""

    def __init__(
        self,
        channels: tuple[int, int],
        kernel: tuple[int, ...],
        settings: dict[str, Any],
        bias: bool,
    ) -> None:
        super().__init__()
        in_channels, out_channels = channels
        self.weight = uniform_weight(out_channels, kernel, in_channels)
        if bias:
            self.bias = mx.zeros((out_channels,))
        for name, value in settings.items():
            setattr(self, name, value)

    def _extra_repr(self) -> str:
        out_channels, *kernel, in_channels = self.weight.shape
        size = kernel[0] if len(kernel) == 1 else tuple(kernel)
        return (
            f"{in_channels}, {out_channels}, kernel_size={size}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, "
            f"output_padding={self.output_padding}, bias={'bias' in self}"
        )

    def _convolve(self, x: mx.array, *settings: Any) -> mx.array:
        raise NotImplementedError

    def __call__(self, x: mx.array) -> mx.array:
        settings = (self.stride, self.padding, self.dilation, self.output_padding)
        y = self._convolve(x, self.weight, *settings)
        return y + self.bias if "bias" in self else y


class ConvTranspose1d(_ConvTranspose):
    """Transposed convolution over ``(N, L, in_channels)``; `weight` is ``(out, kernel, in)``.

    >>> nn.ConvTranspose1d(2, 4, kernel_size=3)(mx.ones((1, 6, 2))).shape
    (1, 8, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        output_padding: int = 0,
        bias: bool = True,
    ) -> None:
        settings = {
            "padding": padding,
            "dilation": dilation,
            "stride": stride,
            "output_padding": output_padding,
        }
        super().__init__((in_channels, out_channels), (kernel_size,), settings, bias)

    def _convolve(self, x: mx.array, *settings: Any) -> mx.array:
        return mx.conv_transpose1d(x, *settings)


class ConvTranspose2d(_ConvTranspose):
    """Transposed convolution over ``(N, H, W, in_channels)``; `weight` is ``(out, *kernel, in)``.

    >>> nn.ConvTranspose2d(2, 4, kernel_size=2, stride=2)(mx.ones((1, 3, 3, 2))).shape
    (1, 6, 6, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        output_padding: int | tuple[int, int] = 0,
        bias: bool = True,
    ) -> None:
        settings = {
            "padding": spread(padding, 2),
            "stride": spread(stride, 2),
            "output_padding": spread(output_padding, 2),
            "dilation": dilation,
        }
        super().__init__((in_channels, out_channels), spread(kernel_size, 2), settings, bias)

    def _convolve(self, x: mx.array, *settings: Any) -> mx.array:
        return mx.conv_transpose2d(x, *settings)


class ConvTranspose3d(_ConvTranspose):
    """Transposed convolution over ``(N, D, H, W, in_channels)``.

    `weight` is ``(out, *kernel, in)``.

    >>> nn.ConvTranspose3d(2, 4, kernel_size=2)(mx.ones((1, 3, 3, 3, 2))).shape
    (1, 4, 4, 4, 4)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int, int],
        stride: int | tuple[int, int, int] = 1,
        padding: int | tuple[int, int, int] = 0,
        dilation: int | tuple[int, int, int] = 1,
        output_padding: int | tuple[int, int, int] = 0,
        bias: bool = True,
    ) -> None:
        settings = {
            "padding": spread(padding, 3),
            "stride": spread(stride, 3),
            "output_padding": spread(output_padding, 3),
            "dilation": dilation,
        }
        super().__init__((in_channels, out_channels), spread(kernel_size, 3), settings, bias)

    def _convolve(self, x: mx.array, *settings: Any) -> mx.array:
        return mx.conv_transpose3d(x, *settings)
