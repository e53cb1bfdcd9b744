"""What an operand really is: a solid node seen through a chain of views."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from mlx.graph.node import Node, Shape
from mlx.primitives.layout import Layout, contiguous
from mlx.primitives.reductions import Broadcast

Chain = tuple[Node, ...]


LONG_CHAIN = 32
"""Of chains of more views, all that must be written out is found at once: otherwise each attempt
at a plan would find one."""


class Unresolvable(Exception):
    """A view that strides cannot say; ``node`` must be written out for it, and ``later`` too."""

    def __init__(self, node: Node, later: Sequence[Node] = ()) -> None:
        super().__init__(node)
        self.node = node
        self.later = later


@dataclass(frozen=True, slots=True)
class Use:
    """A solid node (one with elements of its own) seen through views, innermost first."""

    node: Node
    chain: Chain

    def through(self, outer: Chain) -> Use:
        return Use(self.node, self.chain + outer) if outer else self


def passed_through(node: Node) -> Node | None:
    """The operand that an output of a pass-through node (custom, barrier) simply is."""
    if node.primitive is None or node.primitive.family != "pick" or not node.inputs:
        return None
    source = node.inputs[0]
    if source.primitive is None or source.data is not None:
        return None
    position = node.primitive.index
    if source.primitive.family == "custom":
        return source.inputs[source.primitive.count + position]
    if source.primitive.family == "barrier":
        return source.inputs[position]
    return None


def is_view(node: Node) -> bool:
    return node.primitive is not None and node.primitive.family == "view" and node.data is None


class Uses:
    """Resolves operands; ``solid`` views are those that get memory of their own, ``same``
    gives the node that computes what another one would compute again."""

    def __init__(self, solid: set[Node], same: Mapping[Node, Node] | None = None) -> None:
        self.solid = solid
        self.same = same or {}
        self._known: dict[Node, Use] = {}

    def of(self, node: Node) -> Use:
        """The use that an operand stands for."""
        found = self._known.get(node)
        if found is None:
            chain: list[Node] = []
            same = self.same
            at = same.get(node, node)
            while at not in self.solid and at.data is None:
                below = passed_through(at)
                if below is not None:
                    at = same.get(below, below)
                elif is_view(at):
                    chain.append(at)
                    at = same.get(at.inputs[0], at.inputs[0])
                else:
                    break
            found = self._known[node] = Use(at, tuple(reversed(chain)))
        return found


COMPUTED = frozenset({"elementwise", "reduction", "view", "source", "pick", "custom", "barrier"})
"""Families whose operands may be computed where they are read."""


def read_whole(nodes: Iterable[Node], uses: Uses) -> set[Node]:
    """What kernels that are no loop nests read: it must lie in memory."""
    other = (n for n in nodes if n.primitive.family not in COMPUTED)
    return {uses.of(i).node for node in other for i in node.inputs}


def push(layout: Layout, chain: Chain) -> Layout:
    """A layout seen through views.  Raises Unresolvable with the node to write out."""
    for at, view in enumerate(chain):
        found = view.primitive.layout(layout)
        if found is None:
            later = _stuck_later(chain[at:]) if len(chain) > LONG_CHAIN else ()
            raise Unresolvable(view.inputs[0], later)
        layout = found
    return layout


def _stuck_later(chain: Chain) -> list[Node]:
    """What else must be written out of a chain whose first view reads what will be."""
    stuck: list[Node] = []
    layout = contiguous(chain[0].inputs[0].shape)
    for view in chain:
        found = view.primitive.layout(layout)
        if found is None:
            stuck.append(view.inputs[0])
            found = view.primitive.layout(contiguous(view.inputs[0].shape))
        if found is None:
            break
        layout = found
    return stuck


def culprit(chain: Chain) -> Node:
    """The view to write out where strides can't say a chain: what a last broadcast repeats, unless
    there is no other."""
    kept = len(chain)
    while kept > 1 and isinstance(chain[kept - 1].primitive, Broadcast):
        kept -= 1
    return chain[kept - 1]


def seen_as(layout: Layout, chain: Chain, root: Shape, of: Node | None = None) -> Layout:
    """A layout (of a node) through views, arranged over the axes of a kernel's root shape."""
    layout = push(layout, chain)
    if layout.shape == root:
        return layout
    found = layout.reshape(root)
    if found is None:
        blamed = culprit(chain) if chain else of
        assert blamed is not None
        raise Unresolvable(blamed)
    return found


def alignment(use: Use, rows: int | None, size: int) -> str:
    """How a value of ``use.node`` lies in an iteration space of ``size`` elements in ``rows``.

    ``full``: element i belongs to iteration i; ``row``: element r to row r; else ``none``.
    """
    node = use.node
    if node.size == size and not use.chain:
        return "full"
    try:
        layout = push(contiguous(node.shape), use.chain)
    except Unresolvable:
        return "none"
    if node.size == size and layout.is_contiguous():
        return "full"
    if rows is None or node.size != rows or rows == 0 or layout_size(layout) != size:
        return "none"
    split = layout.reshape((rows, size // rows))
    if split is None or any(stride for n, stride in split.axes[1] if n != 1):
        return "none"
    return "row" if Layout((split.axes[0],)).is_contiguous() else "none"


def layout_size(layout: Layout) -> int:
    total = 1
    for n in layout.shape:
        total *= n
    return total


def solid_views(nodes: list[Node], outputs: set[Node]) -> tuple[set[Node], dict[Node, Use]]:
    """Outputs that are views or sources: those to be copied, and those that alias memory."""
    solid: set[Node] = set()
    aliases: dict[Node, Use] = {}
    for node in nodes:
        if node not in outputs:
            continue
        family = node.primitive.family
        if family == "source":
            solid.add(node)
        if family == "view" or passed_through(node) is not None:
            use = Uses(solid).of(node)
            if _aliases(use):
                aliases[node] = use
            else:
                solid.add(node)
    return solid, aliases


def _aliases(use: Use) -> bool:
    """Whether a view's elements are consecutive in its source (and most of it)."""
    node = use.node
    if is_view(node) or (node.primitive is not None and node.primitive.family == "source"):
        return False
    try:
        layout = push(contiguous(node.shape), use.chain)
    except Unresolvable:
        return False
    viewed = prod(layout.shape)
    return layout.is_contiguous() and viewed > 0 and viewed * 4 >= node.size
