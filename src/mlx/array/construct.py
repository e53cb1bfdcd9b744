"""What ``array(...)`` accepts, and the dtypes that come of it."""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import chain
from typing import Any

from mlx.array.dlpack import imported, is_exporter
from mlx.array.values import CODES, copied_node, raw_node, scalar_node, shared_node
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.lazy import numpy as np
from mlx.base.lazy import numpy_kinds
from mlx.graph.node import Node

MAX_NESTING = 64
_INT32 = range(-(2**31), 2**31)
_INT64 = range(-(2**63), 2**63)
_NARROWED = {"f": dt.float32, "c": dt.complex64}


def invalid(name: str) -> ValueError:
    return ValueError(f"[array] Invalid type {name} received in array initialization.")


def python_scalar(value: bool | int | float | complex, dtype: Dtype | None) -> Node:
    """A Python number; integers beyond 32 bits are int64."""
    if isinstance(value, bool):
        return scalar_node(value, dtype or dt.bool_)
    if isinstance(value, int):
        if dtype is None:
            dtype = _int_dtype(value, value)
        elif value not in _INT64 and not dtype.is_inexact and dtype is not dt.uint64:
            _int_dtype(value, value)
        return scalar_node(value, dtype)
    if isinstance(value, float):
        return scalar_node(float(value), dtype or dt.float32)
    if dtype is not None and not dtype.is_complex:
        value = value.real
    return scalar_node(value, dtype or dt.complex64)


def _int_dtype(low: int, high: int) -> Dtype:
    if low in _INT32 and high in _INT32:
        return dt.int32
    if low in _INT64 and high in _INT64:
        return dt.int64
    raise ValueError(
        f"[array] The integer {low if low not in _INT64 else high} does not fit int64; "
        "name a dtype that holds it, such as dtype=mx.uint64 or mx.float32."
    )


class Scan:
    """What nested lists contain: the types of their leaves, and whether one is an array."""

    def __init__(self, values: list | tuple, array_type: type) -> None:
        self.kinds: set[type] = set()
        self._visit(values, 1)
        self.has_arrays = any(issubclass(k, array_type) for k in self.kinds)

    def _visit(self, values: list | tuple, depth: int) -> None:
        if depth > MAX_NESTING:
            raise ValueError(f"[array] Lists are nested deeper than {MAX_NESTING} levels.")
        kinds = set(map(type, values))
        nested = {k for k in kinds if issubclass(k, (list, tuple))}
        self.kinds |= kinds - nested
        if nested:
            for value in values:
                if isinstance(value, (list, tuple)):
                    self._visit(value, depth + 1)

    def check(self) -> None:
        """Raise ValueError for leaves that are no numbers."""
        for kind in self.kinds:
            if not issubclass(
                kind, (bool, int, float, complex, numpy_kinds.generic, numpy_kinds.ndarray)
            ):
                raise invalid(kind.__name__)

    @property
    def is_inexact(self) -> bool:
        return any(issubclass(k, (float, complex, numpy_kinds.inexact)) for k in self.kinds)

    @property
    def only_python(self) -> bool:
        return not any(
            issubclass(k, (numpy_kinds.generic, numpy_kinds.ndarray)) and not issubclass(k, float)
            for k in self.kinds
        )


_LISTS = frozenset({list, tuple})
_NUMBERS = frozenset({bool, int, float})
_EXACT = range(-(2**53), 2**53 + 1)
"""Integers that are floats, too."""


def flat_numbers(values: list | tuple, dtype: Dtype | None) -> Node | None:
    """Python's booleans, integers and floats, or up to four levels of equally long lists of
    these, in fewer steps; None for all others, and where a number does not fit."""
    kinds, flat = set(map(type, values)), values
    shape: tuple[int, ...] = (len(values),)
    while kinds and kinds <= _LISTS and len(shape) < 4:
        width = len(flat[0])
        if any([len(row) != width for row in flat]):
            return None
        flat, shape = list(chain.from_iterable(flat)), (*shape, width)
        kinds = set(map(type, flat))
    if not kinds or not kinds <= _NUMBERS:
        return None
    if float not in kinds:
        if dtype is None:
            dtype = dt.int32 if int in kinds else dt.bool_
        elif dtype.is_float and not (min(flat) in _EXACT and max(flat) in _EXACT):
            return None  # would be rounded twice
    dtype = dtype or dt.float32
    code = CODES.get(dtype)
    if code is None:
        return None
    try:
        raw = struct.pack(f"={len(flat)}{code}", *flat)
    except (OverflowError, struct.error):
        return None
    return raw_node(raw, shape, dtype)


def nested_numbers(values: list | tuple, scan: Scan, dtype: Dtype | None) -> Node:
    """Nested lists or tuples of numbers."""
    scan.check()
    try:
        found = np.array(values)
    except ValueError:
        raise ValueError(
            "[array] Initialization encountered non-uniform length: all lists of one level "
            "must be equally long."
        ) from None
    if found.dtype.kind == "O":
        found = _large_integers(found, dtype)
    return copied_node(found, dtype or _natural(found, scan.only_python))


def _large_integers(found: np.ndarray, dtype: Dtype | None) -> np.ndarray:
    """Integers beyond 64 bits, which only floats hold."""
    if dtype is None or not dtype.is_inexact:
        _int_dtype(min(found.flat), max(found.flat))
    try:
        return found.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"[array] {error}.") from None


def _natural(found: np.ndarray, only_python: bool) -> Dtype:
    """The dtype for what NumPy made of lists."""
    kind = found.dtype.kind
    if kind in "iu" and only_python and found.size:
        return _int_dtype(int(found.min()), int(found.max()))
    if kind in "fc" and only_python:
        return _NARROWED[kind]
    return numpy_dtype(found.dtype)


@lru_cache(64)
def numpy_dtype(dtype: np.dtype) -> Dtype:
    """The dtype of an array made from NumPy's: float64 and complex128 are narrowed."""
    if dtype == np.float64 or dtype == np.complex128:
        return _NARROWED[dtype.kind]
    found = dt.from_numpy(dtype.newbyteorder("="))
    if found is None:
        raise ValueError(
            f"[array] Cannot convert NumPy's {dtype} to an array: only booleans, integers, "
            "floats and complex numbers of at most 64 bits a part."
        )
    return found


def foreign(value: Any, dtype: Dtype | None, copy: bool | None = True) -> Node:
    """A NumPy array or scalar, a DLPack exporter, a buffer, or what has ``__array__``.

    With ``copy`` False the memory is shared, or ValueError raised; with None shared if it can.
    """
    owner, source = value, value
    if not isinstance(value, (numpy_kinds.ndarray, numpy_kinds.generic)):
        source = owner = imported(value) if is_exporter(value) else _from_protocols(value)
    source = np.asarray(source)
    natural = numpy_dtype(source.dtype)
    target = dtype or natural
    if copy is not True:
        target = dtype or dt.from_numpy(source.dtype) or natural
        node = shared_node(source, target, owner)
        if node is not None:
            return node
        if copy is False:
            raise ValueError(
                f"[array] Cannot share {type(value).__name__} of {source.dtype} as {target.name}: "
                "it must be row-major, aligned and of that dtype; use copy=True."
            )
    return copied_node(source, target)


def _from_protocols(value: Any) -> np.ndarray:
    try:
        return np.asarray(memoryview(value))
    except TypeError:
        pass
    if hasattr(value, "__array__") or hasattr(value, "__array_interface__"):
        return np.asarray(value)
    raise invalid(type(value).__name__)
