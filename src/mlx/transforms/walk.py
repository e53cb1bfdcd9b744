"""What every transformation reads: the nodes between the outputs and the inputs of a function."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterable

from mlx.graph.node import Node, ancestors


def dependents(
    outputs: Iterable[Node], inputs: Collection[Node], start: int, smooth: bool = False
) -> tuple[list[Node], set[Node]]:
    """Nodes that ``outputs`` need and that depend on ``inputs``, in topological order, and a
    set of these with the inputs.

    Nothing older than ``start`` depends on the inputs.  With ``smooth``, dependence through
    what no derivative passes does not count.
    """
    marked = set(inputs)
    order = []
    for node in ancestors(outputs, start):
        if node in marked:
            continue
        for source in node.inputs:
            if source in marked:
                if not (smooth and node.primitive.flat):
                    marked.add(node)
                    order.append(node)
                break
    return order, marked


class without_collection:  # noqa: N801 (read as a statement)
    """Pause the garbage collector while a long walk records: nodes form no cycles, and
    scanning them again and again took a third of the time of a gradient of 10^6 nodes."""

    __slots__ = ("_pause",)

    def __init__(self, nodes: int) -> None:
        self._pause = nodes > 10_000 and gc.isenabled()

    def __enter__(self) -> None:
        if self._pause:
            gc.disable()

    def __exit__(self, *exc: object) -> None:
        if self._pause:
            gc.enable()
