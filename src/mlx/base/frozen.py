"""``dataclasses.dataclass(frozen=True)``, made in a quarter of the time.

The standard library generates and compiles six functions a class; a few hundred classes are most
of what importing the framework takes (measured).  Here comparing, hashing and printing are written
once for all, and classes without fields need nothing generated.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable
from typing import Any, Literal, TypeVar, dataclass_transform

Class = TypeVar("Class", bound=type)
_compared: dict[type, Callable[[Any], Any]] = {}


@dataclass_transform(frozen_default=True)
def dataclass(*, frozen: Literal[True], eq: bool = True) -> Callable[[Class], Class]:
    """Make a class a frozen dataclass; without ``eq`` its members are compared by identity."""

    def make(cls: Class) -> Class:
        if _has_fields(cls):
            dataclasses.dataclass(frozen=True, eq=False, repr=False)(cls)
        else:
            for name, value in _FIELDLESS:
                setattr(cls, name, value)
        for name, method in _METHODS if eq else _METHODS[:1]:
            if cls.__dict__.get(name) is None:  # a __hash__ of None: Python saw an __eq__
                setattr(cls, name, method)
        return cls

    return make


def _has_fields(cls: type) -> bool:
    own = cls.__dict__.get("__annotations__", {}).values()
    return any(not str(text).startswith("ClassVar") for text in own) or any(
        getattr(base, "__dataclass_fields__", None) for base in cls.__mro__[1:]
    )


def _values(self: Any) -> Any:
    """The fields that are compared."""
    cls = type(self)
    get = _compared.get(cls)
    if get is None:
        names = [f.name for f in dataclasses.fields(cls) if f.compare]
        get = _compared[cls] = operator.attrgetter(*names) if names else _nothing
    return get(self)


def _nothing(self: Any) -> tuple[()]:
    return ()


def _repr(self: Any) -> str:
    shown = (f.name for f in dataclasses.fields(self) if f.repr)
    return f"{type(self).__qualname__}({', '.join(f'{n}={getattr(self, n)!r}' for n in shown)})"


def _equal(self: Any, other: object) -> Any:
    if type(other) is not type(self):
        return NotImplemented
    return bool(_values(self) == _values(other))


def _hash(self: Any) -> int:
    return hash((type(self), _values(self)))


def _refuse(self: Any, name: str, *value: object) -> None:
    raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")


_FIELDLESS: list[tuple[str, Any]] = [
    ("__dataclass_fields__", {}), ("__setattr__", _refuse), ("__delattr__", _refuse),
]  # fmt: skip
_METHODS: list[tuple[str, Any]] = [("__repr__", _repr), ("__eq__", _equal), ("__hash__", _hash)]
