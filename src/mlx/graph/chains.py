"""Operations that become several primitives, worked out once for the types of their operands."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from mlx.base.dtype import float32
from mlx.graph import trace
from mlx.graph.node import Node, Shape, ancestors, next_serial, reserve_serials

new = Node.__new__
KEPT = 4096
PATIENCE = 8
"""Repetitions after which code is written for them."""
WRITTEN = 128
"""Nodes up to which it is."""
MANY = 16
LEAST = 4
"""Nodes from which one may stand for them all."""


def by_types(count: int) -> Callable[[Callable[..., Node]], Callable[..., Node]]:
    """Remember what ``make(*nodes, *arguments)`` records, by the shapes and dtypes of its
    first ``count`` arguments, nodes, and by the others; from then on it is merely repeated.

    What it records must depend on these alone (not on values, on the signs of zeros, on whether
    two operands are one node); the arguments must be hashable and no arrays.
    """

    def decorate(make: Callable[..., Node]) -> Callable[..., Node]:
        @lru_cache(KEPT, typed=True)
        def chain(*key: Any) -> Chain:
            types, arguments = key[: 2 * count], key[2 * count :]
            nodes = [Node(None, (), *types[i : i + 2]) for i in range(0, 2 * count, 2)]
            start = nodes[-1].serial if nodes else next_serial()
            result = make(*nodes, *arguments)
            return Chain(nodes, spelled_out([result], start), result, True)

        names = "".join([f"x{i}, " for i in range(count)])
        types = "".join([f"x{i}.shape, x{i}.dtype, " for i in range(count)])
        code = (
            f"def recorded({names}*arguments):\n"
            f"    try:\n        found = chain({types}*arguments)\n"
            "    except TypeError:\n        found = None\n"  # what has no hash is wrong, mostly
            f"    return found.repeat({names}) if found else make({names}*arguments)\n"
        )
        known: dict[str, Any] = {"chain": chain, "make": make}
        exec(code, known)
        return known["recorded"]

    return decorate


def by_types_of_all(make: Callable[..., Node]) -> Callable[..., Node]:
    """As :func:`by_types` for ``make(nodes, *arguments)`` with any number of nodes; many are
    not worth it."""
    variants: dict[int, Callable[..., Node]] = {}

    def recorded(nodes: Sequence[Node], *arguments: Any) -> Node:
        count = len(nodes)
        if not 0 < count <= MANY:
            return make(nodes, *arguments)
        variant = variants.get(count)
        if variant is None:
            variant = by_types(count)(lambda *given: make(given[:count], *given[count:]))
            variants[count] = variant
        return variant(*nodes, *arguments)

    return recorded


def spelled_out(results: Sequence[Node], start: float) -> list[Node]:
    """What nodes depend on that was recorded after ``start``, in order, all of it recorded."""
    while True:
        order = ancestors(results, start)
        whole = [n for n in order if n.primitive is not None and n.primitive.family == "segment"]
        if not whole:
            return order
        for node in whole:
            node.primitive.expand(node)


class Balance:
    """Whether nodes that stand for chains pay: a region that is known with them costs less, one
    that is not must be walked again with all they stand for.

    ``rest`` is how many chains are recorded in full before the next that is not.  It grows with
    regions that were not known, most of all long ones, and shrinks with others.
    """

    __slots__ = ("pause", "rest")
    FREE, LONGEST, LONG = 32, 1 << 16, 64

    def __init__(self) -> None:
        self.rest = 0
        self.pause = 1

    def known(self) -> None:
        """A region was known with such nodes."""
        if self.pause > 1:
            self.pause //= 2

    def unknown(self, nodes: int) -> None:
        """A region of so many nodes was not."""
        self.pause = min(self.pause * (16 if nodes > self.LONG else 2), self.LONGEST)
        if self.pause > self.FREE:
            self.rest = self.pause


balance = Balance()


class Chain:
    """What was recorded of some nodes, in order, to be repeated of others of the same types.

    ``repeat`` takes the others and gives the result, or for several a list of them.  Where the
    chain ``may_stand`` for itself, one node is recorded for all of it if no transformation is open
    that would have to know them.
    """

    __slots__ = ("__dict__", "_made", "_may_stand", "_result", "_times", "given")

    whole: ClassVar[Callable[[Chain], Any]]
    """Installed by primitives: the operation of such a node."""

    def __init__(
        self,
        given: list[Node],
        recorded: list[Node],
        result: Node | Sequence[Node],
        may_stand: bool = False,
    ) -> None:
        nodes = given + recorded
        self.given = len(given)
        at = {node: i for i, node in enumerate(nodes)}
        self._made = [
            (n.primitive, tuple([at[source] for source in n.inputs]), n.shape, n.dtype)
            for n in nodes[len(given) :]
        ]
        self._result = (
            at[result] if isinstance(result, Node) else tuple([at[node] for node in result])
        )
        self._may_stand = may_stand and len(recorded) >= LEAST and result is recorded[-1]
        self._times = 0

    def repeat(self, *given: Node) -> Any:
        """Step by step, until code is written that takes this one's place."""
        first = reserve_serials(len(self._made))
        nodes = self.unfold(given, range(first, first + len(self._made)), {})
        self._times += 1
        if self._times == PATIENCE and len(self._made) <= WRITTEN:
            structure = tuple([inputs for _, inputs, _, _ in self._made])
            constants = [part for p, _, s, d in self._made for part in (p, s, d)]
            written = _written(len(given), structure, self._result)(*constants)
            if self._may_stand:
                _, _, shape, dtype = self._made[-1]
                written = _standing(len(given))(written, Chain.whole(self), shape, dtype)
            self.__dict__["repeat"] = written
        result = self._result
        return nodes[result] if isinstance(result, int) else [nodes[i] for i in result]

    @property
    def recorded(self) -> list[tuple[Any, tuple[int, ...], Shape, Any]]:
        """(primitive, positions of its inputs, shape, dtype) of each node."""
        return self._made

    def stretch(self, given: tuple[Node, ...], result: Node) -> None:
        """Let ``result``, which stood for all nodes, be the last of them; the serials of the
        others lie between its own and the one before it."""
        count = len(self._made)
        step = 1 / (1 << count.bit_length())
        first = result.serial - (count - 1) * step
        serials = [first + i * step for i in range(count)]
        self.unfold(given, serials, {len(given) + count - 1: result})

    def unfold(
        self,
        given: Sequence[Node],
        serials: Iterable[float],
        results: Mapping[int, Node],
    ) -> list[Node]:
        """All nodes, those given first; the others have these serials.

        ``results`` has by position nodes that become these, unless they are computed.
        """
        nodes = list(given)
        add = nodes.append
        for (primitive, inputs, shape, dtype), serial in zip(self._made, serials, strict=True):
            if (node := results.get(len(nodes))) is None:
                node = new(Node)  # Node(...), in less time
                node.shape, node.dtype, node.data, node.serial = shape, dtype, None, serial
            if node.data is None:
                node.primitive = primitive
                if len(inputs) == 2:
                    first, second = inputs
                    node.inputs = (nodes[first], nodes[second])
                else:
                    node.inputs = tuple([nodes[i] for i in inputs])
            add(node)
        return nodes


@lru_cache(512)
def _written(
    given: int, structure: tuple[tuple[int, ...], ...], result: int | tuple[int, ...]
) -> Callable[..., Any]:
    """Straight-line code that records nodes of such inputs, to be bound to the rest of them."""
    names = [f"x{i}" for i in range(given + len(structure))]
    constants, lines = [], []
    for name, inputs in zip(names[given:], structure, strict=True):
        constants += [f"{name}_primitive", f"{name}_shape", f"{name}_dtype"]
        sources = "".join([f"{names[i]}, " for i in inputs])
        lines += [
            f"{name} = new(Node)",  # Node(...), in half the time
            f"{name}.primitive, {name}.shape, {name}.dtype = {', '.join(constants[-3:])}",
            f"{name}.inputs, {name}.data, {name}.serial = ({sources}), None, next_serial()",
        ]
    body = "".join([f"        {line}\n" for line in lines])
    if isinstance(result, int):
        made = names[result]
    else:
        made = f"[{', '.join([names[i] for i in result])}]"
    code = (
        f"def make({', '.join(constants)}):\n    def repeat({', '.join(names[:given])}):\n{body}"
        f"        return {made}\n    return repeat\n"
    )
    known: dict[str, Any] = {"new": new, "Node": Node, "next_serial": next_serial}
    exec(code, known)
    return known["make"]


@lru_cache(64)
def _standing(given: int) -> Callable[..., Any]:
    """Code that records one node for a whole chain where it may, to be bound to what records
    all of them and to the node's primitive, shape and dtype."""
    names = "".join([f"x{i}, " for i in range(given)])
    code = (
        f"def make(all, whole, shape, dtype):\n    def repeat({names}):\n"
        "        if balance.rest > 0:\n            balance.rest -= 1\n"
        f"            return all({names})\n"
        "        node = new(Node)\n        node.serial = next_serial()\n"
        # behind the serial: what is opened later begins behind it, and never walks this far
        f"        if any_open() and not takes_wholes(): return all({names})\n"
        "        node.primitive, node.shape, node.dtype = whole, shape, dtype\n"
        f"        node.inputs, node.data = ({names}), None\n"
        "        return node\n    return repeat\n"
    )
    known: dict[str, Any] = {
        "new": new,
        "Node": Node,
        "next_serial": next_serial,
        "any_open": trace.any_open,
        "takes_wholes": trace.takes_wholes,
        "balance": balance,
    }
    exec(code, known)
    return known["make"]


def by_shape(make: Callable[..., Node]) -> Callable[..., Node]:
    """As :func:`by_types` for ``make(x, *arguments)`` that records nodes of one operand each,
    one upon the other, none of which changes the dtype or depends on it; in fewer steps."""

    @lru_cache(KEPT)
    def steps(shape: Shape, *arguments: Any) -> tuple[tuple[Any, Shape], ...]:
        start = Node(None, (), shape, float32)
        node, found = make(start, *arguments), []
        while node is not start:
            found.append((node.primitive, node.shape))
            (node,) = node.inputs
        return tuple(reversed(found))

    def recorded(x: Node, *arguments: Any) -> Node:
        dtype = x.dtype
        for primitive, shape in steps(x.shape, *arguments):
            node = new(Node)  # Node(...), in less time
            node.primitive, node.inputs, node.shape, node.dtype = primitive, (x,), shape, dtype
            node.data, node.serial = None, next_serial()
            x = node
        return x

    return recorded
