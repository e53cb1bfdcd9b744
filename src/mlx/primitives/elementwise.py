"""The elementwise family, and arithmetic on nodes for derivative rules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, float32
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive, full_like

Partial = Callable[..., Any]


class Elementwise(Primitive):
    """``out[i] = scalar(a[i], b[i], ...)`` on operands of one shape.

    A member declares ``scalar(emit, *values)``, which writes the computation, and
    ``partials``: for each argument a function of (inputs..., out) that gives the partial
    derivative as a node, a number, or None where it is zero almost everywhere.
    """

    by_types = True
    family = "elementwise"
    shared = True
    partials: ClassVar[tuple[Partial | None, ...]] = ()
    cheap: ClassVar[bool] = False
    """Whether recomputing it costs less than storing and loading it."""

    def infer(self, *inputs: Node) -> tuple[Shape, Dtype]:
        first = inputs[0]
        for other in inputs:
            if other.shape != first.shape or other.dtype is not first.dtype:
                raise ValueError(f"[{self.name}] operands differ: {list(inputs)}.")
        return first.shape, self.result(first.dtype)

    def result(self, dtype: Dtype) -> Dtype:
        """The result's dtype for operands of ``dtype``."""
        return dtype

    def scalar(self, emit: Any, *values: Any) -> Any:
        raise TypeError(f"[{self.name}] declares no scalar rule.")

    def vjp(
        self, node: Node, cotangents: Sequence[Node | None], wanted: Sequence[bool]
    ) -> Sequence[Node | None]:
        (cotangent,) = cotangents
        result: list[Node | None] = []
        for argument, (want, partial) in enumerate(zip(wanted, self.partials, strict=True)):
            if not want or partial is None or cotangent is None:
                result.append(None)
                continue
            slope = partial(*node.inputs, node)
            result.append(_scale(cotangent, slope, node.inputs[argument], conjugate=True))
        return result

    def jvp(self, node: Node, tangents: Sequence[Node | None]) -> Sequence[Node | None]:
        total: Node | None = None
        for tangent, partial in zip(tangents, self.partials, strict=True):
            if tangent is None or partial is None:
                continue
            term = _scale(tangent, partial(*node.inputs, node), node, conjugate=False)
            total = term if total is None or term is None else total + term
        return [total]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)


def _scale(direction: Node, slope: Any, like: Node, conjugate: bool) -> Node | None:
    """``slope * direction``; a slope given as a number costs nothing where it is 1."""
    if slope is None:
        return None
    if isinstance(slope, Node):
        if conjugate and slope.dtype.is_complex:
            slope = Conjugate()(slope)
        return slope * direction
    if slope == 1:
        return direction
    return -direction if slope == -1 else direction * slope


def _coerce(value: Any, like: Node) -> Node:
    return value if isinstance(value, Node) else full_like(like, value)


def _operator(of: Callable[..., Node], swap: bool = False) -> Callable[[Node, Any], Node]:
    def apply(self: Node, other: Any) -> Node:
        other = _coerce(other, self)
        return of(other, self) if swap else of(self, other)

    return apply


@dataclass(frozen=True)
class Add(Elementwise):
    """a + b (logical or for bool)."""

    cheap = True
    partials = (lambda a, b, out: 1, lambda a, b, out: 1)

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.add(a, b)


@dataclass(frozen=True)
class Subtract(Elementwise):
    """a - b."""

    cheap = True
    partials = (lambda a, b, out: 1, lambda a, b, out: -1)

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.sub(a, b)


@dataclass(frozen=True)
class Multiply(Elementwise):
    """a * b (logical and for bool)."""

    cheap = True
    partials = (lambda a, b, out: b, lambda a, b, out: a)

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.mul(a, b)


@dataclass(frozen=True)
class Divide(Elementwise):
    """a / b of inexact operands."""

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.div(a, b)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        """Both cotangents from one quotient."""
        _, b = node.inputs
        out = node
        if node.dtype.is_complex:
            b, out = Conjugate()(b), Conjugate()(out)
        share = self(cotangents[0], b)
        return [share if wanted[0] else None, -(share * out) if wanted[1] else None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        for_a, for_b = tangents
        if for_b is None:
            return [None if for_a is None else self(for_a, node.inputs[1])]
        change = -(node * for_b)
        return [self(change if for_a is None else for_a + change, node.inputs[1])]


@dataclass(frozen=True)
class Negative(Elementwise):
    """-a."""

    cheap = True
    partials = (lambda a, out: -1,)

    def scalar(self, emit: Any, a: Any) -> Any:
        return emit.neg(a)


@dataclass(frozen=True)
class Conjugate(Elementwise):
    """The complex conjugate."""

    cheap = True

    def scalar(self, emit: Any, a: Any) -> Any:
        return emit.complex(emit.real(a), emit.neg(emit.imag(a)))

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [Conjugate()(cotangents[0])]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [Conjugate()(tangents[0])]


@dataclass(frozen=True)
class Cast(Elementwise):
    """The same number in another dtype."""

    cheap = True
    dtype: Dtype

    def result(self, dtype: Dtype) -> Dtype:
        return self.dtype

    def scalar(self, emit: Any, a: Any) -> Any:
        return emit.cast(a, self.dtype)

    def is_exact(self, source: Dtype) -> bool:
        """Whether a product may repeat this as it reads: it widens, and no number changes
        (or, among integers, only as wrapping around does)."""
        if self.dtype is float32 and source.size == 2 and source.is_float:
            return True
        if source.is_inexact:
            return False
        whole = self.dtype.is_integer and self.dtype.size >= source.size
        return whole or (self.dtype is float32 and source.size <= 2)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [cast(cotangents[0], node.inputs[0].dtype)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [cast(tangents[0], self.dtype)]


def cast(node: Node, dtype: Dtype) -> Node:
    """``node`` in ``dtype``; itself where it is already."""
    return node if node.dtype is dtype else Cast(dtype)(node)


class Comparison(Elementwise):
    """A relation of two operands: bool, and no derivative."""

    cheap = True
    flat = True
    partials = (None, None)
    predicate: ClassVar[str] = ""

    def result(self, dtype: Dtype) -> Dtype:
        return dt.bool_

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.compare(self.predicate, a, b)


@dataclass(frozen=True)
class Equal(Comparison):
    """a == b."""

    predicate = "eq"


@dataclass(frozen=True)
class NotEqual(Comparison):
    """a != b."""

    predicate = "ne"


@dataclass(frozen=True)
class Less(Comparison):
    """a < b."""

    predicate = "lt"


@dataclass(frozen=True)
class LessEqual(Comparison):
    """a <= b."""

    predicate = "le"


@dataclass(frozen=True)
class Greater(Comparison):
    """a > b."""

    predicate = "gt"


@dataclass(frozen=True)
class GreaterEqual(Comparison):
    """a >= b."""

    predicate = "ge"


@dataclass(frozen=True)
class Select(Elementwise):
    """a where the condition holds, else b."""

    cheap = True

    def infer(self, condition: Node, a: Node, b: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        if condition.dtype is not dt.bool_ or a.dtype is not b.dtype:
            raise ValueError(f"[Select] operands differ: {[condition, a, b]}.")
        if not condition.shape == a.shape == b.shape:
            raise ValueError(f"[Select] operands differ: {[condition, a, b]}.")
        return a.shape, a.dtype

    def scalar(self, emit: Any, condition: Any, a: Any, b: Any) -> Any:
        return emit.select(condition, a, b)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        condition, (cotangent,) = node.inputs[0], cotangents
        zero = full_like(cotangent, 0)
        a = Select()(condition, cotangent, zero) if wanted[1] else None
        b = Select()(condition, zero, cotangent) if wanted[2] else None
        return [None, a, b]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        _, a, b = tangents
        if a is None and b is None:
            return [None]
        zero = full_like(node, 0)
        return [Select()(node.inputs[0], zero if a is None else a, zero if b is None else b)]


def where(condition: Node, a: Any, b: Any) -> Node:
    """Select with numbers allowed for one branch."""
    like = a if isinstance(a, Node) else b
    return Select()(condition, _coerce(a, like), _coerce(b, like))


def _quotient(*operands: Node) -> Node:
    """a / b; of integers that of their float32 values, rounded towards zero."""
    dtype = operands[0].dtype
    if dtype.is_inexact:
        return Divide()(*operands)
    return cast(Divide()(*[cast(x, float32) for x in operands]), dtype)


def install_operators() -> None:
    """Give nodes the arithmetic that derivative rules are written in."""
    table = {
        "add": Add, "sub": Subtract, "mul": Multiply,
        "lt": Less, "le": LessEqual, "gt": Greater, "ge": GreaterEqual,
    }  # fmt: skip
    methods: dict[str, Callable[..., Node]] = {"neg": lambda x: Negative()(x)}
    for name, make in table.items():
        methods[name] = _operator(make())
        if name in ("add", "sub", "mul"):
            methods["r" + name] = _operator(make(), swap=True)
    methods["truediv"] = _operator(_quotient)
    methods["rtruediv"] = _operator(_quotient, swap=True)
    for name, method in methods.items():
        setattr(Node, f"__{name}__", method)


install_operators()
