"""A part of the graph that is known already, and not recorded unless somebody asks for it.

The gradient of a graph that was differentiated before is that graph's nodes, one after the other.
Where nothing but its evaluation can follow, or a gradient that was met before, one node stands for
them all: the region that it belongs to is mostly known as well, and then they are never made.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from itertools import islice
from typing import Any

from mlx.graph.chains import Chain
from mlx.graph.node import Node, reserve_serials
from mlx.primitives.base import Pick, Primitive, new_token

new = Node.__new__


class Repeated:
    """What all segments share that repeat one chain.

    Attributes:
        chain: what they stand for, of the segment's inputs.
        results: positions, among the inputs and what the chain makes of them, of the results.
        numbers: the run-time numbers that it makes.
    """

    def __init__(self, chain: Chain, results: list[int]):
        recorded, given = chain.recorded, chain.given
        self.chain = chain
        self.results = results
        self.part = new_token()
        self.numbers = _numbers(chain)
        self._count = len(recorded)
        self._serials = [1 + at - given for at in results]
        self._picks = [Pick(i) for i in range(len(results))]
        self._types = tuple([recorded[at - given][2:] for at in results])

    def segment(self, inputs: tuple[Node, ...]) -> list[Node]:
        """The results, as picks of a segment: their serials are those they would have."""
        serial = reserve_serials(1 + self._count)
        whole = self._whole(inputs, serial, serial)
        made = self._made(whole, 0, serial)
        whole.primitive.picks = list(map(weakref.ref, made))
        return made

    def _whole(self, inputs: tuple[Node, ...], serial: float, first: int) -> Node:
        whole = Node(Segment(self, first), inputs, self._types, None)
        whole.serial = serial
        return whole

    def _made(self, whole: Node, start: int, serial: int) -> list[Node]:
        """The results from the one at ``start`` on, as picks."""
        inputs = (whole,)
        made: list[Node] = []
        add = made.append
        for pick, (shape, dtype), after in islice(
            zip(self._picks, self._types, self._serials, strict=True), start, None
        ):
            node = new(Node)  # Node(...), in less time
            node.primitive, node.inputs, node.shape, node.dtype = pick, inputs, shape, dtype
            node.data, node.serial = None, serial + after
            add(node)
        return made

    def serials(self, whole: Node, first: int, results: dict[int, Node]) -> Iterable[float]:
        """Serials of what a segment stands for."""
        return range(first + 1, first + 1 + self._count)


class Joined(Repeated):
    """What segments share that stand for a graph and for what a transformation made of it.

    The first results are nodes that were recorded, and keep their serials.
    """

    def __init__(self, chain: Chain, results: list[int], forward: int):
        super().__init__(chain, results)
        self._forward = forward
        self._step = 1 / (4 << forward.bit_length())
        self._serials = [at - chain.given - forward for at in results]

    def over(self, inputs: tuple[Node, ...], live: list[Node], serial: float) -> list[Node]:
        """The results: ``live``, which become picks of a segment of this serial, and others."""
        first = reserve_serials(self._count - self._forward)
        whole = self._whole(inputs, serial, first)
        for pick, node in zip(self._picks, live):  # noqa: B905 (there are more)
            node.primitive, node.inputs = pick, (whole,)
        made = [*live, *self._made(whole, len(live), first)]
        whole.primitive.picks = list(map(weakref.ref, made))
        return made

    def serials(self, whole: Node, first: int, results: dict[int, Node]) -> Iterable[float]:
        """Serials of what a segment stands for: the graph's lie beside those that are kept."""
        serial = whole.serial
        for at in range(self.chain.given, self.chain.given + self._forward):
            serial = results[at].serial if at in results else serial + self._step
            yield serial
        yield from range(first, first + self._count - self._forward)


def _numbers(chain: Chain) -> list[Node]:
    """The run-time numbers that a chain makes, as nodes apart from these."""
    return [
        Node(primitive, (), shape, dtype)
        for primitive, _, shape, dtype in chain.recorded
        if primitive._key_part is not None and primitive.is_number
    ]


class Segment(Primitive):
    """What a chain records of the inputs."""

    family = "segment"

    def __init__(self, repeated: Repeated, first: int) -> None:
        self._key_part = repeated.part  # type: ignore[misc]
        self.repeated = repeated
        self.picks: list[weakref.ref[Node]] = []
        self._first = first

    @property
    def numbers(self) -> list[Node]:
        """The run-time numbers that it makes."""
        return self.repeated.numbers

    def infer(self, *inputs: Node) -> tuple[Any, None]:
        return self.repeated._types, None

    def expand(self, node: Node) -> None:
        """Record what ``node`` stands for; its picks become the results themselves."""
        of = self.repeated
        known = {
            at: pick
            for at, made in zip(of.results, self.picks, strict=True)
            if (pick := made()) is not None
        }
        of.chain.unfold(node.inputs, of.serials(node, self._first, known), known)
        node.inputs = ()


class Whole(Primitive):
    """What a chain with one result records, as one node."""

    family = "segment"
    is_listed = True

    def __init__(self, chain: Chain) -> None:
        self._key_part = new_token()  # type: ignore[misc]
        self.numbers = _numbers(chain)
        self._chain = chain

    def expand(self, node: Node) -> None:
        """Record what ``node`` stands for; it becomes the result itself."""
        self._chain.stretch(node.inputs, node)


Chain.whole = Whole
