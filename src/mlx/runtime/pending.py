"""What waits for evaluation: nodes without data, among them calls of compiled functions."""

from __future__ import annotations

import operator
from collections.abc import Sequence

from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime.buffer import Buffer

_serial = operator.attrgetter("serial")


def collect(roots: Sequence[Node]) -> tuple[list[Node], list[Node], bool]:
    """The unevaluated nodes that ``roots`` need, in order of serial, the calls of compiled
    functions among them, and whether some only wait for the data of a finished call."""
    seen = set(roots)
    stack = list(seen)
    calls: list[Node] = []
    finished = False
    add, push, pop = seen.add, stack.append, stack.pop
    while stack:
        for node in pop().inputs:
            data = node.data
            if data is None:
                if node not in seen:
                    add(node)
                    push(node)
                    if node.dtype is None and node.primitive.family == "compiled":
                        calls.append(node)
            elif type(data) is not Buffer:
                if type(data) is not tuple:
                    raise data.error()
                finished = True
    order = list(seen)
    if len(order) > 1:
        order.sort(key=_serial)
        calls.sort(key=_serial)
    return order, calls, finished


def settle(order: Sequence[Node]) -> bool:
    """Give the outputs of finished compiled calls their data; whether there were any."""
    settled = []
    for node in order:
        inputs = node.inputs
        if inputs and inputs[0].dtype is None and (data := inputs[0].data) is not None:
            if type(data) is not tuple:
                raise data.error()
            node.data = data[node.primitive.index]
            settled.append(node)
    trace.evaluated(settled)
    return bool(settled)


def are_results(nodes: Sequence[Node]) -> bool:
    """Whether they are likely results of compiled functions."""
    node = nodes[0]
    if node.dtype is not None:
        if not node.inputs:
            return False
        node = node.inputs[0]
    return node.dtype is None and node.primitive.family == "compiled"
