"""Transforms of overlapping windows, and back.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.graph.node import Node
from mlx.ops.fft import fft, ifft, irfft, rfft
from mlx.ops.joining import pad
from mlx.ops.operands import array_node, fitted
from mlx.ops.shape import narrow
from mlx.primitives.base import full, full_like, iota
from mlx.primitives.elementwise import Greater, cast, where
from mlx.primitives.indexing import Gather, ScatterSum
from mlx.primitives.views import Embed, moveaxis, transpose


def _sizes(name: str, n_fft: int, hop: int | None, width: int | None) -> tuple[int, int]:
    hop, width = n_fft // 4 if hop is None else hop, n_fft if width is None else width
    if n_fft < 1 or hop < 1 or not 1 <= width <= n_fft:
        raise ValueError(
            f"[{name}] Needs n_fft >= win_length >= 1 and hop_length >= 1, got n_fft={n_fft}, "
            f"win_length={width}, hop_length={hop}."
        )
    return hop, width


def _window(name: str, window: array | None, width: int, n_fft: int) -> Node:
    """The window in the middle of n_fft samples; by default ones."""
    node = full((width,), dt.float32, 1) if window is None else array_node(name, window)
    if node.shape != (width,):
        raise ValueError(f"[{name}] window must have shape ({width},), got {node.shape}.")
    return Embed(((n_fft - width) // 2,), (1,), (n_fft,))(node)


def _places(frames: int, n_fft: int, hop: int) -> Node:
    """(frames, n_fft): which sample each element of a frame is."""
    shape = (frames, n_fft)
    return iota(shape, 0, dt.int64) * hop + iota(shape, 1, dt.int64)


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
    """The transform of windows of n_fft samples at distance hop_length.

    Args:
        x: (..., samples).
        n_fft: samples a frame.
        hop_length: distance of frames, by default n_fft / 4.
        win_length: size of the window, by default n_fft; it lies in the middle of a frame.
        window: (win_length,), by default ones.
        center: pad by n_fft / 2 on both sides, with ``pad_mode`` reflect, edge or constant.
        pad_mode: see ``center``.
        norm: of the transform.
        onesided: leave out conjugate frequencies; by default for real x.

    Returns (..., frequencies, frames).

    >>> mx.fft.stft(mx.ones(64), 16).shape
    (9, 17)
    """
    name = "stft"
    hop, width = _sizes(name, n_fft, hop_length, win_length)
    node = array_node(name, x)
    if node.ndim < 1:
        raise ValueError(f"[{name}] Needs at least one dimension.")
    last = node.ndim - 1
    if center:
        sides = [(0, 0)] * last + [(n_fft // 2, n_fft // 2)]
        node = pad(wrap(node), sides, pad_mode)._node
    if node.shape[-1] < n_fft:
        raise ValueError(f"[{name}] {node.shape[-1]} samples are fewer than n_fft={n_fft}.")
    frames = 1 + (node.shape[-1] - n_fft) // hop
    parts = Gather((last,), position=last)(node, _places(frames, n_fft, hop))
    kind = dt.complex64 if parts.dtype.is_complex else dt.float32
    shape = parts.shape
    weight = fitted(cast(_window(name, window, width, n_fft), kind), shape, kind)
    half = not parts.dtype.is_complex if onesided is None else onesided
    out = (rfft if half else fft)(wrap(cast(parts, kind) * weight), norm=norm)._node
    return wrap(moveaxis(out, last + 1, last))


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
    """The samples of overlapping windows, given their transforms; see :func:`stft`.

    ``onesided`` is True by default; ``length`` cuts off, or fills up with zeros.

    >>> x = mx.sin(mx.arange(64))
    >>> bool(mx.allclose(mx.fft.istft(mx.fft.stft(x, 16), length=64), x, atol=1e-5))
    True
    """
    name = "istft"
    node = array_node(name, stft_matrix)
    if node.ndim < 2:
        raise ValueError(f"[{name}] Needs (..., frequencies, frames), got {node.shape}.")
    half = True if onesided is None else onesided
    last = node.ndim - 1
    bins, frames = node.shape[-2:]
    size = n_fft or (2 * (bins - 1) if half else bins)
    hop, width = _sizes(name, size, hop_length, win_length)
    parts = wrap(moveaxis(node, last, last - 1))
    waves = (irfft if half else ifft)(parts, size, norm=norm)._node
    weight = _window(name, window, width, size)
    total = (frames - 1) * hop + size
    windowed = waves * fitted(cast(weight, waves.dtype), waves.shape, waves.dtype)
    wave = _overlapped(windowed, total, hop)
    square = fitted(cast(weight * weight, dt.float32), (frames, size), dt.float32)
    norms = _overlapped(square, total, hop)
    norms = where(Greater()(norms, full_like(norms, 1e-10)), norms, 1)
    wave = wave / fitted(cast(norms, wave.dtype), wave.shape, wave.dtype)
    return wrap(_trimmed(wave, size // 2 if center else 0, length))


def _overlapped(frames: Node, total: int, hop: int) -> Node:
    """Frames (..., count, size) summed where they lie."""
    *lead, count, size = frames.shape
    last = frames.ndim - 1
    moved = transpose(frames, (last - 1, last, *range(last - 1)))
    out = ScatterSum((0,), (total, *lead))(moved, _places(count, size, hop))
    return moveaxis(out, 0, len(lead))


def _trimmed(wave: Node, edge: int, length: int | None) -> Node:
    last, size = wave.ndim - 1, wave.shape[-1]
    if length is None:
        return narrow(wave, last, edge, max(size - edge, edge))
    wave = narrow(wave, last, edge, min(edge + length, size))
    if wave.shape[-1] == length:
        return wave
    shape = (*wave.shape[:-1], length)
    return Embed((0,) * wave.ndim, (1,) * wave.ndim, shape)(wave)
