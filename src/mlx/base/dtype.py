"""Data types and the rules of promotion between them."""

from __future__ import annotations

import enum
import struct
import sys
from functools import cache
from typing import Any

from mlx.base.lazy import ml_dtypes
from mlx.base.lazy import numpy as np


class DtypeCategory(enum.Enum):
    """A group of data types, for :func:`issubdtype`."""

    complexfloating = 0
    floating = 1
    inexact = 2
    signedinteger = 3
    unsignedinteger = 4
    integer = 5
    number = 6
    generic = 7

    def __repr__(self) -> str:
        return f"DtypeCategory.{self.name}"

    __str__ = __repr__


class Dtype:
    """A data type: one instance each, compared by identity.

    Attributes:
        name: its name, such as ``float32``.
        size: bytes of an element.
        index: a small integer, used in keys and tables.
        numpy: the NumPy dtype of the same layout.
    """

    __slots__ = (
        "category", "index", "is_complex", "is_float", "is_inexact", "is_integer",
        "is_signed", "name", "numpy", "size",
    )  # fmt: skip

    numpy: Any

    def __init__(self, index: int, name: str, category: DtypeCategory, size: int) -> None:
        self.index = index
        self.name = name
        self.category = category
        self.size = size
        self.is_complex = category is DtypeCategory.complexfloating
        self.is_float = category is DtypeCategory.floating
        self.is_inexact = self.is_float or self.is_complex
        self.is_signed = category is DtypeCategory.signedinteger
        self.is_integer = self.is_signed or category is DtypeCategory.unsignedinteger

    def __getattr__(self, name: str) -> Any:
        if name != "numpy":
            raise AttributeError(f"Data types have no attribute {name!r}.")
        kind = ml_dtypes.bfloat16 if self.name == "bfloat16" else self.name
        self.numpy = found = np.dtype(kind)
        return found

    def __repr__(self) -> str:
        return f"mlx.core.{self.name}"

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __reduce__(self) -> Any:
        return (dtype_named, (self.name,))

    def __copy__(self) -> Dtype:
        return self

    def __deepcopy__(self, memo: Any) -> Dtype:
        return self


_C = DtypeCategory
bool_ = Dtype(0, "bool", _C.generic, 1)
uint8 = Dtype(1, "uint8", _C.unsignedinteger, 1)
uint16 = Dtype(2, "uint16", _C.unsignedinteger, 2)
uint32 = Dtype(3, "uint32", _C.unsignedinteger, 4)
uint64 = Dtype(4, "uint64", _C.unsignedinteger, 8)
int8 = Dtype(5, "int8", _C.signedinteger, 1)
int16 = Dtype(6, "int16", _C.signedinteger, 2)
int32 = Dtype(7, "int32", _C.signedinteger, 4)
int64 = Dtype(8, "int64", _C.signedinteger, 8)
float16 = Dtype(9, "float16", _C.floating, 2)
bfloat16 = Dtype(10, "bfloat16", _C.floating, 2)
float32 = Dtype(11, "float32", _C.floating, 4)
float64 = Dtype(12, "float64", _C.floating, 8)
complex64 = Dtype(13, "complex64", _C.complexfloating, 8)

ALL = (
    bool_, uint8, uint16, uint32, uint64, int8, int16, int32, int64,
    float16, bfloat16, float32, float64, complex64,
)  # fmt: skip
_BY_NAME = {d.name: d for d in ALL} | {"bool_": bool_}
FRACTION_BITS = {float16: 10, bfloat16: 7, float32: 23, float64: 52}
"""Bits behind the point of a float's significand."""


def dtype_named(name: str) -> Dtype:
    return _BY_NAME[name]


def from_numpy(dtype: Any) -> Dtype | None:
    """The data type of a NumPy dtype, or None where there is no such one."""
    wanted = np.dtype(dtype)
    found = _by_numpy().get(wanted)
    if found is None and "ml_dtypes" in sys.modules and wanted == bfloat16.numpy:
        return bfloat16
    return found


@cache
def _by_numpy() -> dict[Any, Dtype]:
    """All but bfloat16: who has an array of that has ml_dtypes, which others need not load."""
    return {d.numpy: d for d in ALL if d is not bfloat16}


_ROUNDED = {float16: struct.Struct("e"), float32: struct.Struct("f")}


def rounded(value: float, dtype: Dtype) -> float:
    """A number as a real floating-point dtype has it."""
    try:
        layout = _ROUNDED[dtype]
        return float(layout.unpack(layout.pack(value))[0])
    except (KeyError, OverflowError):
        return float(dtype.numpy.type(value))


def _promote(a: Dtype, b: Dtype) -> Dtype:
    if a.index > b.index:
        a, b = b, a
    if a is b or a is bool_ or b is complex64 or b is float64:
        return b
    if b.is_float:
        return float32 if (a is float16 and b is bfloat16) else b
    if a.is_signed == b.is_signed:
        return b
    # a unsigned, b signed: the narrowest signed type that holds both
    if a is uint64:
        return float32
    if b.size > a.size:
        return b
    return {1: int16, 2: int32, 4: int64}[a.size]


PROMOTION = tuple(tuple(_promote(a, b) for b in ALL) for a in ALL)


def promote(a: Dtype, b: Dtype) -> Dtype:
    """The data type in which an operation on ``a`` and ``b`` is carried out."""
    return PROMOTION[a.index][b.index]


def scalar_dtype(value: bool | int | float | complex, other: Dtype) -> Dtype:
    """The data type of an operation between a weak Python scalar and an array of ``other``."""
    if isinstance(value, bool):
        return other
    if isinstance(value, int):
        return int32 if other is bool_ else other
    if isinstance(value, float):
        return other if other.is_inexact else float32
    return complex64


def at_least_float(dtype: Dtype) -> Dtype:
    """``dtype`` itself where it is inexact, else float32."""
    return dtype if dtype.is_inexact else float32


def real_of(dtype: Dtype) -> Dtype:
    return float32 if dtype is complex64 else dtype


_PARENTS: dict[DtypeCategory, tuple[DtypeCategory, ...]] = {
    _C.complexfloating: (_C.complexfloating, _C.inexact, _C.number, _C.generic),
    _C.floating: (_C.floating, _C.inexact, _C.number, _C.generic),
    _C.inexact: (_C.inexact, _C.number, _C.generic),
    _C.signedinteger: (_C.signedinteger, _C.integer, _C.number, _C.generic),
    _C.unsignedinteger: (_C.unsignedinteger, _C.integer, _C.number, _C.generic),
    _C.integer: (_C.integer, _C.number, _C.generic),
    _C.number: (_C.number, _C.generic),
    _C.generic: (_C.generic,),
}


def issubdtype(arg1: Dtype | DtypeCategory, arg2: Dtype | DtypeCategory) -> bool:
    """Whether a data type or category lies in another.

    >>> issubdtype(float32, DtypeCategory.inexact)
    True
    """
    for given in (arg1, arg2):
        if not isinstance(given, Dtype | DtypeCategory):
            raise ValueError(f"[issubdtype] Expected a dtype or a category, got {given!r}.")
    if isinstance(arg2, Dtype):
        return arg1 is arg2
    category = arg1.category if isinstance(arg1, Dtype) else arg1
    return arg2 in _PARENTS[category]
