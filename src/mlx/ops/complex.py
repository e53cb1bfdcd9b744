"""Parts of complex numbers.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.ops.operands import Operand, node_of
from mlx.primitives.base import full_like
from mlx.primitives.complex import Imag, Real
from mlx.primitives.elementwise import Conjugate


def real(a: Operand, /, *, stream: Any = None) -> array:
    """The real part (a itself where it is real).

    >>> mx.real(mx.array([1 + 2j]))
    array([1], dtype=float32)
    """
    x = node_of("real", a)
    return wrap(Real()(x) if x.dtype.is_complex else x)


def imag(a: Operand, /, *, stream: Any = None) -> array:
    """The imaginary part (0 where a is real).

    >>> mx.imag(mx.array([1 + 2j]))
    array([2], dtype=float32)
    """
    x = node_of("imag", a)
    return wrap(Imag()(x) if x.dtype.is_complex else full_like(x, 0))


def conjugate(a: Operand, /, *, stream: Any = None) -> array:
    """The complex conjugate (a itself where it is real).

    >>> mx.conjugate(mx.array([1 + 2j]))
    array([1-2j], dtype=complex64)
    """
    x = node_of("conjugate", a)
    return wrap(Conjugate()(x) if x.dtype.is_complex else x)


conj = conjugate
