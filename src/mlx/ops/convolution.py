"""Convolutions: channels last, weights (out, spatial..., in / groups).

One primitive computes them all; a kernel of one tap is a matrix product.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from mlx.array import array, wrap
from mlx.base.dtype import promote
from mlx.graph.chains import by_types
from mlx.graph.node import Node
from mlx.ops.operands import array_node, integers
from mlx.ops.shape import flip as reversed_axes
from mlx.primitives.complex import Complex, Imag, Real
from mlx.primitives.contraction import MatMul
from mlx.primitives.convolution import convolution, wide
from mlx.primitives.elementwise import cast
from mlx.primitives.views import Slice, reshape, transpose

Steps = int | Sequence[int]


def _per_axis(name: str, what: str, value: Any, ndim: int) -> list[int]:
    values = [value] * ndim if isinstance(value, int) else list(integers(name, what, value))
    if len(values) == 1:
        values *= ndim
    if len(values) != ndim:
        raise ValueError(f"[{name}] {what} needs {ndim} numbers, got {value}.")
    if what in _POSITIVE and min(values) < 1:
        raise ValueError(f"[{name}] {what} must be positive, got {value}.")
    return values


_POSITIVE = ("stride", "dilation", "kernel_dilation", "input_dilation")


def _check(x: Node, w: Node, groups: int) -> int:
    """The number of spatial axes."""
    spatial = x.ndim - 2
    if not 1 <= spatial <= 3 or w.ndim != x.ndim:
        raise ValueError(
            "[conv] Needs an input (N, spatial..., C) with 1 to 3 spatial axes and weights "
            f"(O, spatial..., C / groups), got {x.shape} and {w.shape}."
        )
    if not promote(x.dtype, w.dtype).is_inexact:
        raise ValueError(
            f"[conv] Needs floating-point arrays, got {x.dtype.name} and {w.dtype.name}."
        )
    if x.shape[-1] != w.shape[-1] * groups or w.shape[0] % groups:
        raise ValueError(
            f"[conv] Channels of input {x.shape} and weights {w.shape} do not fit {groups} groups."
        )
    return spatial


def conv_general(
    input: array,
    weight: array,
    /,
    stride: Steps = 1,
    padding: Any = 0,
    kernel_dilation: Steps = 1,
    input_dilation: Steps = 1,
    groups: int = 1,
    flip: bool = False,
    *,
    stream: Any = None,
) -> array:
    """A convolution with all options.

    Args:
        input: (N, spatial..., C).
        weight: (O, spatial..., C / groups).
        stride: of the output.
        padding: a number, one an axis, or a pair of lists (before, after).
        kernel_dilation: distance of the kernel's taps.
        input_dilation: distance of the input's elements, zeros between them.
        groups: input and output channels are split into as many groups.
        flip: turn the kernel round, which makes a correlation a convolution.

    >>> mx.conv_general(mx.ones((1, 5, 2)), mx.ones((4, 3, 2)), padding=1).shape
    (1, 5, 4)
    """
    x, w = array_node("conv", input), array_node("conv", weight)
    settings = (stride, padding, kernel_dilation, input_dilation)
    frozen = [_frozen(value) for value in settings]
    return wrap(_general(x, w, *frozen, groups, bool(flip)))


def _frozen(value: Any) -> Any:
    """Lists as tuples, for a key."""
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value


_MANY = 1 << 18
"""Weights of a tap that sees some of the positions, for which these are worth a copy."""


@by_types(2)
def _general(
    x: Node,
    w: Node,
    stride: Any,
    padding: Any,
    kernel_dilation: Any,
    input_dilation: Any,
    groups: int,
    flip: bool,
) -> Node:
    n = _check(x, w, groups)
    dtype = promote(x.dtype, w.dtype)
    x, w = cast(x, dtype), cast(w, dtype)
    if isinstance(padding, tuple) and padding and not isinstance(padding[0], int):
        low, high = (_per_axis("conv", "padding", p, n) for p in padding)
    else:
        low = high = _per_axis("conv", "padding", padding, n)
    if flip:
        w = reversed_axes(wrap(w), tuple(range(1, w.ndim - 1)))._node
    dilation = _per_axis("conv", "kernel_dilation", kernel_dilation, n)
    spread = _per_axis("conv", "input_dilation", input_dilation, n)
    strides = _per_axis("conv", "stride", stride, n)
    _check_sizes(x, w, [a + b for a, b in zip(low, high, strict=True)], dilation, spread)
    numbers = tuple(tuple(each) for each in (strides, low, high, dilation, spread))
    return _convolved(x, w, numbers, groups)


def _check_sizes(
    x: Node, w: Node, padding: list[int], dilation: list[int], spread: list[int]
) -> None:
    sizes = [wide(n, e) + p for n, e, p in zip(x.shape[1:-1], spread, padding, strict=True)]
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[1:-1], dilation, strict=True)]
    if any(s > n for s, n in zip(spans, sizes, strict=True)):
        raise ValueError(
            f"[conv] Spatial dimensions {tuple(sizes)} of the padded input cannot be smaller "
            f"than {tuple(spans)} of the kernel."
        )


def _convolved(x: Node, w: Node, numbers: Sequence[Any], groups: int) -> Node:
    strides, low, high, dilation, spread = numbers
    if x.dtype.is_complex:
        return _of_complex(x, w, numbers, groups)
    kernel = w.shape[1:-1]
    one = max(kernel) == max(spread) == 1 and not any((*low, *high))
    if one and (max(strides) == 1 or prod(w.shape) >= _MANY * groups):
        return _pointwise(_every(x, strides), w, groups)
    return convolution(x, w, strides, low, high, dilation, spread, groups)


def _of_complex(x: Node, w: Node, numbers: Sequence[Any], groups: int) -> Node:
    """Real parts and imaginary parts, each with each."""
    (a, b), (c, d) = ((Real()(z), Imag()(z)) for z in (x, w))
    ac, bd, ad, bc = (
        _convolved(p, q, numbers, groups) for p, q in ((a, c), (b, d), (a, d), (b, c))
    )
    return Complex()(ac - bd, ad + bc)


def _every(x: Node, strides: Sequence[int]) -> Node:
    """The positions that a kernel of one tap sees."""
    if max(strides) == 1:
        return x
    sizes = [-(-n // s) for n, s in zip(x.shape[1:-1], strides, strict=True)]
    return Slice((0,) * x.ndim, (1, *strides, 1), (x.shape[0], *sizes, x.shape[-1]))(x)


def _pointwise(x: Node, w: Node, groups: int) -> Node:
    """One tap: a matrix product for each group."""
    places, (outputs, *_, channels) = x.shape[:-1], w.shape
    count = prod(places)
    split = transpose(reshape(x, (count, groups, channels)), (1, 0, 2))
    matrices = transpose(reshape(w, (groups, outputs // groups, channels)), (0, 2, 1))
    out = transpose(MatMul()(split, matrices), (1, 0, 2))
    return reshape(out, (*places, outputs))


def _fixed(name: str, spatial: int, x: array, w: array, options: dict[str, Any]) -> array:
    shape = array_node(name, x).shape
    if len(shape) != spatial + 2:
        raise ValueError(f"[{name}] Needs {spatial + 2} dimensions, got shape {shape}.")
    return conv_general(x, w, **options)


def conv1d(
    input: array,
    weight: array,
    /,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """A convolution of (N, L, C) with (O, K, C / groups); see :func:`conv_general`.

    >>> mx.conv1d(mx.ones((1, 5, 2)), mx.ones((4, 3, 2))).shape
    (1, 3, 4)
    """
    options = {"stride": stride, "padding": padding, "kernel_dilation": dilation, "groups": groups}
    return _fixed("conv1d", 1, input, weight, options)


def conv2d(
    input: array,
    weight: array,
    /,
    stride: Steps = 1,
    padding: Steps = 0,
    dilation: Steps = 1,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """A convolution of (N, H, W, C) with (O, KH, KW, C / groups); see :func:`conv_general`.

    >>> mx.conv2d(mx.ones((1, 5, 5, 2)), mx.ones((4, 3, 3, 2)), padding=1).shape
    (1, 5, 5, 4)
    """
    options = {"stride": stride, "padding": padding, "kernel_dilation": dilation, "groups": groups}
    return _fixed("conv2d", 2, input, weight, options)


def conv3d(
    input: array,
    weight: array,
    /,
    stride: Steps = 1,
    padding: Steps = 0,
    dilation: Steps = 1,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """A convolution of (N, D, H, W, C); see :func:`conv_general`."""
    options = {"stride": stride, "padding": padding, "kernel_dilation": dilation, "groups": groups}
    return _fixed("conv3d", 3, input, weight, options)


def _transposed(
    name: str, spatial: int, x: array, w: array, steps: Sequence[Any], groups: int
) -> array:
    """The transpose of a convolution: its input is spread by the stride."""
    shape = array_node(name, x).shape
    if len(shape) != spatial + 2:
        raise ValueError(f"[{name}] Needs {spatial + 2} dimensions, got shape {shape}.")
    names = ("stride", "padding", "dilation", "output_padding")
    stride, padding, dilation, extra = (
        _per_axis(name, what, s, spatial) for what, s in zip(names, steps, strict=True)
    )
    kernel = array_node(name, w).shape[1:-1]
    if len(kernel) != spatial:
        raise ValueError(f"[{name}] Weights need {spatial + 2} dimensions, got {w.shape}.")
    spans = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    low = [s - p for s, p in zip(spans, padding, strict=True)]
    high = [a + e for a, e in zip(low, extra, strict=True)]
    return conv_general(x, w, 1, (low, high), dilation, stride, groups=groups, flip=True)


def conv_transpose1d(
    input: array,
    weight: array,
    /,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    output_padding: int = 0,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """The transpose of conv1d, (N, L, C) with weights (O, K, C / groups).

    >>> mx.conv_transpose1d(mx.ones((1, 5, 2)), mx.ones((4, 3, 2)), stride=2).shape
    (1, 11, 4)
    """
    steps = (stride, padding, dilation, output_padding)
    return _transposed("conv_transpose1d", 1, input, weight, steps, groups)


def conv_transpose2d(
    input: array,
    weight: array,
    /,
    stride: Steps = 1,
    padding: Steps = 0,
    dilation: Steps = 1,
    output_padding: Steps = 0,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """The transpose of conv2d."""
    steps = (stride, padding, dilation, output_padding)
    return _transposed("conv_transpose2d", 2, input, weight, steps, groups)


def conv_transpose3d(
    input: array,
    weight: array,
    /,
    stride: Steps = 1,
    padding: Steps = 0,
    dilation: Steps = 1,
    output_padding: Steps = 0,
    groups: int = 1,
    *,
    stream: Any = None,
) -> array:
    """The transpose of conv3d."""
    steps = (stride, padding, dilation, output_padding)
    return _transposed("conv_transpose3d", 3, input, weight, steps, groups)


def convolve(a: array, v: array, /, mode: str = "full", *, stream: Any = None) -> array:
    """The convolution of two vectors; the shorter one is the kernel.

    ``mode`` is ``full``, ``same`` (the longer one's size) or ``valid``.

    >>> mx.convolve(mx.array([1.0, 2.0]), mx.array([1.0, 2.0, 3.0]))
    array([1, 4, 7, 6], dtype=float32)
    """
    x, w = array_node("convolve", a), array_node("convolve", v)
    if x.ndim != 1 or w.ndim != 1 or x.size == 0 or w.size == 0:
        raise ValueError(f"[convolve] Needs two non-empty vectors, got {x.shape} and {w.shape}.")
    if x.size < w.size:
        x, w = w, x
    n = w.size
    padding = {"full": (n - 1, n - 1), "same": (n // 2, n - n // 2 - 1), "valid": (0, 0)}
    if mode not in padding:
        raise ValueError(f"[convolve] mode must be full, same or valid, got {mode!r}.")
    low, high = padding[mode]
    line, kernel = (wrap(reshape(z, (1, z.size, 1))) for z in (x, w))
    out = conv_general(line, kernel, 1, ([low], [high]), flip=True)
    return wrap(reshape(out._node, (out.size,)))
