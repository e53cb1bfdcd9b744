"""What a primitive is: one frozen class with all its rules, and the families they come in.

A primitive's dataclass fields are its static parameters.  Its rules:

``infer(*inputs)``
    the only shape and dtype rule: (shape, dtype), or a tuple of such pairs and None for
    several outputs.  Inputs are nodes; primitives are strict (no promotion, no broadcasting).
``vjp(node, cotangents, wanted)``
    cotangents of the inputs: one node or None an input.  ``cotangents`` has one entry an
    output (None where nothing arrived), ``wanted`` one bool an input.
``jvp(node, tangents)``
    tangents of the outputs, one entry (node or None) an output; ``tangents`` has one an input.
``vmap(size, *inputs)``
    the batched operation: every input has the batch axis first, and so has the result.

Rules build nodes by applying primitives (never ``ops``); Node has the usual operators, with
Python numbers as weak constants, for that purpose.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.base.locks import lock
from mlx.graph.node import Node, Shape, record

_tokens: dict[Any, int] = {}
_token_lock = lock()
_classes: dict[type, tuple[Callable[[Any], Any], dict[Any, int]]] = {}


def _enter(cls: type[Primitive]) -> tuple[Callable[[Any], Any], dict[Any, int]]:
    """What gets a member's fields that are no sizes, and the tokens of the class by these."""
    every = [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]
    names = [name for name in every if name not in cls.sizes]
    fields_of = operator.attrgetter(*names) if names else _no_fields
    entry = _classes[cls] = fields_of, {}
    return entry


def _no_fields(primitive: Primitive) -> tuple[()]:
    return ()


SHARED = 4096
"""Members kept of a class that shares them."""


class Sharing(type):
    """Calling a ``shared`` class twice with equal fields gives one object: that is faster than
    making another, and its part of a key is made but once."""

    _members: dict[tuple[Any, ...], Any]

    def __init__(cls, *args: Any) -> None:
        super().__init__(*args)
        cls._members = {}

    def __call__(cls, *fields: Any, **named: Any) -> Any:
        if named or not cls.shared:  # type: ignore[attr-defined]
            return super().__call__(*fields, **named)
        try:
            found = cls._members.get(fields)
        except TypeError:  # a list in place of a tuple
            return super().__call__(*fields)
        if found is None:
            if len(cls._members) >= SHARED:
                cls._members.clear()
            found = cls._members[fields] = super().__call__(*fields)
        return found


class _KeyPart:
    """``_key_part`` of a member whose ``key_part`` was not asked for yet."""

    def __get__(self, primitive: Primitive, owner: type) -> Any:
        return primitive.key_part


class Primitive(metaclass=Sharing):
    """Base of all primitives; members are frozen dataclasses."""

    family: ClassVar[str] = ""
    shared: ClassVar[bool] = False
    """Whether equal members are one object: where few different ones are made, over and over."""
    sizes: ClassVar[frozenset[str]] = frozenset()
    """Fields that hold sizes: they are left out of the token (the shapes say them)."""
    outputs: ClassVar[int] = 1
    overwrites: ClassVar[bool] = False
    """Whether its kernel may write the result over its first operand, if both lie alike."""
    updates_first: ClassVar[bool] = False
    """Whether the result is the first input but for some elements, which are written last."""
    is_number: ClassVar[bool] = False
    """Whether it is a number that is given at run time; known once ``key_part`` was asked for."""
    is_listed: ClassVar[bool] = False
    """Whether regions keep lists of them: numbers given at run time, and what stands for others."""
    accumulates: ClassVar[bool] = False
    """Whether these elements are added to those of the first input."""
    flat: ClassVar[bool] = False
    """Whether no derivative passes: both rules give None for everything."""
    by_types: ClassVar[bool] = False
    """Whether the vjp rule sees shapes, dtypes and the primitive alone: not what makes its
    operands, nor whether two are the same."""
    _key_part: ClassVar[Any] = _KeyPart()

    def __call__(self, *inputs: Node) -> Node:
        return record(self, *inputs)

    @property
    def token(self) -> int:
        """A small integer that stands for class and parameters (sizes left out) in keys."""
        fields_of, known = _classes.get(type(self)) or _enter(type(self))
        fields = fields_of(self)
        token = known.get(fields)
        if token is None:
            with _token_lock:
                token = known[fields] = _tokens.setdefault((type(self), fields), len(_tokens))
        return token

    @property
    def size_values(self) -> tuple[int, ...]:
        """The sizes left out of the token that the result's shape does not say."""
        return ()

    @property
    def key_part(self) -> int | tuple[int, tuple[int, ...]]:
        """What stands for the primitive in the key of a region; kept in ``_key_part``."""
        part: Any = self.token
        if self.sizes and (sizes := self.size_values):
            part = part, sizes
        self.__dict__["_key_part"] = part
        return part

    def infer(self, *inputs: Node) -> tuple[Any, Any]:
        raise TypeError(f"[{self.name}] declares no infer rule.")

    def vjp(
        self, node: Node, cotangents: Sequence[Node | None], wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        raise TypeError(f"[{self.name}] declares no vjp rule.")

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
        raise TypeError(f"[{self.name}] declares no jvp rule.")

    def vmap(self, size: int, *inputs: Node) -> Node:
        raise TypeError(f"[{self.name}] declares no vmap rule.")

    @property
    def name(self) -> str:
        return type(self).__name__


def new_token() -> int:
    """A token that nothing else has."""
    with _token_lock:
        return _tokens.setdefault(object(), len(_tokens))


def registry(of: type[Primitive] = Primitive) -> Iterator[type[Primitive]]:
    """Every concrete primitive class."""
    for cls in of.__subclasses__():
        if dataclasses.is_dataclass(cls):
            yield cls
        yield from registry(cls)


def zeros_like(node: Node) -> Node:
    return full_like(node, 0)


def full_like(node: Node, value: bool | int | float | complex) -> Node:
    return Node(Full(value), (), node.shape, node.dtype)


class Source(Primitive):
    """Computed from its index and parameters alone; a member says ``scalar(emit, index...)``.

    A source's shape and dtype are given when it is made, not inferred.
    """

    family = "source"

    def vjp(self, node: Node, cotangents: Any, wanted: Sequence[bool]) -> Sequence[None]:
        return [None] * len(wanted)

    def jvp(self, node: Node, tangents: Any) -> Sequence[None]:
        return [None]


LITERALS = frozenset({0, 1, -1, 2, 0.5})
"""Numbers that become part of the generated code; all others are arguments at run time."""
_RUN_TIME_NUMBER = _tokens.setdefault("run-time number", len(_tokens))


@dataclass(frozen=True)
class Full(Source):
    """The same number everywhere."""

    value: bool | int | float | complex

    @property
    def is_literal(self) -> bool:
        return self.value in LITERALS

    @property
    def token(self) -> int:
        """Sign and type tell 0.0 from -0.0 and True from 1; run-time numbers share one token."""
        value = self.value
        if value not in LITERALS:
            return _RUN_TIME_NUMBER
        key = (Full, type(value), repr(value))
        token = _tokens.get(key)
        if token is None:
            with _token_lock:
                token = _tokens.setdefault(key, len(_tokens))
        return token

    @property
    def key_part(self) -> int:
        part = self.__dict__["_key_part"] = self.token
        if part == _RUN_TIME_NUMBER:
            self.__dict__["is_number"] = self.__dict__["is_listed"] = True
        return part

    def vmap(self, size: int, *inputs: Node) -> Node:
        raise AssertionError("a source has no inputs to batch")


@dataclass(frozen=True)
class Iota(Source):
    """The index along one axis."""

    axis: int


def full(shape: Shape, dtype: Dtype, value: bool | int | float | complex) -> Node:
    """A constant node."""
    return Node(Full(value), (), shape, dtype)


def iota(shape: Shape, axis: int, dtype: Dtype) -> Node:
    return Node(Iota(axis), (), shape, dtype)


@dataclass(frozen=True)
class Pick(Primitive):
    """One output of a node that has several."""

    family = "pick"
    shared = True
    index: int

    def infer(self, node: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return node.shape[self.index]

    def __reduce__(self) -> Any:
        return (Pick, (self.index,))


def picks(node: Node) -> list[Node]:
    """The outputs of a node as nodes."""
    if node.dtype is not None:
        return [node]
    return [record(Pick(i), node) for i in range(len(node.shape))]
