"""Reverse and forward derivatives of a recorded graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from mlx.graph import trace
from mlx.graph.chains import Chain, balance, spelled_out
from mlx.graph.node import Node, ancestors, next_serial
from mlx.primitives.base import Pick
from mlx.primitives.elementwise import Add
from mlx.primitives.indexing import SliceAdd
from mlx.primitives.views import Concatenate, Embed, Transpose
from mlx.transforms import repeated
from mlx.transforms.joint import Derivative, Joint
from mlx.transforms.walk import dependents, without_collection

_ADD = Add()
_MOST_PARTS = 16
"""Of a split whose cotangent is a concatenation."""


def _plus(a: Node | None, b: Node) -> Node:
    """The sum; what comes from a slice is added in its place, so that many slices of an array
    cost no more than the array, and transposes are added before they are turned."""
    if a is None:
        return b
    if type(a.primitive) is Transpose and a.primitive == b.primitive and a.inputs and b.inputs:
        return Node(a.primitive, (_plus(a.inputs[0], b.inputs[0]),), a.shape, a.dtype)
    if type(a.primitive) is Embed and type(b.primitive) is not Embed:
        a, b = b, a
    if type(b.primitive) is Embed and b.data is None:
        return SliceAdd(b.primitive.starts, b.primitive.steps)(a, b.inputs[0])
    return Node(_ADD, (a, b), a.shape, a.dtype)


def _joined(cotangent: Node) -> Node:
    """A cotangent that was added up of slices: a concatenation where each element is in one of
    them, as of what was split, so that kernels can write their parts into it."""
    parts = []
    at = cotangent
    while type(at.primitive) in (SliceAdd, Embed) and at.data is None:
        parts.append((at.primitive.starts, at.inputs[-1]))
        if any(step != 1 for step in at.primitive.steps) or len(parts) > _MOST_PARTS:
            return cotangent
        if type(at.primitive) is Embed:
            parts.sort(key=lambda part: part[0])
            axis = _axis_of_parts(parts, at.shape)
            return cotangent if axis is None else Concatenate(axis)(*[x for _, x in parts])
        at = at.inputs[0]
    return cotangent


def _axis_of_parts(
    parts: Sequence[tuple[tuple[int, ...], Node]], shape: tuple[int, ...]
) -> int | None:
    """The axis along which parts (with their starts) follow one another and fill a shape."""
    cut = [a for a, size in enumerate(shape) if any(x.shape[a] != size for _, x in parts)]
    if len(cut) != 1:
        return None
    (axis,) = cut
    end = 0
    for starts, x in parts:
        if starts[axis] != end:
            return None
        end += x.shape[axis]
    return axis if end == shape[axis] else None


def vjp(
    outputs: Sequence[Node],
    inputs: Sequence[Node],
    cotangents: Sequence[Node | None],
    start: int,
    alone: bool = False,
) -> list[Node | None]:
    """Cotangents of ``inputs`` from those of ``outputs``; None where nothing arrives.

    At the second meeting of a graph they are kept, from then on repeated; where no other
    transformation can follow, ``alone``, one node may stand for all that they need, and for the
    graph itself.
    """
    met = repeated.of_derivative("vjp", outputs, inputs, cotangents, start)
    key, given = met or (None, [])
    known = met is not None and repeated.known(key)
    if isinstance(known, Derivative) and (found := known.of(given, alone)) is not None:
        return found
    joint = None
    if known is True and alone:
        seeds = [one for one in cotangents if one is not None]
        joint = Joint(given, len(inputs) + len(seeds), start)
    is_whole = trace.has_wholes()
    if is_whole:
        spelled_out(outputs, start)
        trace.spelled_out()
        if joint is None:
            balance.unknown(len(given) if known else 0)
            return vjp(outputs, inputs, cotangents, start, alone)
    order, marked = dependents(outputs, inputs, start, smooth=True)
    keep, before = known is True and repeated.repeatable(order), next_serial()
    found = _vjp(outputs, inputs, cotangents, (order, marked))
    if keep:
        _learn(key, given, (outputs, start), (found, before), joint, is_whole)
    return found


def _learn(
    key: Any,
    given: Sequence[Node],
    graph: tuple[Sequence[Node], float],
    derivative: tuple[Sequence[Node | None], float],
    joint: Joint | None,
    is_whole: bool,
) -> None:
    """Keep a derivative, recorded after a serial, of a graph that was recorded after another;
    nodes of the graph that was described stand for others where it ``is_whole``."""
    (outputs, start), (found, before) = graph, derivative
    backward = ancestors([node for node in found if node is not None], before)
    forward = []
    if joint is not None:
        apart = joint.apart(given)
        forward = [node for node in ancestors(outputs, start) if node not in apart]
        if not joint.learn(given, forward, backward, found):
            joint = None
    transformed = None if is_whole else repeated.transformed(given, backward, found)
    if joint is not None or transformed is not None:
        known = Derivative(transformed, joint)
        repeated.keep(key, known, len(forward) + len(backward))


def _vjp(
    outputs: Sequence[Node],
    inputs: Sequence[Node],
    cotangents: Sequence[Node | None],
    dependent: tuple[list[Node], set[Node]],
) -> list[Node | None]:
    """One walk in falling order of serial: when it reaches a node, all that use the node have
    given their share.  A node with several outputs is older than its picks, hence has them all.
    """
    order, marked = dependent
    single: dict[Node, Node] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        if cotangent is not None and output in marked:
            single[output] = _plus(single.get(output), cotangent)
    with without_collection(len(order)):
        _reverse(order, marked, single)
    found = [single.get(node) for node in inputs]
    return [None if one is None else _joined(one) for one in found]


def _reverse(order: list[Node], marked: set[Node], single: dict[Node, Node]) -> None:
    """Replace the cotangents in ``single`` by those of the inputs; uses ``order`` up."""
    several: dict[Node, list[Node | None]] = {}
    while order:
        node = order.pop()
        if node.dtype is None:
            one, arrived = None, several.pop(node, None)
        else:
            one = arrived = None
            if (whole := single.pop(node, None)) is not None:
                one = _joined(whole)
                arrived = [one]
        if arrived is None:
            continue
        primitive, sources = node.primitive, node.inputs
        if type(primitive) is Pick:
            _arrive(several, sources[0], primitive.index, arrived[0])
            continue
        wanted = [source in marked for source in sources]
        if primitive.by_types and one is not None:
            shares = _repeated(node, one, wanted)
        else:
            shares = _shares(node, arrived, wanted)
        for source, share in shares:
            before = single.get(source)
            single[source] = share if before is None else _plus(before, share)


_rules: dict[Any, tuple[list[int], Chain] | None] = {}
RULES = 4096


def _repeated(node: Node, cotangent: Node, wanted: list[bool]) -> Iterable[tuple[Node, Node]]:
    """The shares of the inputs by a rule that sees types alone: at the second meeting of these
    types it is worked out, from then on repeated."""
    primitive, sources = node.primitive, node.inputs
    key = (
        primitive._key_part, node.shape, node.dtype, cotangent.dtype, *wanted,
        *[s.shape for s in sources], *[s.dtype for s in sources],
    )  # fmt: skip
    try:
        rule = _rules[key]
    except KeyError:
        if len(_rules) >= RULES:
            _rules.clear()
        _rules[key] = None
        return _shares(node, [cotangent], wanted)
    if rule is None:
        rule = _rules[key] = _rule(node, cotangent, wanted)
    positions, chain = rule
    return zip(
        [sources[at] for at in positions], chain.repeat(*sources, node, cotangent), strict=True
    )


def _rule(node: Node, cotangent: Node, wanted: list[bool]) -> tuple[list[int], Chain]:
    """Which inputs a rule gives shares, and what it records of inputs, result and cotangent."""
    inputs = [Node(None, (), s.shape, s.dtype) for s in node.inputs]
    out = Node(node.primitive, tuple(inputs), node.shape, node.dtype)
    arrived = Node(None, (), cotangent.shape, cotangent.dtype)
    found = dict(_shares(out, [arrived], wanted))
    made = list(found.values())
    chain = Chain([*inputs, out, arrived], ancestors(made, arrived.serial), made)
    return [inputs.index(source) for source in found], chain


def _shares(
    node: Node, arrived: Sequence[Node | None], wanted: list[bool]
) -> list[tuple[Node, Node]]:
    """What each wanted input gets of a node's cotangents."""
    shares = node.primitive.vjp(node, arrived, wanted)
    return [
        (source, share)
        for source, share, want in zip(node.inputs, shares, wanted, strict=True)
        if want and share is not None
    ]


def _arrive(
    several: dict[Node, list[Node | None]], node: Node, index: int, cotangent: Node | None
) -> None:
    slots = several.setdefault(node, [None] * len(node.shape))
    if cotangent is not None:
        slots[index] = _plus(slots[index], cotangent)


def jvp(
    outputs: Sequence[Node],
    inputs: Sequence[Node],
    tangents: Sequence[Node | None],
    start: int,
    alone: bool = False,
) -> list[Node | None]:
    """Tangents of ``outputs`` from those of ``inputs``; None where nothing arrives."""
    found: repeated.Transformed | bool = False
    met = repeated.of_derivative("jvp", outputs, inputs, tangents, start)
    if met is not None:
        key, given = met
        found = repeated.known(key)
        if isinstance(found, repeated.Transformed):
            return found.of(given, alone)
    known: dict[Node, Node | None] = dict(zip(inputs, tangents, strict=True))
    order, _ = dependents(outputs, inputs, start, smooth=True)
    before = next_serial()
    with without_collection(len(order)):
        _forward(order, known)
    made = [known.get(node) for node in outputs]
    if found and repeated.repeatable(order):
        repeated.learn(key, given, made, before)
    return made


def _forward(order: list[Node], known: dict[Node, Node | None]) -> None:
    """Add the tangents of the nodes of ``order`` to those of the inputs."""
    several: dict[Node, Sequence[Node | None]] = {}
    for node in order:
        primitive, sources = node.primitive, node.inputs
        if type(primitive) is Pick:
            slots = several.get(sources[0])
            known[node] = None if slots is None else slots[primitive.index]
            continue
        given = [known.get(source) for source in sources]
        if all(tangent is None for tangent in given):
            continue
        made = primitive.jvp(node, given)
        if node.dtype is None:
            several[node] = made
        else:
            known[node] = made[0]
