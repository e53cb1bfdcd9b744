"""What is written where a copy of it would lie: parts of a concatenation, a product transposed.

Needs: groups, and what may not lie elsewhere.  Leaves: for each producer whose one reader would
only copy it, the layout to write to; and which copies one kernel makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import prod

from mlx.compiler.build import Place
from mlx.compiler.fuse import Fusion
from mlx.compiler.groups import Group
from mlx.compiler.orient import SHORT
from mlx.compiler.uses import Unresolvable, Use, is_view, push
from mlx.graph.node import Node
from mlx.primitives.layout import Layout, contiguous
from mlx.primitives.views import Slice

LINE = 16
"""Elements side by side from which on a product's rows may lie apart."""


def is_concatenation(group: Group) -> bool:
    return group.kind == "opaque" and group.members[0].primitive.name == "Concatenate"


def copied_together(
    copies: list[tuple[Use | None, Layout]], node: Node
) -> list[list[tuple[Use | None, Layout]]]:
    """Copies to be made by one kernel each: those that fill the same lines of memory."""
    several = len(copies) > 1 and node.primitive.name == "Concatenate"
    if several and len(copies) <= SHORT:
        axis, shapes = node.primitive.axis, {layout.shape for _, layout in copies}
        if len(shapes) == 1 and prod(next(iter(shapes))[axis:]) <= SHORT:
            return [list(copies)]
    return [[copy] for copy in copies]


def is_rearrangement(group: Group) -> bool:
    """Whether a kernel would do nothing but write out a view."""
    return group.kind == "rows" and len(group.members) == 1 and is_view(group.members[0])


def places_in_copies(
    fusion: Fusion, may_move: Callable[[Node], bool], whole: Callable[[Node], Place]
) -> Iterator[tuple[Node, Place]]:
    """Producers with one reader, a copy, and where they write straight into its result
    (``whole``, of the copy): concatenations too, hence the outer ones first."""
    counts = readings(fusion)
    for group in reversed(fusion.groups):
        for use, part in _parts(fusion, group):
            node = use.node
            if counts[node] != 1 or node not in fusion.group_of or not may_move(node):
                continue
            place = whole(group.members[0])
            layout = part.layout(place.layout) if part is not None else place.layout
            found = part_place(use, place.buffer, layout)
            if found is not None and _can_write(fusion.group_of[node], node, found.layout, part):
                yield node, found


def readings(fusion: Fusion) -> dict[Node, int]:
    """How often each node is an operand."""
    counts: dict[Node, int] = {}
    for uses in fusion.operands.values():
        for use in uses:
            counts[use.node] = counts.get(use.node, 0) + 1
    return counts


def _parts(fusion: Fusion, group: Group) -> list[tuple[Use, Slice | None]]:
    """What a copy is made of, and which slices of it (None: the whole)."""
    if is_concatenation(group):
        node = group.members[0]
        slices = node.primitive.placements(*node.inputs)
        return list(zip(fusion.operands[node], slices, strict=True))
    if is_rearrangement(group):
        return [(fusion.operands[group.members[0]][0], None)]
    return []


def _can_write(group: Group, node: Node, layout: Layout, part: Slice | None) -> bool:
    """Whether a kernel writes a node to such a layout as fast as it would by itself."""
    if node in group.late or group.closed:
        return False
    if group.kind == "gemm":
        return _has_lines(node, layout)
    if part is None:
        return False
    return is_concatenation(group) or group.kind == "rows"


def _has_lines(node: Node, layout: Layout) -> bool:
    """Whether rows of a product lie whole, or else (real numbers, which a product may compute
    transposed) columns."""
    strides = layout.strides()
    if strides is None or node.ndim < 2:
        return False
    if strides[-1] == 1:
        return node.shape[-1] >= LINE
    return node.dtype.is_float and strides[-2] == 1 and min(node.shape[-2:]) > 1


def part_place(use: Use, buffer: int, part: Layout | None) -> Place | None:
    """Where a node must lie for its use, seen through reshapes and transposes, to lie at
    ``part``."""
    assert part is not None
    if not use.chain:
        return Place(buffer, part)
    try:
        seen = push(contiguous(use.node.shape), use.chain)
    except Unresolvable:
        return None
    if seen.is_contiguous() and use.node.size == prod(part.shape):
        layout = part.reshape(use.node.shape)
    else:
        layout = _before(use.node, seen, part)
    return None if layout is None else Place(buffer, layout)


def _before(node: Node, seen: Layout, part: Layout) -> Layout | None:
    """The layout of a node whose elements, rearranged as ``seen``, lie at ``part``; None where
    ``seen`` is no rearrangement of them all."""
    strides = part.strides()
    if strides is None or seen.offset != 0 or seen.shape != part.shape:
        return None
    pieces = []  # stride in the node, size, stride in the part
    for factors, stride in zip(seen.axes, strides, strict=True):
        for n, within in reversed(factors):
            if n != 1:
                pieces.append((within, n, stride))
            stride *= n
    pieces.sort(key=lambda piece: piece[0])
    covered = 1
    for within, n, _ in pieces:
        if within != covered:
            return None
        covered *= n
    if covered != node.size:
        return None
    return Layout((tuple((n, to) for _, n, to in reversed(pieces)),), part.offset).reshape(
        node.shape
    )
