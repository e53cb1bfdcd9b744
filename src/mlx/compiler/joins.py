"""Where the parts of a concatenation lie in it, and which of them one kernel copies."""

from __future__ import annotations

from math import prod

from mlx.compiler.build import Place
from mlx.compiler.groups import Group
from mlx.compiler.orient import SHORT
from mlx.compiler.uses import Unresolvable, Use, push
from mlx.graph.node import Node
from mlx.primitives.layout import Layout, contiguous


def is_concatenation(group: Group) -> bool:
    return group.kind == "opaque" and group.members[0].primitive.name == "Concatenate"


def copied_together(
    copies: list[tuple[Use, Layout]], node: Node
) -> list[list[tuple[Use | None, Layout]]]:
    """Copies to be made by one kernel each: those that fill the same lines of memory."""
    several = len(copies) > 1 and node.primitive.name == "Concatenate"
    if several and len(copies) <= SHORT:
        axis, shapes = node.primitive.axis, {layout.shape for _, layout in copies}
        if len(shapes) == 1 and prod(next(iter(shapes))[axis:]) <= SHORT:
            return [list(copies)]
    return [[copy] for copy in copies]


def part_place(use: Use, buffer: int, part: Layout | None) -> Place | None:
    """Where a node must lie for its use, seen through nothing but reshapes, to be a part of a
    join."""
    assert part is not None
    if not use.chain:
        return Place(buffer, part)
    try:
        seen = push(contiguous(use.node.shape), use.chain)
    except Unresolvable:
        return None
    if not seen.is_contiguous() or use.node.size != prod(part.shape):
        return None
    layout = part.reshape(use.node.shape)
    return None if layout is None else Place(buffer, layout)
