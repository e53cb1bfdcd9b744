"""Updates in place: which of them write straight into the array that they update.

Needs: groups, and where outputs are wanted.  Leaves: pairs of an update and its base, which share
a buffer.  A base that is an input of the region is another matter: see donate.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mlx.compiler.fuse import Fusion
from mlx.compiler.uses import Unresolvable, Use, push
from mlx.graph.node import Node
from mlx.primitives.layout import Layout, contiguous


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
