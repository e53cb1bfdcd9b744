"""How arrays are printed: all elements, or the edges of large ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np

_EDGE = 3
_LIMIT = 1000


class PrintOptions:
    """How numbers are printed: ``precision`` digits, -1 for the default."""

    __slots__ = ("precision",)

    def __init__(self, precision: int = -1) -> None:
        self.precision = precision


_options = PrintOptions()


def set_printoptions(precision: int = -1) -> None:
    """Set the number of digits that floats are printed with.

    >>> set_printoptions(precision=-1)
    """
    _options.precision = precision


def get_printoptions() -> PrintOptions:
    """The current print options."""
    return PrintOptions(_options.precision)


@contextlib.contextmanager
def printoptions(precision: int = -1) -> Iterator[PrintOptions]:
    """Print options for a ``with`` block."""
    before = _options.precision
    set_printoptions(precision)
    try:
        yield get_printoptions()
    finally:
        set_printoptions(before)


def _real(value: Any) -> str:
    value = float(value)
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    if _options.precision >= 0:
        return f"{value:.{_options.precision}f}"
    return f"{value:.6g}"


def element(value: Any) -> str:
    """One element as text."""
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, complex | np.complexfloating):
        sign = "+" if value.imag >= 0 or value.imag != value.imag else ""
        return f"{_real(value.real)}{sign}{_real(value.imag)}j"
    if isinstance(value, int | np.integer):
        return str(int(value))
    return _real(value)


def _items(values: np.ndarray, indent: int, short: bool) -> str:
    if values.ndim == 0:
        return element(values[()])
    count = values.shape[0]
    edge = short and count > 2 * _EDGE
    shown = [*range(_EDGE), *range(count - _EDGE, count)] if edge else list(range(count))
    parts = [_items(values[i], indent + 1, short) for i in shown]
    if edge:
        parts.insert(_EDGE, "...")
    gap = ", " if values.ndim == 1 else ",\n" + " " * indent
    return "[" + gap.join(parts) + "]"


def text(values: np.ndarray, dtype: str) -> str:
    """An array as MLX prints it.

    >>> text(np.arange(3), "int32")
    'array([0, 1, 2], dtype=int32)'
    """
    return f"array({_items(values, 7, values.size > _LIMIT)}, dtype={dtype})"
