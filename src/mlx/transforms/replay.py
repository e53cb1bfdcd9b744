"""A recorded graph applied to other inputs: substitution and batching."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import chain

from mlx.graph.node import Node, next_serial, record
from mlx.graph.trace import Trace, placeholder
from mlx.primitives.base import Full, Pick, picks
from mlx.primitives.custom import Custom, Rules
from mlx.primitives.reductions import broadcast_axes
from mlx.primitives.views import moveaxis
from mlx.transforms import repeated
from mlx.transforms.walk import dependents


def substitute(outputs: Sequence[Node], mapping: Mapping[Node, Node], start: int) -> list[Node]:
    """``outputs`` recomputed with each node in ``mapping`` replaced by another.

    Shared are the nodes that depend on none of them.  Operands of other shapes or dtypes give
    results of other types as far as the recorded parameters allow.
    """
    known = dict(mapping)
    order, _ = dependents(outputs, mapping, start)
    for node in order:
        sources = tuple([known.get(source, source) for source in node.inputs])
        if _same_types(sources, node.inputs):
            known[node] = Node(node.primitive, sources, node.shape, node.dtype)
        else:
            known[node] = record(node.primitive, *sources)
    return [known.get(node, node) for node in outputs]


def _same_types(a: Sequence[Node], b: Sequence[Node]) -> bool:
    return all(
        x.shape == y.shape and x.dtype is y.dtype for x, y in zip(a, b, strict=True) if x is not y
    )


def batch(
    outputs: Sequence[Node],
    inputs: Sequence[Node],
    batched: Sequence[Node],
    size: int,
    start: int,
    alone: bool = False,
) -> list[Node | None]:
    """``outputs`` for ``size`` inputs at once: ``batched`` stands for ``inputs`` with the batch
    axis in front, as has every result; None for an output that depends on no input.

    What is met again is repeated, as :func:`mlx.transforms.derivatives.vjp` does.
    """
    met = repeated.of_batch(outputs, inputs, batched, start)
    found: repeated.Transformed | bool = False
    if met is not None:
        key, given = met
        found = repeated.known(key)
        if isinstance(found, repeated.Transformed):
            return found.of(given, alone)
    order, _ = dependents(outputs, inputs, start)
    before = next_serial()
    made = _batch(outputs, dict(zip(inputs, batched, strict=True)), order, size)
    if found and not any([type(node.primitive) is Custom for node in order]):
        repeated.learn(key, given, made, before)
    return made


def _batch(
    outputs: Sequence[Node], known: dict[Node, Node], order: Sequence[Node], size: int
) -> list[Node | None]:
    """``outputs`` for a batch of those that are ``known``, by the nodes that depend on them."""
    several: dict[Node, Sequence[Node]] = {}
    for node in order:
        primitive = node.primitive
        if type(primitive) is Pick:
            known[node] = several[node.inputs[0]][primitive.index]
        elif type(primitive) is Custom:
            several[node] = _batch_custom(primitive, node, known, size)
        else:
            sources = [_stretch(known, source, size) for source in node.inputs]
            made = primitive.vmap(size, *sources)
            if node.dtype is None:
                several[node] = picks(made)
            else:
                known[node] = made
    return [known.get(node) for node in outputs]


def _stretch(known: Mapping[Node, Node], node: Node, size: int) -> Node:
    """The batched node, or a node the same for the whole batch with the axis in front."""
    found = known.get(node)
    if found is not None:
        return found
    if node.dtype is None:
        raise AssertionError("only picks read a node with several outputs")
    if type(node.primitive) is Full:
        return Node(node.primitive, (), (size, *node.shape), node.dtype)
    return broadcast_axes(node, (size, *node.shape), range(1, node.ndim + 1))


def _batch_custom(
    custom: Custom, node: Node, known: Mapping[Node, Node], size: int
) -> Sequence[Node]:
    primals, outputs = custom.split(node.inputs)
    if custom.rules.vmap is not None:
        axes = [0 if x in known else None for x in primals]
        made, made_axes = custom.rules.vmap([known.get(x, x) for x in primals], axes)
        return [_at_front(x, axis, size) for x, axis in zip(made, made_axes, strict=True)]
    rules = Rules(_batch_rule(custom.rules.vjp, size), _batch_rule(custom.rules.jvp, size))
    sources = [_stretch(known, x, size) for x in node.inputs]
    return picks(Custom(custom.count, rules)(*sources))


def _batch_rule(
    rule: Callable[..., Sequence[Node | None]] | None, size: int
) -> Callable[..., Sequence[Node | None]] | None:
    """A vjp or jvp rule for operands that all have the batch axis in front."""
    if rule is None:
        return None

    def batched(*groups: Sequence[Node | None]) -> Sequence[Node | None]:
        with Trace("vmap of a custom_function") as trace:
            stands = [[_element(trace, node) for node in group] for group in groups]
            made = rule(*stands)
        pairs = zip(chain(*stands), chain(*groups), strict=True)
        whole = {stand: node for stand, node in pairs if stand is not None and node is not None}
        given = [node for node in made if node is not None]
        results = iter(batch(given, list(whole), list(whole.values()), size, trace.start))
        return [
            None if node is None else _at_front(node, None, size) if found is None else found
            for node, found in ((n, n and next(results)) for n in made)
        ]

    return batched


def _element(trace: Trace, node: Node | None) -> Node | None:
    """Stands for one element of a batch."""
    return None if node is None else placeholder(trace, node.shape[1:], node.dtype)


def _at_front(node: Node, axis: int | None, size: int) -> Node:
    if axis is None:
        return broadcast_axes(node, (size, *node.shape), range(1, node.ndim + 1))
    return moveaxis(node, axis % node.ndim, 0)
