"""Short-time Fourier transforms: of overlapping frames, and back by overlap-add.

The inverse is the least-squares one of Griffin and Lim, "Signal estimation from modified
short-time Fourier transform" (1984).

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.graph.node import Node, Shape
from mlx.ops.fft import fft, ifft, irfft, rfft
from mlx.ops.operands import array_node, integer
from mlx.ops.padding import pad
from mlx.ops.shape import narrow
from mlx.primitives.arithmetic import Maximum
from mlx.primitives.base import full, full_like, iota
from mlx.primitives.elementwise import cast
from mlx.primitives.indexing import Gather, ScatterSum
from mlx.primitives.reductions import broadcast
from mlx.primitives.views import Embed, moveaxis, transpose

LEAST_WEIGHT = 1e-8
"""Samples that the windows weigh less than this are not scaled up."""


def _positive(name: str, what: str, value: Any) -> int:
    found = integer(name, what, value)
    if found < 1:
        raise ValueError(f"[{name}] {what} must be positive, got {found}.")
    return found


def _window(name: str, window: array | None, length: int | None, n_fft: int) -> Node:
    """The window in the middle of n_fft numbers."""
    if window is None:
        size = n_fft if length is None else _positive(name, "win_length", length)
        x = full((size,), dt.float32, 1)
    else:
        x = cast(array_node(name, window), dt.float32)
    if x.ndim != 1:
        raise ValueError(f"[{name}] window must be a one-dimensional array, got shape {x.shape}.")
    if x.size > n_fft:
        raise ValueError(f"[{name}] A window of {x.size} numbers exceeds n_fft = {n_fft}.")
    return x if x.size == n_fft else Embed(((n_fft - x.size) // 2,), (1,), (n_fft,))(x)


def _starts(frames: int, hop: int) -> Node:
    return iota((frames,), 0, dt.int64) * hop


def stft(
    x: array,
    n_fft: int = 2048,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: array | None = None,
    center: bool = True,
    pad_mode: str = "reflect",
    norm: str = "backward",
    onesided: bool | None = None,
    stream: Any = None,
) -> array:
    """Transforms of overlapping frames along the last axis: (..., frequencies, frames).

    Args:
        x: signals (..., samples).
        n_fft: the length of a frame.
        hop_length: samples from one frame to the next, by default n_fft // 4.
        win_length: the length of a window of ones, in the middle of the frame.
        window: another window, at most n_fft long.
        center: whether to prolong x by n_fft // 2 at both ends, by ``pad_mode`` of mx.pad.
        norm: as in :func:`fft`.
        onesided: whether to leave out the half that is conjugate for real numbers, the
            default for them.

    >>> mx.fft.stft(mx.ones(64), n_fft=16).shape
    (9, 17)
    """
    node = array_node("stft", x)
    if node.ndim < 1:
        raise ValueError("[stft] The input must have at least one dimension.")
    size = _positive("stft", "n_fft", n_fft)
    hop = max(size // 4, 1) if hop_length is None else _positive("stft", "hop_length", hop_length)
    weights = _window("stft", window, win_length, size)
    if not node.dtype.is_complex:
        node = cast(node, dt.float32)
    half = not node.dtype.is_complex if onesided is None else bool(onesided)
    if center and size > 1:
        widths = [(0, 0)] * (node.ndim - 1) + [(size // 2, size // 2)]
        node = pad(wrap(node), widths, mode=pad_mode)._node
    samples = node.shape[-1]
    if samples < size:
        raise ValueError(f"[stft] {samples} samples are too few for frames of n_fft = {size}.")
    last = node.ndim - 1
    starts = _starts((samples - size) // hop + 1, hop)
    frames = Gather((last,), 0, last, (size,))(node, starts)
    if half:
        frames = cast(frames, dt.float32)
    frames = frames * broadcast(cast(weights, frames.dtype), frames.shape)
    out = (rfft if half else fft)(wrap(frames), norm=norm)._node
    return wrap(moveaxis(out, out.ndim - 1, out.ndim - 2))


def _overlapped(frames: Node, hop: int) -> Node:
    """The sum of frames (..., frames, n), each ``hop`` after the one before."""
    *lead, count, size = frames.shape
    last = len(lead)
    shape: Shape = (*lead, size + hop * (count - 1))
    updates = transpose(frames, (last, *range(last), last + 1))
    return ScatterSum((last,), shape, 0, (size,))(updates, _starts(count, hop))


def istft(
    stft_matrix: array,
    n_fft: int | None = None,
    hop_length: int | None = None,
    win_length: int | None = None,
    window: array | None = None,
    center: bool = True,
    norm: str = "backward",
    onesided: bool | None = None,
    length: int | None = None,
    stream: Any = None,
) -> array:
    """Real signals (..., samples) from the transforms of :func:`stft`.

    The arguments are those of stft.  ``length`` cuts the result, or prolongs it with zeros;
    n_fft follows from the number of frequencies by default.

    >>> x = mx.arange(64.0)
    >>> bool(mx.allclose(mx.fft.istft(mx.fft.stft(x, n_fft=16)), x, atol=1e-4))
    True
    """
    x = array_node("istft", stft_matrix)
    if x.ndim < 2:
        raise ValueError(
            f"[istft] The input must have axes of frequencies and frames, got shape {x.shape}."
        )
    half = onesided is None or bool(onesided)
    natural = 2 * (x.shape[-2] - 1) if half else x.shape[-2]
    size = _positive("istft", "n_fft", natural if n_fft is None else n_fft)
    hop = max(size // 4, 1) if hop_length is None else _positive("istft", "hop_length", hop_length)
    weights = _window("istft", window, win_length, size)
    if x.shape[-1] == 0:
        raise ValueError("[istft] The input has no frames.")
    spectra = wrap(moveaxis(x, x.ndim - 1, x.ndim - 2))
    frames = (irfft if half else ifft)(spectra, n=size, norm=norm)._node
    frames = cast(frames, dt.float32)
    total = _overlapped(frames * broadcast(weights, frames.shape), hop)
    weight = _overlapped(broadcast(weights * weights, (x.shape[-1], size)), hop)
    weight = Maximum()(weight, full_like(weight, LEAST_WEIGHT))
    return wrap(_trimmed(total / broadcast(weight, total.shape), center, size // 2, length))


def _trimmed(x: Node, center: bool, margin: int, length: int | None) -> Node:
    """Without what ``center`` added, and of the length asked for."""
    last = x.ndim - 1
    start = min(margin, x.shape[last]) if center else 0
    if length is None:
        return narrow(x, last, start, max(x.shape[last] - start, start))
    wanted = integer("istft", "length", length)
    if wanted < 0:
        raise ValueError(f"[istft] length must not be negative, got {wanted}.")
    x = narrow(x, last, start, min(start + wanted, x.shape[last]))
    missing = wanted - x.shape[last]
    if not missing:
        return x
    return Embed((0,) * x.ndim, (1,) * x.ndim, (*x.shape[:last], wanted))(x)
