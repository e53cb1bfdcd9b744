"""How an elementary function becomes code: inlined, or an internal function of the module."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.backend.llvm.elementary.number import DOUBLE, FLOAT, Number
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, element_of, lanes_of, mangle

Body = Callable[..., Any]


def join(f: Function, parts: Sequence[Value]) -> Value:
    """Vectors of one type, one after the other."""
    while len(parts) > 1:
        width = 2 * lanes_of(parts[0].type)
        parts = [f.shuffle(parts[i], parts[i + 1], range(width)) for i in range(0, len(parts), 2)]
    return parts[0]


def slices(f: Function, v: Value, lanes: int) -> list[Value]:
    """A vector cut into pieces of so many lanes."""
    return [
        f.shuffle(v, None, range(start, start + lanes))
        for start in range(0, lanes_of(v.type), lanes)
    ]


def native_lanes(type: str) -> int:
    """How many lanes a call takes at once: two registers of the type, or all if fewer.

    Two chains of operations hide each other's latency, and fewer calls spill less.
    """
    lanes = lanes_of(type)
    width = 2 * host().vector_bytes // (4 if element_of(type) == FLOAT else 8)
    return width if lanes > width and lanes & (lanes - 1) == 0 else lanes


class Routine:
    """An elementary function: called with IR values, written over Numbers.

    ``inline`` names the elements for which it is inlined; otherwise it is emitted once a
    module as an internal function of two native vectors, and called for each pair.
    """

    def __init__(self, body: Body, inline: tuple[str, ...], results: int) -> None:
        self.body = body
        self.inline = inline
        self.results = results
        self.__name__ = body.__name__
        self.__doc__ = body.__doc__

    def __call__(self, f: Function, *args: Value) -> Any:
        out = self.of(*(Number(f, a) for a in args))
        return out.v if isinstance(out, Number) else tuple(o.v for o in out)

    def of(self, *args: Number) -> Any:
        """The function within another formula."""
        if args[0].element in self.inline:
            return self.body(*args)
        f, type = args[0].f, args[0].v.type
        lanes = native_lanes(type)
        if not lanes or lanes == lanes_of(type):
            found = self._call(f, [a.v for a in args])
        else:
            pieces = zip(*(slices(f, a.v, lanes) for a in args), strict=True)
            calls = [self._call(f, list(piece)) for piece in pieces]
            found = [join(f, parts) for parts in zip(*calls, strict=True)]
        numbers = tuple(Number(f, v) for v in found)
        return numbers[0] if self.results == 1 else numbers

    def _call(self, f: Function, args: list[Value]) -> list[Value]:
        type = args[0].type
        name = f"elementary_{self.__name__}_{mangle(type)}"
        result = type if self.results == 1 else "{ " + ", ".join([type] * self.results) + " }"
        if not f.module.has(name):
            self._define(f, name, args, result)
        out = f.call(name, result, *args)
        if self.results == 1:
            return [out]
        return [f.emit(f"extractvalue {result} {out.ref}, {i}", type) for i in range(self.results)]

    def _define(self, f: Function, name: str, args: list[Value], result: str) -> None:
        g = f.module.function(name, [a.type for a in args], result, internal=True)
        out = self.body(*(Number(g, p) for p in g.params))
        if self.results == 1:
            g.ret(out.v)
            return
        packed = Value("poison", result)
        for i, part in enumerate(out):
            text = f"insertvalue {result} {packed.ref}, {part.v.type} {part.v.ref}, {i}"
            packed = g.emit(text, result)
        g.ret(packed)


def routine(*inline: str, results: int = 1) -> Callable[[Body], Routine]:
    return lambda body: Routine(body, inline, results)


def through_double(body: Body) -> Body:
    """In float, compute in double and round once."""

    def wrapped(*args: Number) -> Any:
        if args[0].element == DOUBLE:
            return body(*args)
        out = body(*(a.wide() for a in args))
        return out.narrow() if isinstance(out, Number) else tuple(o.narrow() for o in out)

    wrapped.__name__ = body.__name__
    wrapped.__doc__ = body.__doc__
    return wrapped
