"""A recorded graph as plain data (lists, numbers, text) that a file can hold, and back.

A graph is ``{"inputs", "nodes", "outputs", "constants"}``.  Values are numbered: the inputs,
the constants, then a node each, ``[name, fields, operands, type]``; the type, (shape, dtype),
is null where the primitive infers it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.node import Node, ancestors, record
from mlx.graph.trace import Trace, placeholder
from mlx.primitives.base import Full, Iota, Pick, Primitive, Source, registry
from mlx.primitives.custom import CompiledCall, Custom
from mlx.primitives.indexing import Gather, Scatter, ScatterSum, SliceAdd, SliceUpdate
from mlx.primitives.reductions import Broadcast
from mlx.primitives.views import Embed, Slice, Transpose

FORMAT = "mlx-jit function 1"
_MEANINGLESS = (Custom, CompiledCall)
"""Primitives that hold Python functions."""


def portable(
    inputs: Sequence[Node], outputs: Sequence[Node], start: int
) -> tuple[dict[str, Any], list[Node]]:
    """The graph as data, and the nodes of its constants: values, and what is older than
    ``start``."""
    given = set(inputs)
    order = [n for n in ancestors(outputs, start) if n not in given and n.primitive is not None]
    read = {s: None for n in [*order, *outputs] for s in (*n.inputs, n)}
    constants = [n for n in read if n not in given and (n.serial <= start or n.primitive is None)]
    number = {node: i for i, node in enumerate([*inputs, *constants])}
    nodes: list[Any] = []
    for node in order:
        if isinstance(node.primitive, Custom):
            continue
        source = _through(node)
        if source is not node:
            number[node] = number[source]
            continue
        number[node] = len(inputs) + len(constants) + len(nodes)
        operands = [number[source] for source in node.inputs]
        nodes.append([node.primitive.name, _fields(node.primitive), operands, _type(node)])
    graph = {
        "inputs": [[list(node.shape), node.dtype.name] for node in inputs],
        "nodes": nodes,
        "outputs": [number[_through(node)] for node in outputs],
        "constants": len(constants),
    }
    return graph, constants


def _through(node: Node) -> Node:
    """What a pick of a custom function's output stands for: rules stay behind in Python."""
    while type(node.primitive) is Pick and isinstance(node.inputs[0].primitive, Custom):
        custom = node.inputs[0]
        node = custom.inputs[custom.primitive.count + node.primitive.index]
    return node


def _type(node: Node) -> Any:
    if not isinstance(node.primitive, Source):
        return None
    return [list(node.shape), node.dtype.name]


def _fields(primitive: Primitive) -> list[Any]:
    return [
        _plain(getattr(primitive, field.name))
        for field in dataclasses.fields(primitive)  # type: ignore[arg-type]
    ]


def _plain(value: Any) -> Any:
    if isinstance(value, Dtype):
        return {"dtype": value.name}
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    return [_plain(v) for v in value] if isinstance(value, tuple) else value


def _value(plain: Any) -> Any:
    if isinstance(plain, list):
        return tuple(_value(v) for v in plain)
    if not isinstance(plain, dict):
        return plain
    return dt.dtype_named(plain["dtype"]) if "dtype" in plain else complex(*plain["complex"])


def described_inputs(opened: Trace, graph: dict[str, Any]) -> list[Node]:
    """Placeholders for a graph's inputs."""
    types = graph["inputs"]
    return [placeholder(opened, tuple(shape), dt.dtype_named(dtype)) for shape, dtype in types]


def rebuilt(graph: dict[str, Any], inputs: Sequence[Node], constants: Sequence[Node]) -> list[Node]:
    """All values of a graph by number.  Raises ValueError where it is not sound."""
    known = [*inputs, *constants]
    for name, fields, operands, given in graph["nodes"]:
        kind = _classes().get(name)
        if kind is None:
            raise ValueError(f"it holds the unknown operation {name!r}")
        primitive = kind(*(_value(f) for f in fields))
        sources = [known[i] for i in operands]
        _check(primitive, sources)
        if isinstance(primitive, Source):
            shape, dtype = given
            known.append(Node(primitive, (), tuple(shape), dt.dtype_named(dtype)))
        else:
            known.append(record(primitive, *sources))
    return known


_known: dict[str, type] = {}


def _classes() -> dict[str, type]:
    if not _known:
        _known.update((c.__name__, c) for c in registry() if c not in _MEANINGLESS)
    return _known


def _check(primitive: Any, sources: Sequence[Node]) -> None:
    """What ``ops`` check before they record, as far as memory depends on it."""
    ndim = max((x.ndim for x in sources if x.dtype is not None), default=0)
    axis = getattr(primitive, "axis", None)
    sound = axis is None or isinstance(primitive, Iota) or 0 <= axis < ndim
    checked = _SOUND.get(type(primitive))
    if not sound or (checked is not None and not checked(primitive, *sources)):
        raise ValueError(f"{primitive} does not apply to {[x.shape for x in sources]}")


def _places(primitive: Any, inside: Node, out: tuple[int, ...]) -> bool:
    Slice(primitive.starts, primitive.steps, inside.shape).infer(Node(None, (), out, inside.dtype))
    return len(primitive.starts) == len(primitive.steps) == len(out) == inside.ndim


def _axes(primitive: Any, *sources: Node) -> bool:
    """Indexed axes are distinct axes of the data, between those that run together."""
    axes, first, behind = primitive.axes, primitive.batch, primitive.behind
    data = len(primitive.shape) if isinstance(primitive, ScatterSum) else sources[0].ndim
    inside = all(first <= a < data - behind for a in axes) and min(first, behind) >= 0
    return len(set(axes)) == len(axes) and inside


def _stretches(primitive: Broadcast, x: Node) -> bool:
    axes, shape = primitive.axes, primitive.shape
    return list(axes) == sorted(set(axes)) and all(
        n in (1, shape[a]) for a, n in zip(axes, x.shape, strict=True)
    )


_SOUND: dict[type, Callable[..., bool]] = {
    Transpose: lambda p, x: sorted(p.axes) == list(range(x.ndim)),
    Broadcast: _stretches,
    Slice: lambda p, x: len(p.starts) == x.ndim,
    Embed: lambda p, x: _places(p, x, p.shape),
    SliceUpdate: lambda p, x, update: _places(p, update, x.shape),
    SliceAdd: lambda p, x, part: _places(p, part, x.shape),
    Gather: _axes,
    Scatter: _axes,
    ScatterSum: _axes,
    Full: lambda p: isinstance(p.value, (bool, int, float, complex)),
}
