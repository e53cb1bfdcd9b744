"""``dataclasses.dataclass(frozen=True)``, made in a tenth of the time.

The standard library generates and compiles six functions a class; a few hundred classes are most
of what importing the framework takes (measured).  Here comparing, hashing, printing and refusing
are written once for all, and ``__init__`` is generated when a class makes its first member.
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
            dataclasses.dataclass(init=False, eq=False, repr=False)(cls)
            cls.__init__ = _first_init  # type: ignore[misc]
        else:
            cls.__dataclass_fields__ = {}  # type: ignore[attr-defined]
        cls.__setattr__, cls.__delattr__ = _refuse, _refuse  # type: ignore[assignment]
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


def _first_init(self: Any, *values: Any, **named: Any) -> None:
    """Stands for ``__init__`` until it is first called."""
    cls: Any = next(c for c in type(self).__mro__ if "__init__" in c.__dict__)
    if cls.__init__ is _first_init:
        cls.__init__ = _init_of(cls)
    cls.__init__(self, *values, **named)


def _init_of(cls: type) -> Callable[..., None]:
    known: dict[str, Any] = {"put": object.__setattr__}
    arguments, lines = [], []
    for field in dataclasses.fields(cls):
        name = field.name
        lines.append(f"    put(self, {name!r}, {name})\n")
        if field.default is not dataclasses.MISSING:
            known[f"default_{name}"] = field.default
            name = f"{name}=default_{name}"
        arguments.append(name)
    exec(f"def __init__(self, {', '.join(arguments)}):\n{''.join(lines)}", known)
    init: Callable[..., None] = known["__init__"]
    init.__qualname__ = f"{cls.__qualname__}.__init__"
    return init


_METHODS: list[tuple[str, Any]] = [("__repr__", _repr), ("__eq__", _equal), ("__hash__", _hash)]
