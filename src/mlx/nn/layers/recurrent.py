"""Recurrent layers. Inputs are ``([N,] length, features)``; all states are returned."""

from __future__ import annotations

import math
from collections.abc import Callable

import mlx.core as mx
from mlx.nn._checks import positive
from mlx.nn.layers.activations import tanh
from mlx.nn.layers.base import Module


def _uniform(hidden_size: int, *shape: int) -> mx.array:
    bound = 1.0 / math.sqrt(positive("RNN", hidden_size))
    return mx.random.uniform(-bound, bound, shape)


def _project(x: mx.array, weight: mx.array, bias: mx.array | None) -> mx.array:
    return x @ weight.T if bias is None else mx.addmm(bias, x, weight.T)


class RNN(Module):
    """Elman recurrence ``h = nonlinearity(Wxh x + Whh h + bias)``, by default with tanh.

    Raises ValueError unless `nonlinearity` is callable.

    >>> nn.RNN(2, 3)(mx.ones((5, 4, 2))).shape
    (5, 4, 3)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Callable | None = None,
    ) -> None:
        super().__init__()
        self.nonlinearity = nonlinearity or tanh
        if not callable(self.nonlinearity):
            raise ValueError(f"Nonlinearity must be callable. Current value: {nonlinearity}.")
        self.hidden_size = hidden_size
        self.Wxh = _uniform(hidden_size, hidden_size, input_size)
        self.Whh = _uniform(hidden_size, hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wxh.shape[1]}, hidden_size={self.hidden_size}, "
            f"nonlinearity={self.nonlinearity}, bias={self.bias is not None}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        return _elman(x, self.Wxh, self.Whh, self.bias, hidden, self.nonlinearity)


@mx.compile
def _elman(
    x: mx.array,
    wx: mx.array,
    wh: mx.array,
    bias: mx.array | None,
    hidden: mx.array | None,
    nonlinearity: Callable,
) -> mx.array:
    x = _project(x, wx, bias)
    states = []
    for t in range(x.shape[-2]):
        now = x[..., t, :]
        hidden = now if hidden is None else mx.addmm(now, hidden, wh.T)
        hidden = nonlinearity(hidden)
        states.append(hidden)
    return mx.stack(states, axis=-2)


class GRU(Module):
    """Gated recurrent unit (Cho et al. 2014).

    ``r, z = sigmoid(W x + W h + b)``, ``n = tanh(W x + b + r (W h + bhn))``,
    ``h = (1 - z) n + z h``; `Wx`, `Wh` and `b` hold r, z and n in this order.

    >>> nn.GRU(2, 3)(mx.ones((5, 4, 2))).shape
    (5, 4, 3)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 3 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 3 * hidden_size, hidden_size)
        self.b = _uniform(hidden_size, 3 * hidden_size) if bias else None
        self.bhn = _uniform(hidden_size, hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, "
            f"bias={self.b is not None}"
        )

    def __call__(self, x: mx.array, hidden: mx.array | None = None) -> mx.array:
        return _gated(x, self.Wx, self.Wh, self.b, self.bhn, hidden)


@mx.compile
def _gated(
    x: mx.array,
    wx: mx.array,
    wh: mx.array,
    bias: mx.array | None,
    bias_new: mx.array | None,
    hidden: mx.array | None,
) -> mx.array:
    x = _project(x, wx, bias)
    size = wh.shape[-1]
    states = []
    for t in range(x.shape[-2]):
        gates, new = x[..., t, : 2 * size], x[..., t, 2 * size :]
        recurrent = bias_new
        if hidden is not None:
            projected = hidden @ wh.T
            gates = gates + projected[..., : 2 * size]
            recurrent = projected[..., 2 * size :]
            if bias_new is not None:
                recurrent = recurrent + bias_new
        r, z = mx.split(mx.sigmoid(gates), 2, axis=-1)
        if recurrent is not None:
            new = new + r * recurrent
        new = (1 - z) * mx.tanh(new)
        hidden = new if hidden is None else new + z * hidden
        states.append(hidden)
    return mx.stack(states, axis=-2)


class LSTM(Module):
    """Long short-term memory (Hochreiter and Schmidhuber 1997). Returns hidden and cell states.

    ``c = f c + i g``, ``h = o tanh(c)``; `Wx`, `Wh` and `bias` hold i, f, g and o in this order.

    >>> hidden, cell = nn.LSTM(2, 3)(mx.ones((5, 4, 2)))
    >>> hidden.shape, cell.shape
    ((5, 4, 3), (5, 4, 3))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.Wx = _uniform(hidden_size, 4 * hidden_size, input_size)
        self.Wh = _uniform(hidden_size, 4 * hidden_size, hidden_size)
        self.bias = _uniform(hidden_size, 4 * hidden_size) if bias else None

    def _extra_repr(self) -> str:
        return (
            f"input_dims={self.Wx.shape[1]}, hidden_size={self.hidden_size}, "
            f"bias={self.bias is not None}"
        )

    def __call__(
        self, x: mx.array, hidden: mx.array | None = None, cell: mx.array | None = None
    ) -> tuple[mx.array, mx.array]:
        return _long_short(x, self.Wx, self.Wh, self.bias, hidden, cell)


@mx.compile
def _long_short(
    x: mx.array,
    wx: mx.array,
    wh: mx.array,
    bias: mx.array | None,
    hidden: mx.array | None,
    cell: mx.array | None,
) -> tuple[mx.array, mx.array]:
    x = _project(x, wx, bias)
    states, cells = [], []
    for t in range(x.shape[-2]):
        gates = x[..., t, :]
        if hidden is not None:
            gates = mx.addmm(gates, hidden, wh.T)
        i, f, g, o = mx.split(gates, 4, axis=-1)
        new = mx.sigmoid(i) * mx.tanh(g)
        cell = new if cell is None else mx.sigmoid(f) * cell + new
        hidden = mx.sigmoid(o) * mx.tanh(cell)
        states.append(hidden)
        cells.append(cell)
    return mx.stack(states, axis=-2), mx.stack(cells, axis=-2)
