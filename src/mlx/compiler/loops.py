"""From layouts over a root shape to loops: the axes split until every operand has one stride
a loop, then merged wherever every operand allows."""

from __future__ import annotations

from collections.abc import Sequence

from mlx.compiler.uses import Unresolvable
from mlx.graph.node import Node, Shape
from mlx.primitives.layout import Factors, Layout, merge


def loops_of(
    layouts: Sequence[Layout],
    culprits: Sequence[Node | None],
    root: Shape,
    columns: bool,
) -> tuple[list[int], int, list[list[int]]]:
    """Outer loop sizes, the inner size, and for each layout its stride in every loop.

    With ``columns`` the root is (outer, reduced, inner), and the reduced axis is the last outer
    loop.  Raises Unresolvable with the view to write out where an axis that must be one loop
    isn't, or where sizes don't divide one another.
    """
    split = [_split_axis(layouts, culprits, axis, n) for axis, n in enumerate(root)]
    if len(root) == 1:
        loops = merge_loops(*split[0])
        *outer, inner = loops
        sizes, strides = [n for n, _ in outer], [s for _, s in outer]
        return sizes, inner[0], _by_layout([*strides, inner[1]], len(layouts))
    fixed = [_single(layouts, culprits, axis) for axis in range(1, len(root))]
    outer = [loop for loop in merge_loops(*split[0]) if loop[0] != 1]
    if columns:
        outer.append((root[1], fixed[0]))
    sizes = [n for n, _ in outer]
    return sizes, root[-1], _by_layout([*(s for _, s in outer), fixed[-1]], len(layouts))


def _by_layout(by_loop: list[list[int]], count: int) -> list[list[int]]:
    return [[strides[i] for strides in by_loop] for i in range(count)]


def _single(layouts: Sequence[Layout], culprits: Sequence[Node | None], axis: int) -> list[int]:
    """Strides along an axis that must be one loop."""
    out = []
    for layout, culprit in zip(layouts, culprits, strict=True):
        factors = merge(layout.axes[axis])
        if len(factors) > 1:
            raise _blame(culprit)
        out.append(factors[0][1] if factors else 0)
    return out


def _blame(culprit: Node | None) -> Exception:
    if culprit is None:
        return AssertionError("an operand without views must have one stride an axis")
    return Unresolvable(culprit)


def _split_axis(
    layouts: Sequence[Layout], culprits: Sequence[Node | None], axis: int, size: int
) -> tuple[list[int], list[list[int]]]:
    """Sizes of the common refinement of an axis, outermost first, and strides of each layout."""
    if size == 0:
        return [0], [[0] * len(layouts)]
    cuts = {1, size}
    for layout, culprit in zip(layouts, culprits, strict=True):
        at = 1
        for n, _ in reversed(merge(layout.axes[axis])):
            at *= n
            cuts.add(at)
            if not _divides(cuts, at):
                raise _blame(culprit)
    edges = sorted(cuts)
    sizes = [b // a for a, b in zip(edges, edges[1:], strict=False)] or [1]
    strides = [_strides(merge(layout.axes[axis]), sizes) for layout in layouts]
    by_loop = [[s[i] for s in strides] for i in range(len(sizes))]
    return sizes[::-1], by_loop[::-1]


def _divides(cuts: set[int], at: int) -> bool:
    return all(at % c == 0 if c < at else c % at == 0 for c in cuts)


def _strides(factors: Factors, sizes: list[int]) -> list[int]:
    """The stride in each loop (innermost first) of an axis with these factors."""
    out: list[int] = []
    pending = list(factors)[::-1]
    used, at = 1, 0
    for size in sizes:
        if at >= len(pending):
            out.append(0)
            continue
        n, stride = pending[at]
        out.append(stride * used)
        used *= size
        if used == n:
            used, at = 1, at + 1
    return out


def merge_loops(sizes: list[int], strides: list[list[int]]) -> list[tuple[int, list[int]]]:
    """Join neighbouring loops that every operand walks as one; loops of size 1 vanish."""
    loops: list[tuple[int, list[int]]] = []
    for n, step in zip(sizes, strides, strict=True):
        if n == 1:
            continue
        if loops:
            m, outer = loops[-1]
            if all(o == s * n for o, s in zip(outer, step, strict=True)):
                loops[-1] = (m * n, step)
                continue
        loops.append((n, step))
    return loops or [(1, [0] * len(strides[0]))]
