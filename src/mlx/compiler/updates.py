"""Updates in place: which of them write straight into the array that they update.

Needs: groups, and where outputs are wanted.  Leaves: pairs of an update and its base, which share
a buffer; and the parts that are computed where they will lie, in a copy of the base.  A base that
is an input of the region is another matter: see donate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from mlx.compiler.build import Place
from mlx.compiler.fuse import Fusion
from mlx.compiler.groups import Group, producer
from mlx.compiler.joins import part_place, readings
from mlx.compiler.uses import Unresolvable, Use, push, seen_as
from mlx.graph.node import Node
from mlx.primitives.layout import Layout, contiguous, merge

LONG = 512
"""Bytes from which on a run of them is left out of a copy."""


class Overwritten(Exception):
    """The base of an update in place is read afterwards; ``node``, the update, must copy."""

    def __init__(self, node: Node) -> None:
        super().__init__(node)
        self.node = node


def takeovers(fusion: Fusion, wanted: set[Node], copied: set[Node]) -> list[tuple[Node, Node]]:
    """(update, base) for each base that the region computes for updates, as it seems."""
    found = []
    taken: set[Node] = set()
    for group in fusion.groups:
        if group.kind != "opaque" or not group.members[0].primitive.updates_first:
            continue
        node = group.members[0]
        base, *others = fusion.operands[node]
        if (
            base.node in fusion.group_of
            and base.node not in wanted
            and base.node not in taken
            and node not in copied
            and all(use.node is not base.node for use in others)
            and is_whole(contiguous(base.node.shape), base, node)
        ):
            taken.add(base.node)
            found.append((node, base.node))
    return found


def computed_inside(
    fusion: Fusion,
    taken: set[Node],
    may_move: Callable[[Node], bool],
    whole: Callable[[Node], Place],
) -> Iterator[tuple[Node, Node, Place]]:
    """(update, its part, where a kernel writes it): the result (``whole``) is begun before."""
    counts = readings(fusion)
    for group in fusion.groups:
        if group.kind != "opaque" or group.members[0] in taken:
            continue
        update = group.members[0]
        primitive = update.primitive
        if primitive.family != "join" or not primitive.updates_first or primitive.accumulates:
            continue
        base, use = fusion.operands[update]
        home = fusion.group_of.get(use.node)
        if home is None or home.kind != "rows" or counts[use.node] != 1 or not may_move(use.node):
            continue
        if use.node in home.late or home.closed or not _is_alone(fusion, base, counts, home):
            continue
        place = whole(update)
        part = primitive.placements(*update.inputs)[1].layout(place.layout)
        found = part_place(use, place.buffer, part)
        if found is not None and _meets(fusion, home, base.node, use.node, found.layout):
            yield update, use.node, found


def _is_alone(fusion: Fusion, base: Use, counts: Mapping[Node, int], home: Group) -> bool:
    """Whether nothing but the update, and the kernel of its part, reads the base, which is known
    before."""
    source = fusion.group_of.get(producer(base.node))
    inside = [u for m in home.members for u in fusion.operands[m] if u.node is base.node]
    known = base.node.data is not None or (source is not None and source.index < home.index)
    return known and counts[base.node] == len(inside) + 1


def _meets(fusion: Fusion, home: Group, base: Node, part: Node, target: Layout) -> bool:
    """Whether a kernel reads of the base what it overwrites, each element where it does: else the
    result could not take the base's memory."""
    flat = target.reshape((part.size,))
    uses = [u for m in home.members for u in fusion.operands[m] if u.node is base]
    try:
        seen = [seen_as(contiguous(base.shape), u.chain, (part.size,), base) for u in uses]
    except Unresolvable:
        return False
    return flat is not None and all(
        s.offset == flat.offset and merge(s.axes[0]) == merge(flat.axes[0]) for s in seen
    )


def left_out(update: Node) -> tuple[int, int, int, int] | None:
    """The runs of bytes that an update covers (``CopyStep.runs``); None where they are
    short, lie at several distances or cover little."""
    primitive = update.primitive
    if primitive.family != "join" or primitive.accumulates:
        return None
    part = primitive.placements(*update.inputs)[1]
    if any(step != 1 for step in part.steps):
        return None
    each, count, apart, within, start = 1, 1, 0, 1, 0
    for n, first, size in reversed([*zip(update.shape, part.starts, part.shape, strict=True)]):
        start += first * within
        if each == within:
            each *= size
        elif size != 1 and count == 1:
            count, apart = size, within
        elif size != 1 and apart * count != within:
            return None
        else:
            count *= size
        within *= n
    size = update.dtype.size
    if each * size < LONG or 2 * each * count < update.size:
        return None
    return start * size, apart * size, each * size, count


def check_uses(
    pairs: Sequence[tuple[Node, Node]], last_use: Mapping[Node, int], fusion: Fusion
) -> None:
    """Raise Overwritten for an update whose base a later kernel reads."""
    for node, base in pairs:
        if last_use.get(base, -1) > fusion.group_of[node].index:
            raise Overwritten(node)


def is_whole(layout: Layout, use: Use, node: Node) -> bool:
    """Whether a use has the elements of its array in their order, all of them."""
    if use.node.size != node.size or layout.offset or not layout.is_contiguous():
        return False
    try:
        seen = push(layout, use.chain)
    except Unresolvable:
        return False
    return seen.is_contiguous() and not seen.offset
