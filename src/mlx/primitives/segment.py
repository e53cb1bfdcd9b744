"""A part of the graph that is known already, and not recorded unless somebody asks for it.

The gradient of a graph that was differentiated before is that graph's nodes, one after the other.
Where nothing but its evaluation can follow, one node stands for them all: the region that it
belongs to is mostly known as well, and then they are never made.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from mlx.graph.chains import Chain
from mlx.graph.node import Node, reserve_serials
from mlx.primitives.base import Pick, Primitive, new_token

_type_of = attrgetter("shape", "dtype")


class Repeated:
    """What all segments share that repeat one chain.

    Attributes:
        chain: what they stand for, of the segment's inputs.
        results: positions, among the inputs and what the chain makes of them, of the results.
        numbers: the run-time numbers that it makes.
    """

    def __init__(self, chain: Chain, given: int, recorded: Sequence[Node], results: list[int]):
        self.chain = chain
        self.results = results
        self.part = new_token()
        self.numbers = _numbers(recorded)
        self._count = len(recorded)
        self._serials = [1 + at - given for at in results]
        self._picks = [Pick(i) for i in range(len(results))]
        self._types = tuple([_type_of(recorded[at - given]) for at in results])

    def segment(self, inputs: tuple[Node, ...]) -> list[Node]:
        """The results, as picks of a segment: their serials are those they would have."""
        serial = reserve_serials(1 + self._count)
        primitive = Segment(self, serial)
        whole = Node(primitive, inputs, self._types, None)
        whole.serial = serial
        made = []
        for pick, (shape, dtype), after in zip(
            self._picks, self._types, self._serials, strict=True
        ):
            node = Node(pick, (whole,), shape, dtype)
            node.serial = serial + after
            made.append(node)
        primitive.picks = list(map(weakref.ref, made))
        return made


def _numbers(recorded: Iterable[Node]) -> list[Node]:
    """The run-time numbers among some nodes, as nodes apart from these."""
    return [
        Node(node.primitive, (), node.shape, node.dtype)
        for node in recorded
        if node.primitive._key_part is not None and node.primitive.is_number
    ]


class Segment(Primitive):
    """What a chain records of the inputs.  Transformations never meet one."""

    family = "segment"

    def __init__(self, repeated: Repeated, serial: int) -> None:
        self._key_part = repeated.part  # type: ignore[misc]
        self.repeated = repeated
        self.picks: list[weakref.ref[Node]] = []
        self._serial = serial

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
        of.chain.unfold(node.inputs, self._serial + 1, known)
        node.inputs = ()


class Whole(Primitive):
    """What a chain with one result records, as one node.  Transformations never meet one."""

    family = "segment"
    is_listed = True

    def __init__(self, chain: Chain) -> None:
        self._key_part = new_token()  # type: ignore[misc]
        self.numbers = _numbers([Node(p, (), s, d) for p, _, s, d in chain.recorded])
        self._chain = chain

    def expand(self, node: Node) -> None:
        """Record what ``node`` stands for; it becomes the result itself."""
        self._chain.stretch(node.inputs, node)


Chain.whole = Whole
