"""How arrays print, and the options of printing."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.lazy import numpy as np

EDGE = 3
"""An axis longer than twice this shows only its first and last entries."""
_MARGIN = len("array(")


def _checked(name: str, precision: Any) -> int:
    try:
        return operator.index(precision)
    except TypeError:
        kind = type(precision).__name__
        raise TypeError(f"[{name}] precision must be an integer, got {kind}.") from None


class PrintOptions:
    """Options of printing: ``precision`` digits behind the point, -1 for six significant ones."""

    __slots__ = ("precision",)

    def __init__(self, precision: int = -1) -> None:
        self.precision = _checked("PrintOptions", precision)

    def __repr__(self) -> str:
        return f"PrintOptions(precision={self.precision})"


_options = PrintOptions()


def set_printoptions(precision: int = -1) -> None:
    """Print floats with ``precision`` digits behind the point; -1 restores the default.

    >>> import mlx.core as mx
    >>> mx.set_printoptions(precision=2)
    >>> mx.array([1 / 3])
    array([0.33], dtype=float32)
    >>> mx.set_printoptions()
    """
    _options.precision = _checked("set_printoptions", precision)


def get_printoptions() -> PrintOptions:
    """A copy of the options in force."""
    return PrintOptions(_options.precision)


class printoptions:  # noqa: N801 (MLX's name)
    """Printing options within a ``with`` block.

    >>> import mlx.core as mx
    >>> with mx.printoptions(precision=1):
    ...     print(mx.array(1 / 3))
    array(0.3, dtype=float32)
    """

    def __init__(self, precision: int = -1) -> None:
        self._precision = _checked("printoptions", precision)
        self._before: list[int] = []

    def __enter__(self) -> PrintOptions:
        self._before.append(_options.precision)
        _options.precision = self._precision
        return get_printoptions()

    def __exit__(self, *exc: object) -> None:
        _options.precision = self._before.pop()


def text(values: np.ndarray, dtype: Dtype) -> str:
    """``array(..., dtype=...)``."""
    body = _nested(values, _formatter(dtype), 0)
    return f"array({body}, dtype={dtype.name})"


def _nested(values: np.ndarray, one: Callable[[Any], str], depth: int) -> str:
    if values.ndim == 0:
        return one(values[()])
    if values.ndim == 1:
        parts, separator = [one(x) for x in _edges(values)], ", "
    else:
        parts = [_nested(x, one, depth + 1) for x in _edges(values)]
        separator = ",\n" + " " * (_MARGIN + depth + 1)
    if len(values) > 2 * EDGE:
        parts.insert(EDGE, "...")
    return "[" + separator.join(parts) + "]"


def _edges(values: np.ndarray) -> list[Any]:
    if len(values) > 2 * EDGE:
        return [*values[:EDGE], *values[-EDGE:]]
    return list(values)


def _formatter(dtype: Dtype) -> Callable[[Any], str]:
    if dtype.is_complex:
        return _complex
    return _float if dtype.is_float else str


def _float(x: Any) -> str:
    number = float(x)
    if number != number:
        return "nan"
    precision = _options.precision
    return f"{number:g}" if precision < 0 else f"{number:.{precision}f}"


def _complex(x: Any) -> str:
    sign = "" if x.imag < 0 else "+"
    return f"{_float(x.real)}{sign}{_float(x.imag)}j"
