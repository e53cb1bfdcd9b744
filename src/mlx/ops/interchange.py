"""Arrays of other libraries, and what the array API standard asks about this one.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from mlx.array import array, wrap
from mlx.array.construct import foreign
from mlx.array.dlpack import is_exporter
from mlx.base import dtype as dt
from mlx.base.device import Device, cpu, default_device
from mlx.base.dtype import Dtype


@runtime_checkable
class ArrayLike(Protocol):
    """What gives itself as an array, which array() and operations accept."""

    def __mlx_array__(self) -> array: ...


def from_dlpack(x: Any, /, *, copy: bool | None = None) -> array:
    """The array of another library, sharing its memory where layout and dtype allow.

    With ``copy=True`` it is copied, with ``copy=False`` ValueError raised where it would have to
    be.  A shared array must not be changed by its owner.  Raises TypeError for what doesn't
    export DLPack and ValueError for memory that is not the CPU's.

    >>> import numpy as np
    >>> mx.from_dlpack(np.array([1, 2], np.float32))
    array([1, 2], dtype=float32)
    """
    if not is_exporter(x):
        raise TypeError(f"[from_dlpack] Expected an exporter of DLPack, got {type(x).__name__}.")
    return wrap(foreign(x, None, copy))


_KINDS = {
    "bool": (dt.bool_,),
    "signed integer": (dt.int8, dt.int16, dt.int32, dt.int64),
    "unsigned integer": (dt.uint8, dt.uint16, dt.uint32, dt.uint64),
    "real floating": (dt.float32, dt.float64),
    "complex floating": (dt.complex64,),
}
_UNIONS = {
    "integral": ("signed integer", "unsigned integer"),
    "numeric": ("signed integer", "unsigned integer", "real floating", "complex floating"),
}


class ArrayNamespaceInfo:
    """What the array API standard asks a namespace about itself.

    >>> mx.__array_namespace_info__().default_dtypes()["integral"]
    mlx.core.int32
    """

    def capabilities(self) -> dict[str, Any]:
        """What of the standard's optional features is there."""
        return {"boolean indexing": False, "data-dependent shapes": False, "max dimensions": None}

    def default_device(self) -> Device:
        """The device that operations run on."""
        return default_device()

    def devices(self) -> tuple[Device, ...]:
        """All devices."""
        return (Device(cpu),)

    def default_dtypes(self, *, device: Any = None) -> dict[str, Dtype]:
        """The dtypes of arrays made without one."""
        return {
            "real floating": dt.float32,
            "complex floating": dt.complex64,
            "integral": dt.int32,
            "indexing": dt.int32,
        }

    def dtypes(
        self, *, device: Any = None, kind: str | tuple[str, ...] | None = None
    ) -> dict[str, Dtype]:
        """The standard's dtypes by name, all or those of a kind.  Raises ValueError for an
        unknown kind."""
        wanted = tuple(_KINDS) if kind is None else (kind,) if isinstance(kind, str) else kind
        found: dict[str, Dtype] = {}
        for name in wanted:
            if name not in _KINDS and name not in _UNIONS:
                known = ", ".join([*_KINDS, *_UNIONS])
                raise ValueError(f"[dtypes] Unknown kind {name!r}; choose from {known}.")
            for part in _UNIONS.get(name, (name,)):
                found |= {d.name: d for d in _KINDS[part]}
        return found


def __array_namespace_info__() -> ArrayNamespaceInfo:  # noqa: N807 (the standard's name)
    """Answers to the array API standard's questions about this namespace."""
    return ArrayNamespaceInfo()
