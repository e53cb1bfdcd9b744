"""Where to cut a long region, so that pieces that repeat find their program in the cache."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from mlx.graph.node import Node

LIMIT = 4096
"""Regions of more nodes are evaluated in pieces of about this size."""
WHOLE = 4 * LIMIT
"""... but those of up to this many in one, from the second time that they are met."""
_long: set[int] = set()
_MOST_LONG = 1 << 12
_LONGEST = 8 * LIMIT
_WINDOW = 12
_STEP = 256


def comes_back(key: Iterable[Any], shapes: Iterable[Any]) -> bool:
    """Whether a long region was met before: then it is worth a plan of its own."""
    sign = hash((*key, *shapes))
    if sign in _long:
        return True
    if len(_long) == _MOST_LONG:
        _long.clear()
    _long.add(sign)
    return False


def pieces(order: list[Node]) -> Iterator[list[Node]]:
    """The region in pieces, in order of serial.

    Where the structure repeats (a loop that never evaluated, a long chain and its gradient) a
    piece is a whole number of periods; elsewhere it is LIMIT nodes.  ``order`` is consumed.
    """
    if len(order) <= LIMIT:
        yield order
        return
    signs = _signatures(order)
    start = 0
    while start < len(order):
        stop = _next_cut(signs, start)
        while stop < len(order) and _belongs_to_previous(order[stop]):
            stop += 1
        piece = order[start:stop]
        order[start:stop] = [None] * len(piece)  # type: ignore[list-item] # no reference stays
        yield piece
        start = stop


def _belongs_to_previous(node: Node) -> bool:
    """Outputs of a node with several stay in its piece."""
    return node.primitive is not None and node.primitive.family == "pick"


def _signatures(order: list[Node]) -> list[int]:
    """What a node does, and how far back its operands are: a number each, equal where these are."""
    find = {node: i for i, node in enumerate(order)}.get
    numbers: dict[Any, int] = {}
    number, out = numbers.setdefault, []
    for i, node in enumerate(order):
        part = node.primitive._key_part
        sign = [part[0] if part.__class__ is tuple else part, node.shape]
        for source in node.inputs:
            back = i - find(source, i)
            # an operand far back may be anywhere: it belongs to another piece
            sign.append(back if back < LIMIT else 0)
        out.append(number(tuple(sign), len(numbers)))
    return out


def _next_cut(signs: list[int], start: int) -> int:
    left = len(signs) - start
    if left <= LIMIT:
        return len(signs)
    period = _period(signs, start, _LONGEST)
    if period:
        return start + max(1, LIMIT // period) * period
    for at in range(start + _STEP, start + LIMIT, _STEP):  # an irregular stretch before a loop
        if _period(signs, at, LIMIT // 2):
            return at
    return start + LIMIT


def _period(signs: list[int], start: int, longest: int) -> int:
    """The length after which the structure at ``start`` is met again; 0 if it isn't."""
    first = signs[start : start + _WINDOW]
    stop = min(start + longest, len(signs) - _WINDOW)
    at = start
    while True:
        try:
            at = signs.index(first[0], at + 1, stop)
        except ValueError:
            return 0
        if signs[at : at + _WINDOW] == first:
            period = at - start
            if signs[start:at] == signs[at : at + period]:
                return period
