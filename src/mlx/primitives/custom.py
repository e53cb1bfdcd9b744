"""Primitives of the transformations themselves: identities that carry rules or order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node, Shape
from mlx.primitives.base import Primitive
from mlx.primitives.layout import Layout
from mlx.primitives.views import View


@dataclass(frozen=True)
class Identity(View):
    """x itself under a new serial: what a function sees that is being differentiated."""

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, x.dtype

    def transpose(self, cotangent: Node, x: Node) -> Node:
        return cotangent

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return tangents

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return self(x)

    def layout(self, of: Layout) -> Layout:
        return of


@dataclass(frozen=True)
class StopGradient(View):
    """x itself, taken as constant by derivatives."""

    flat = True

    def infer(self, x: Node) -> tuple[Shape, Dtype]:  # type: ignore[override]
        return x.shape, x.dtype

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[None]:
        return [None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[None]:
        return [None]

    def vmap(self, size: int, x: Node) -> Node:  # type: ignore[override]
        return self(x)

    def layout(self, of: Layout) -> Layout:
        return of


@dataclass(frozen=True)
class Barrier(Primitive):
    """The first ``count`` inputs unchanged, available only when *all* inputs are computed.

    No pass moves, merges or removes it, so what is computed from its outputs is computed
    after its inputs, and apart from equal computations elsewhere.
    """

    family = "barrier"
    count: int

    def infer(self, *inputs: Node) -> tuple[Any, None]:
        return tuple((x.shape, x.dtype) for x in inputs[: self.count]), None

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        return [*cotangents, *[None] * (len(node.inputs) - self.count)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return tangents[: self.count]

    def vmap(self, size: int, *inputs: Node) -> Node:
        return self(*inputs)


@dataclass(frozen=True)
class Rules:
    """Derivatives and batching given by the user, on nodes; None where not given.

    ``vjp(primals, cotangents, outputs)`` -> one node or None a primal,
    ``jvp(primals, tangents)`` -> one node or None an output,
    ``vmap(primals, axes)`` -> (outputs, axes), an axis being 0 or None for each.
    """

    vjp: Callable[..., Sequence[Node | None]] | None = None
    jvp: Callable[..., Sequence[Node | None]] | None = None
    vmap: Callable[..., tuple[Sequence[Node], Sequence[int | None]]] | None = None


@dataclass(frozen=True)
class Custom(Primitive):
    """A function's outputs with the function's own rules.

    Its inputs are the function's ``count`` primals, then what the function recorded for its
    outputs; output i *is* input count + i.  Where no rule is given derivatives flow through
    the recorded outputs, where one is given through the primals.
    """

    family = "custom"
    sizes = frozenset({"rules"})  # what is computed does not depend on them
    count: int
    rules: Rules

    def infer(self, *inputs: Node) -> tuple[Any, None]:
        return tuple((x.shape, x.dtype) for x in inputs[self.count :]), None

    def split(self, values: Sequence[Any]) -> tuple[Sequence[Any], Sequence[Any]]:
        """Values given one an input: those of the primals and those of the outputs."""
        return values[: self.count], values[self.count :]

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        primals, outputs = self.split(node.inputs)
        if self.rules.vjp is None:
            return [*[None] * self.count, *cotangents]
        return [*self.rules.vjp(primals, cotangents, outputs), *[None] * len(outputs)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        of_primals, of_outputs = self.split(tangents)
        if self.rules.jvp is None:
            return of_outputs
        return self.rules.jvp(self.split(node.inputs)[0], of_primals)

    def vmap(self, size: int, *inputs: Node) -> Node:
        raise AssertionError("transforms.batch batches it: the rules are batched with it")


class Graph:
    """What a compiled function recorded: ``outputs`` as functions of placeholders ``inputs``.

    ``program``, ``results`` and ``values`` are the evaluator's, made at the first evaluation.
    """

    def __init__(self, inputs: Sequence[Node], outputs: Sequence[Node]) -> None:
        self.inputs = tuple(inputs)
        self.outputs = tuple(outputs)
        self.types = tuple((node.shape, node.dtype) for node in outputs)
        self.program: Any = None
        self.results: Any = None
        self.values: tuple[Node, ...] = ()


@dataclass(frozen=True, eq=False)
class CompiledCall(Primitive):
    """A recorded graph run as one program, without walking it.

    Transformations never meet one: inside them the graph is recorded again.
    ``on_failure`` is called with the node of a call whose evaluation raised.
    """

    family = "compiled"
    graph: Graph
    on_failure: Callable[[Node], None]

    def infer(self, *inputs: Node) -> tuple[Any, None]:
        return self.graph.types, None

    def failed(self, call: Node) -> None:
        self.on_failure(call)
