"""Questions about data types.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array
from mlx.base.dtype import Dtype, DtypeCategory, issubdtype, promote, real_of
from mlx.base.lazy import ml_dtypes

_KINDS = {
    "bool": lambda d: d.name == "bool",
    "signed integer": lambda d: d.is_signed,
    "unsigned integer": lambda d: d.is_integer and not d.is_signed,
    "integral": lambda d: d.is_integer,
    "real floating": lambda d: d.is_float,
    "complex floating": lambda d: d.is_complex,
    "numeric": lambda d: d.name != "bool",
}


def _dtype(name: str, what: str, x: Any) -> Dtype:
    if isinstance(x, array):
        return x.dtype
    if isinstance(x, Dtype):
        return x
    raise ValueError(f"[{name}] {what} must be an array or a dtype, got {type(x).__name__}.")


def result_type(*arrays_and_dtypes: array | Dtype) -> Dtype:
    """The dtype that arrays and dtypes promote to.

    >>> mx.result_type(mx.int32, mx.float16)
    mlx.core.float16
    """
    if not arrays_and_dtypes:
        raise ValueError("[result_type] Needs at least one array or dtype.")
    first, *rest = (_dtype("result_type", "Every input", x) for x in arrays_and_dtypes)
    for dtype in rest:
        first = promote(first, dtype)
    return first


def can_cast(from_: array | Dtype, to: Dtype) -> bool:
    """Whether promotion takes a dtype to another.

    >>> mx.can_cast(mx.int32, mx.float32), mx.can_cast(mx.float32, mx.int32)
    (True, False)
    """
    return promote(_dtype("can_cast", "`from_`", from_), _dtype("can_cast", "`to`", to)) is to


def isdtype(dtype: Dtype, kind: Dtype | str | tuple[Dtype | str, ...]) -> bool:
    """Whether a dtype is of a kind: a dtype, a name such as "integral", or one of several.

    >>> mx.isdtype(mx.int32, "integral")
    True
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if isinstance(kind, Dtype):
        return dtype is kind
    if not isinstance(kind, str):
        raise ValueError("[isdtype] `kind` must be a dtype, a string or a tuple of those.")
    if kind not in _KINDS:
        raise ValueError(f"[isdtype] Unknown kind {kind!r}: use one of {sorted(_KINDS)}.")
    return bool(_KINDS[kind](dtype))


class finfo:
    """Limits of a floating-point dtype (of its parts, for complex64).

    >>> mx.finfo(mx.float32).eps
    1.1920928955078125e-07
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "smallest_normal")

    def __init__(self, arg: Dtype, /) -> None:
        if not isinstance(arg, Dtype):
            raise TypeError(f"[finfo] Expected a dtype, got {type(arg).__name__}.")
        if not arg.is_inexact:
            raise ValueError(f"[finfo] dtype {arg.name} is not inexact.")
        self.dtype = real_of(arg)
        limits = ml_dtypes.finfo(self.dtype.numpy)
        self.min, self.max = float(limits.min), float(limits.max)
        self.eps = float(limits.eps)
        self.smallest_normal = float(limits.smallest_normal)
        self.bits = int(limits.bits)

    def __repr__(self) -> str:
        return f"finfo(min={self.min:.6g}, max={self.max:.6g}, dtype={self.dtype.name})"


class iinfo:
    """Limits of an integer dtype.

    >>> mx.iinfo(mx.int8)
    iinfo(min=-128, max=127, dtype=int8)
    """

    __slots__ = ("dtype", "max", "min")

    def __init__(self, arg: Dtype, /) -> None:
        if not isinstance(arg, Dtype):
            raise TypeError(f"[iinfo] Expected a dtype, got {type(arg).__name__}.")
        if not arg.is_integer:
            raise ValueError(f"[iinfo] Only integer dtypes are supported, got {arg.name}.")
        self.dtype = arg
        bits = 8 * arg.size
        self.min = -(2 ** (bits - 1)) if arg.is_signed else 0
        self.max = 2 ** (bits - arg.is_signed) - 1

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype.name})"


__all__ = ["DtypeCategory", "can_cast", "finfo", "iinfo", "isdtype", "issubdtype", "result_type"]
