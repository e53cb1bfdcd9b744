"""A region as a list of kernels over planned buffers.

Needs: a region's nodes in serial order and its outputs.  Leaves: steps in execution order,
each with concrete strides, and for every buffer its kind, size and life.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlx.compiler import updates
from mlx.compiler.alike import Alike, Signs
from mlx.compiler.build import ExpressionBuilder, Operand, Place
from mlx.compiler.copies import around, copy_nest, copy_steps
from mlx.compiler.fuse import Fusion
from mlx.compiler.groups import Group, producer
from mlx.compiler.joins import copied_together, is_rearrangement, part_place, places_in_copies
from mlx.compiler.nest import Access, Nest
from mlx.compiler.reuse import reuse_memory
from mlx.compiler.steps import BufferPlan, CopyStep, GemmStep, NestStep, OpaqueStep, Plan, Strided
from mlx.compiler.tiny import tiny_product
from mlx.compiler.uses import Unresolvable, Use, culprit, is_view, push, seen_as, solid_views
from mlx.graph.node import Node
from mlx.primitives.layout import Layout, contiguous

_alike = Alike()


def make_plan(
    nodes: Sequence[Node],
    outputs: set[Node],
    found: Sequence[Sequence[int]] = (),
    signs: Signs | None = None,
) -> Plan:
    """Fuse and plan a region; views that strides can't say are written out.

    ``found``: what attempts to plan the region at other sizes did (``Plan.found``), by which this
    one may be the first.  ``signs``: what nodes with unknown sizes are (``alike``).
    """
    alike = _alike if signs is None else Alike(signs)
    solid, aliases = solid_views(list(nodes), outputs)
    wanted = {n for n in outputs if n not in aliases}
    wanted |= {u.node for u in aliases.values()}
    unplaced: set[Node] = set()
    apart: set[Node] = set()
    copied: set[Node] = set()
    sets = solid, unplaced, apart, copied
    for special, positions in zip(sets, found, strict=False):
        special.update([nodes[i] for i in positions])
    own = set(nodes)
    while True:
        planner = _Planner(list(nodes), wanted, aliases, *sets, alike)
        try:
            plan = planner.plan()
        except updates.Overwritten as update:
            copied.add(update.node)
            continue
        if not planner.stuck:
            plan.found = tuple([i for i, n in enumerate(nodes) if n in s] for s in sets)
            return plan
        for node in planner.stuck:
            if node not in own:  # made by the attempt: the next one would make another, for ever
                raise AssertionError(f"cannot plan {node}, which is none of the region's")
            if _can_be_solid(node) and node not in solid:
                solid.add(node)
            elif node not in unplaced:
                unplaced.add(node)
            elif node not in apart:
                apart.add(node)
            else:
                raise AssertionError(f"cannot plan {node}")


def _can_be_solid(node: Node) -> bool:
    return is_view(node) or (node.primitive is not None and node.primitive.family == "source")


class _Planner:
    """One attempt at a plan."""

    def __init__(
        self,
        nodes: list[Node],
        wanted: set[Node],
        aliases: dict[Node, Use],
        solid: set[Node],
        unplaced: set[Node],
        apart: set[Node],
        copied: set[Node],
        alike: Alike,
    ) -> None:
        self.result, self.alike = Plan(), alike
        self.last_use: dict[Node, int] = {}
        self.wanted = {producer(n) if n.dtype is None else n for n in wanted}
        self.aliases = aliases
        self.unplaced = unplaced
        extra = {producer(n) for n in wanted}
        self.fusion = Fusion(nodes, wanted | extra, solid, unplaced, apart)
        self.takeovers = updates.takeovers(self.fusion, self.wanted, copied)
        self.nodes = nodes
        self.places: dict[Node, Place] = {}
        self.scalar_at: dict[Node, int] = {}
        self.picks: dict[Node, dict[int, Node]] = {}
        self.first_pick: dict[Node, Node] = {}
        """For a pick of what another picks too: that one, whose place it shares."""
        for node in nodes:
            if node.primitive is not None and node.primitive.family == "pick":
                known = self.picks.setdefault(node.inputs[0], {})
                first = known.setdefault(node.primitive.index, node)
                if first is not node:
                    self.first_pick[node] = first
        self.results = {self.first_pick.get(n, n) for n in self.wanted}
        self.begun: dict[Group, list[Node]] = {}
        """Updates whose parts a group writes into them."""
        self.at = 0
        self.stuck: list[Node] = []
        """Nodes to write out before another attempt; the plan is worthless then."""

    def plan(self) -> Plan:
        self._place_in_joins()
        self._take_over()
        self._place_in_updates()
        for group in self.fusion.groups:
            self.at = group.index
            try:
                self._group(group)
            except Unresolvable as stuck:
                node = self.fusion.blamed(stuck.node)
                if not self._follows_from_stuck(node):
                    self.stuck.append(node)
                    self.stuck += [n for n in stuck.later if is_view(n) and n is not node]
        if not self.stuck:
            updates.check_uses(self.takeovers, self.last_use, self.fusion)
            self._name_outputs()
            reuse_memory(self.result)
        return self.result

    def _group(self, group: Group) -> None:
        if group.kind == "gemm":
            self._gemm(group)
        elif group.kind == "opaque":
            self._opaque(group)
        elif group.kind in ("rows", "columns"):
            self._nest(group)

    def _follows_from_stuck(self, node: Node) -> bool:
        """Whether a node is, or is a view of, one that will be written out anyway."""
        while node not in self.stuck:
            if not is_view(node):
                return False
            (node,) = node.inputs
        return True

    def _name_outputs(self) -> None:
        result = self.result
        for node in self.wanted:
            place = self.place(node)
            result.buffers[place.buffer].last = 1 << 60
            result.outputs[node] = (place.buffer, place.layout.offset * node.dtype.size)
        for node, use in self.aliases.items():
            place = self.place(use.node)
            layout = push(place.layout, use.chain)
            result.buffers[place.buffer].last = 1 << 60
            result.outputs[node] = (place.buffer, layout.offset * node.dtype.size)

    # -- places ------------------------------------------------------------------------

    def place(self, node: Node) -> Place:
        """Where a stored node or leaf lies; also notes that it is used now."""
        node = self.first_pick.get(node, node)
        place = self.places.get(node)
        if place is None:
            place = self.places[node] = self._new_place(node)
        self.last_use[node] = self.at
        info = self.result.buffers[place.buffer]
        info.first = min(info.first, self.at)
        info.last = max(info.last, self.at)
        return place

    def _new_place(self, node: Node) -> Place:
        plan = self.result
        nbytes = node.size * node.dtype.size
        if node.data is not None:
            plan.leaves.append(node)
            buffer = BufferPlan("leaf", nbytes, len(plan.leaves) - 1)
        else:
            buffer = BufferPlan("output" if node in self.results else "temp", nbytes)
        plan.buffers.append(buffer)
        return Place(len(plan.buffers) - 1, contiguous(node.shape), True)

    def argument(self, node: Node) -> int:
        """The position of a run-time number among the program's scalars."""
        position = self.scalar_at.get(node)
        if position is None:
            position = self.scalar_at[node] = len(self.result.scalars)
            self.result.scalars.append(node)
        return position

    def _place_in_joins(self) -> None:
        """What a concatenation or another copy would only copy is written straight into it."""
        for node, place in places_in_copies(self.fusion, self._may_move, self._new_join):
            self.places[node] = place

    def _new_join(self, node: Node) -> Place:
        if node not in self.places:
            self.places[node] = self._new_place(node)
        return self.places[node]

    def _may_move(self, node: Node) -> bool:
        free = node not in self.wanted and node not in self.unplaced
        return free and node in self.fusion.stored and node not in self.places

    def _take_over(self) -> None:
        """Updates of arrays that nothing reads afterwards are written into them."""
        for node, base in self.takeovers:
            place = self._new_join(base)
            self.places[node] = Place(place.buffer, contiguous(node.shape))
            if node in self.wanted:
                self.result.buffers[place.buffer].kind = "output"

    def _place_in_updates(self) -> None:
        """What an update would only copy is written straight into a copy of its base."""
        taken = {node for node, _ in self.takeovers}
        inside = updates.computed_inside(self.fusion, taken, self._may_move, self._new_join)
        for update, part, place in inside:
            self.places[part] = place
            self.begun.setdefault(self.fusion.group_of[part], []).append(update)

    # -- steps -------------------------------------------------------------------------

    def _nest(self, group: Group) -> None:
        if is_rearrangement(group) and self._lies_there(group.members[0]):
            return
        for update in self.begun.get(group, ()):
            self._start_from(self.fusion.operands[update][0], update)
        if not self.fusion.stored.isdisjoint(group.members):
            nest = self.alike.nest(self, group)
            self.result.steps.append(NestStep(nest, nest.label))

    def _lies_there(self, copy: Node) -> bool:
        """Whether what a copy would copy has been written into its result."""
        source = self.places.get(self.fusion.operands[copy][0].node)
        return source is not None and source.buffer == self.place(copy).buffer

    def strided(self, use: Use, shape: tuple[int, ...]) -> Strided:
        """A use as an operand with one stride an axis."""
        self._need_memory(use.node)
        place = self.place(use.node)
        layout = seen_as(place.layout, use.chain, shape)
        strides = layout.strides()
        if strides is None:
            raise Unresolvable(use.chain[-1] if use.chain else use.node)
        return Strided(place.buffer, layout.offset, use.node.dtype, shape, strides)

    def _need_memory(self, node: Node) -> None:
        """A source is a formula until a kernel needs to read it."""
        if node.data is not None or node in self.fusion.group_of:
            return
        if node.primitive is not None and node.primitive.family == "source":
            raise Unresolvable(node)

    def _gemm(self, group: Group) -> None:
        node = group.members[0]
        a, b = self.fusion.operands[node]
        stored = [n for n in group.members if n in self.fusion.stored]
        if not stored:
            return
        left, right = (self._readable(node, at, use) for at, use in enumerate((a, b)))
        root, order = node.primitive.tiling(node)
        builder = ExpressionBuilder(self.fusion, group, self.place, self.argument, root)
        stores = []
        for member in stored:
            value = builder.value(Use(member, ()))
            stores.append((value, builder.target(member, False)))
        accesses = []
        for operand in builder.operands:
            strides = operand.layout.strides()
            if strides is None:
                raise Unresolvable(operand.culprit or node)
            buffer = -1 if operand.buffer is None else operand.buffer
            *outer, inner = (strides[axis] for axis in order)
            accesses.append(
                Access(buffer, operand.layout.offset, tuple(outer), inner, operand.dtype)
            )
        label = "+".join(n.primitive.name for n in group.members[:6])
        step = GemmStep(
            node.primitive,
            left,
            right,
            tuple(root[axis] for axis in order),
            node.primitive.depth(node),
            builder.values,
            accesses,
            stores,
            builder.arguments,
            label,
        )
        nest = tiny_product(step)
        self.result.steps.append(step if nest is None else NestStep(nest, label))

    def _readable(self, node: Node, position: int, use: Use) -> Strided:
        """An operand of a contraction, written out where its kernel can't read it."""
        shape = node.inputs[position].shape
        found = self.strided(use, shape)
        if not node.primitive.reads(position, shape, found.strides):
            raise Unresolvable(use.chain[-1])
        return found

    def _opaque(self, group: Group) -> None:
        node = group.members[0]
        primitive = node.primitive
        if primitive.family == "join":
            self._join(node)
            return
        uses = list(zip(self.fusion.operands[node], node.inputs, strict=True))
        if primitive.updates_first:
            self._start_from(uses.pop(0)[0], node)
        inputs = [self.strided(use, original.shape) for use, original in uses]
        outputs = [self._output(target) for target in self._results(node)]
        self.result.steps.append(OpaqueStep(primitive, inputs, outputs, primitive.name))

    def _results(self, node: Node) -> list[Node]:
        """The nodes that name the outputs: itself, or the picks of the region."""
        if node.dtype is not None:
            return [node]
        found = self.picks.get(node, {})
        return [
            found.get(i) or Node(None, (), shape, dtype)
            for i, (shape, dtype) in enumerate(node.shape)
        ]

    def _output(self, node: Node) -> Strided:
        place = self.place(node)
        strides = contiguous(node.shape).strides()
        assert strides is not None
        return Strided(place.buffer, 0, node.dtype, node.shape, strides)

    def _join(self, node: Node) -> None:
        place = self.place(node)
        slices = node.primitive.placements(*node.inputs)
        parts = list(zip(self.fusion.operands[node], slices, strict=True))
        if node.primitive.updates_first:
            base, _ = parts.pop(0)
            if not self._is_begun(node):
                self._start_from(base, node)
        copies: list[tuple[Use | None, Layout]] = []
        if node.primitive.name == "Embed":
            copies += [(None, layout) for layout in around(node)]
        for use, part in parts:
            layout = part.layout(place.layout)
            assert layout is not None
            there = self.places.get(use.node)
            if there is None or there != part_place(use, place.buffer, layout):
                copies.append((use, layout))
        adds = node.primitive.accumulates
        nests = [
            self._copied(together, place.buffer, node, adds)
            for together in copied_together(copies, node)
        ]
        self.result.steps += copy_steps(nests, node)

    def _is_begun(self, update: Node) -> bool:
        home = self.fusion.group_of.get(self.fusion.operands[update][1].node)
        return home is not None and update in self.begun.get(home, ())

    def _start_from(self, base: Use, node: Node) -> None:
        """What an update leaves as it was, unless it lies there already."""
        self._need_memory(base.node)
        source, target = self.place(base.node), self.place(node)
        if source.buffer == target.buffer:
            return
        if updates.is_whole(source.layout, base, node):
            nbytes = node.size * node.dtype.size
            step = CopyStep(source.buffer, target.buffer, nbytes, "copy", updates.left_out(node))
            self.result.steps.append(step)
        else:
            nest = self._copied([(base, target.layout)], target.buffer, node)
            self.result.steps += copy_steps([nest], node)

    def _copied(
        self,
        copies: Sequence[tuple[Use | None, Layout]],
        buffer: int,
        node: Node,
        adds: bool = False,
    ) -> Nest:
        """A kernel that writes uses (or zeros) of one size to layouts of a buffer, or ``adds``
        one to what is there."""
        size = prod(copies[0][1].shape)
        sources = [None if use is None else self._read(use, size) for use, _ in copies]
        return copy_nest(sources, [target for _, target in copies], buffer, node.dtype, adds)

    def _read(self, use: Use, size: int) -> Operand:
        """A use as what a copy of so many elements reads."""
        self._need_memory(use.node)
        place = self.place(use.node)
        layout = seen_as(place.layout, use.chain, (size,))
        blamed = culprit(use.chain) if use.chain else use.node
        return Operand(place.buffer, layout, use.node.dtype, blamed)
