"""Regions with segments, in which one node stands for many, recognised without making these.

At the first meeting segments are expanded and the region is evaluated as any other; what the
program then read and made is noted by positions among the nodes of the region as it was before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlx.base.bounded import Bounded
from mlx.base.lazy import LazyModule
from mlx.graph.node import Node
from mlx.runtime import team
from mlx.runtime.described import Described
from mlx.runtime.execute import number_bits

if TYPE_CHECKING:
    from mlx.backend.llvm.executable import Executable

equality = LazyModule("mlx.compiler.equal")

KEPT = 1 << 20
"""Parts of all keys that are kept."""
_known = Bounded(KEPT)
_numbers = Bounded(KEPT)
"""By the parts of keys: the run-time numbers that a segment makes."""


class Known:
    """A region's program, and positions of what it reads and makes.

    ``numbers`` has a position among the region's run-time numbers, or the bits of one that a
    segment makes, a pair of it and whether it is the latter.
    """

    __slots__ = ("leaves", "numbers", "outputs", "program")

    def __init__(
        self,
        program: Executable,
        leaves: list[int],
        numbers: list[tuple[int, bool]],
        outputs: list[int],
    ) -> None:
        self.program = program
        self.leaves = leaves
        self.numbers = numbers
        self.outputs = outputs

    def operands(self, region: Described) -> tuple[list[int], list[int], list[Node]]:
        """How often the region refers to its leaves, now those of the program in its order; the
        bits of its numbers; its outputs."""
        uses = [region.uses[at] for at in self.leaves]
        region.leaves[:] = [region.leaves[at] for at in self.leaves]
        scalars = region.scalars
        numbers = [at if made else number_bits(scalars[at]) for at, made in self.numbers]
        return uses, numbers, [region.order[at] for at in self.outputs]


class Meeting:
    """A region that was met with its segments: what is to be learned of it, by its key.

    It has no reference to a node, which would look needed: the region keeps them until the
    expanded one is described.
    """

    def __init__(self, key: Any, region: Described) -> None:
        self.key = key
        self._order = {id(node): i for i, node in enumerate(region.order)}
        self._leaves = {id(node): i for i, node in enumerate(region.leaves)}
        self._scalars = {id(node): i for i, node in enumerate(region.scalars)}

    def learn(self, region: Described, live: Sequence[int], program: Executable) -> None:
        """Note what the program of the expanded region reads and makes."""
        numbers = []
        for node in [region.scalars[i] for i in program.scalar_order]:
            at = self._scalars.get(id(node))
            numbers.append((number_bits(node), True) if at is None else (at, False))
        try:
            leaves = [self._leaves[id(node)] for node in region.leaves]
            outputs = [self._order[id(region.order[i])] for i in live]
        except KeyError:  # a result that was computed before is a leaf now
            return
        _known.keep(self.key, Known(program, leaves, numbers, outputs), len(self.key[0]))


def key_of(region: Described) -> Any:
    """What a region with segments is known by; None where something outside asks for a node with
    several outputs."""
    if not region.complete:
        return None
    live = region.outside()
    if any([region.order[i].dtype is None for i in live]):
        return None
    key = (*region.key, *live, team.num_threads())
    return key, tuple(region.shapes), _equal_numbers(region) if region.scalars else ()


def _equal_numbers(region: Described) -> tuple[int, ...]:
    """Which of the run-time numbers equal others, or which of those that segments make; which of
    the latter equal one another is said by the segments themselves."""
    scalars = region.scalars
    equal = list(equality.equal_numbers(scalars))
    told = list(map(equality.number_of, scalars))
    for segment in region.segments:
        part = segment.primitive._key_part
        places = _numbers.get(part)
        if places is None:
            made = segment.primitive.numbers
            places = {equality.number_of(node): i for i, node in enumerate(made)}
            _numbers.keep(part, places, len(places) + 1)
        if places:
            equal += [places.get(number, -1) for number in told]
    return tuple(equal)


find = _known.get
forget = _known.clear


def expand(roots: Sequence[Node]) -> None:
    """Record what all segments stand for that some nodes need."""
    with team.planning:
        seen = set(roots)
        stack = list(seen)
        while stack:
            node = stack.pop()
            while (source := _segment_of(node)) is not None:
                source.primitive.expand(source)
            new = [s for s in node.inputs if s.data is None and s not in seen]
            seen.update(new)
            stack += new


def _segment_of(node: Node) -> Node | None:
    """The segment that a node is, or is a result of; or None."""
    if node.data is None and node.primitive is not None and node.primitive.family == "segment":
        return node
    inputs = node.inputs
    if not inputs or (source := inputs[0]).dtype is not None or source.data is not None:
        return None
    return source if source.primitive.family == "segment" else None
