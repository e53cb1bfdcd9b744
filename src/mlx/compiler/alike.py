"""Groups that are alike share one nest: the layers of a model, the updates of its parameters, and
what was planned before.

Needs: a group, and where what it reads and writes lies.  Leaves: a key that says all that its
nest follows from, with numbers of its own for nodes and buffers, and nests made again from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

from mlx.compiler.build import Place, build_nest
from mlx.compiler.fuse import Fusion
from mlx.compiler.groups import Group
from mlx.compiler.nest import Nest
from mlx.compiler.uses import Use
from mlx.graph.node import Node

MOST = 1 << 12
"""Nests that are kept."""
Signs = Mapping[Node, int]


@dataclass(slots=True)
class Pattern:
    """A nest that was made, and by the numbers that its key gives to nodes: what was placed, in
    order, the place of each access, and the run-time numbers."""

    nest: Nest
    placed: list[int]
    accesses: list[int]
    arguments: list[int]
    structures: dict[tuple[int, ...], Any] = field(default_factory=dict)
    """What lowering makes of it, by which accesses share a buffer."""

    def nest_of(
        self, nodes: list[Node], place: Callable[[Node], Place], argument: Callable[[Node], int]
    ) -> Nest:
        """The nest for other nodes."""
        buffers = [place(nodes[i]).buffer for i in self.placed]
        buffers.append(-1)
        old = self.nest
        accesses = [
            replace(access, buffer=buffers[at])
            for access, at in zip(old.accesses, self.accesses, strict=True)
        ]
        arguments = [argument(nodes[i]) for i in self.arguments]
        return Nest(
            old.outer, old.inner, old.values, accesses, old.stores, old.split, old.columns,
            arguments, old.label, self,
        )  # fmt: skip


class Planner(Protocol):
    """Where nodes lie, and the positions of run-time numbers."""

    fusion: Fusion
    places: dict[Node, Place]
    first_pick: dict[Node, Node]
    """From nodes to those whose place they share."""

    def place(self, node: Node) -> Place: ...

    def argument(self, node: Node) -> int: ...


class Alike:
    """Nests by keys.  ``signs``: where sizes are unknown, a number for each node of the region
    that says what it is; else such numbers are made here."""

    def __init__(self, signs: Signs | None = None) -> None:
        self._known: dict[tuple[Any, ...], Pattern] = {}
        self.is_open = signs is not None
        self._numbers: dict[Any, int] = {}
        self._next = count().__next__
        self._signs = {} if signs is None else signs

    def sign(self, node: Node) -> int:
        """What a node is, by its primitive and type.  Raises KeyError where that isn't known."""
        if self.is_open:
            return self._signs[node]
        dtype = node.dtype
        is_leaf = node.primitive is None or node.data is not None
        what = None if is_leaf else node.primitive._key_part, node.shape, dtype and dtype.index
        found = self._numbers.get(what)
        if found is None:
            found = self._numbers[what] = self._next()
        return found

    def nest(self, planner: Planner, group: Group) -> Nest:
        """The nest of a group: as one like it has it, or built."""
        place, argument = planner.place, planner.argument
        try:
            said = _Description(self, planner, group)
        except KeyError:
            return build_nest(planner.fusion, group, place, argument)
        pattern = self._known.get(said.key)
        if pattern is not None:
            return pattern.nest_of(said.nodes, place, argument)
        placed: dict[Node, int] = {}
        numbers: dict[Node, int] = {}

        def place_noted(node: Node) -> Place:
            found = place(node)
            placed.setdefault(node, found.buffer)
            return found

        def argument_noted(node: Node) -> int:
            return numbers.setdefault(node, argument(node))

        nest = build_nest(planner.fusion, group, place_noted, argument_noted)
        nest.pattern = _pattern(nest, said.numbers, placed, numbers)
        if len(self._known) >= MOST:
            self._known.clear()
            self._numbers.clear()
        self._known[said.key] = nest.pattern
        return nest


class _Description:
    """A group's key, and the nodes that it has numbers for."""

    def __init__(self, alike: Alike, planner: Planner, group: Group) -> None:
        """Raises KeyError where a node of the group can't be said."""
        self.fusion = planner.fusion
        self.group = group
        self.alike = alike
        self.nodes: list[Node] = []
        self.numbers: dict[Node, int] = {}
        self._places = planner.places
        self._same_place = planner.first_pick
        self._buffers: dict[Node | int, int] = {}
        self._say: list[Any] = [
            len(group.members), group.rows is None, group.columns is None, group.split,
        ]  # fmt: skip
        for node in group.members:
            self._number(node)
        for at, node in enumerate(self.nodes):  # it grows meanwhile
            self._node(at, node)
        self.key = tuple(self._say)

    def _number(self, node: Node) -> int:
        at = self.numbers.get(node)
        if at is None:
            at = self.numbers[node] = len(self.nodes)
            self.nodes.append(node)
        return at

    def _node(self, at: int, node: Node) -> None:
        fusion, say = self.fusion, self._say
        home = fusion.group_of.get(node)
        inside = home is self.group
        say.append(self.alike.sign(node))
        stored = node in fusion.stored
        family = "" if node.primitive is None or node.data is not None else node.primitive.family
        if inside:
            say.append(stored)
        elif not family or stored or family == "pick":
            self._memory(at, node)
            return
        elif family == "source":
            return
        if home is not None:
            say.append(
                (node in home.row_members) + 2 * (node in home.reductions) + 4 * (node in home.late)
            )
        if stored:
            self._memory(at, node)
        uses = fusion.operands[node]
        say.append(len(uses))
        for use in uses:
            self._use(use)

    def _use(self, use: Use) -> None:
        self._say.append(self._number(use.node))
        if use.chain:
            self._say.append(tuple([self.alike.sign(view) for view in use.chain]))

    def _memory(self, at: int, node: Node) -> None:
        node = self._same_place.get(node, node)
        place = self._places.get(node)
        if place is None:  # it gets a buffer of its own
            self._say.append(-1 - self._buffers.setdefault(node, at))
            return
        if not place.is_whole:
            if self.alike.is_open:
                raise KeyError(node)
            self._say.append(place.layout)
        self._say.append(-1 - self._buffers.setdefault(place.buffer, at))


def _pattern(
    nest: Nest, numbers: Mapping[Node, int], placed: Mapping[Node, int], arguments: Iterable[Node]
) -> Pattern:
    """What to remember of a nest that was made: ``placed`` has the buffers of what was placed,
    in order, ``arguments`` are its run-time numbers."""
    order = {buffer: i for i, buffer in reversed(list(enumerate(placed.values())))}
    accesses = [len(placed) if a.buffer < 0 else order[a.buffer] for a in nest.accesses]
    return Pattern(
        replace(nest), [numbers[n] for n in placed], accesses, [numbers[n] for n in arguments]
    )
