"""Where to cut a long region, so that pieces that repeat find their program in the cache.

A loop that is unrolled (a recurrent network's) makes another region for each number of steps.
One is planned whole; of other numbers a short stretch of steps is planned once, and all run it,
until such a region has come back so often that a plan of its own is worth its time.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from mlx.graph.node import Node
from mlx.runtime.described import Described

LIMIT = 4096
"""Regions of more nodes are evaluated in pieces of about this size."""
WHOLE = 4 * LIMIT
"""... but those of up to this many in one, from the second time that they are met."""
UNROLLED = 512
"""Nodes from which a region may be one of a loop's."""
STRETCH = 256
"""Nodes in the pieces of a loop that was met with another number of steps."""
MEETINGS = 8
"""How often such a region is evaluated in pieces."""
_long: set[int] = set()
_loops: dict[int, set[int]] = {}
"""For what the first loop of a region repeats, and the kinds of nodes in it: the numbers of steps
of which regions were planned whole."""
_planned: set[int] = set()
_meetings: dict[int, int] = {}
_MOST_LONG = 1 << 12
_WINDOW = 12
_STEP = 256
_SHARED = 8
"""More readers than a loop's step has for what it computes itself."""


def comes_back(key: Iterable[Any], shapes: Iterable[Any]) -> bool:
    """Whether a long region was met before: then it is worth a plan of its own."""
    sign = hash((*key, *shapes))
    if sign in _long:
        return True
    if len(_long) == _MOST_LONG:
        _long.clear()
    _long.add(sign)
    return False


def is_other_length(region: Described) -> bool:
    """Whether a region is an unrolled loop that was planned for other numbers of steps, and has
    come back seldom: it is evaluated in short pieces."""
    sign = hash((*region.key, *region.shapes))
    left = _meetings.get(sign)
    if left is None:
        if len(_meetings) == _MOST_LONG:
            for known in (_meetings, _loops, _planned):
                known.clear()
        left = MEETINGS if _is_new_length(region) else 0
    _meetings[sign] = max(left - 1, 0)
    return left > 0


def _is_new_length(region: Described) -> bool:
    shapes = region.shapes
    region.shapes = dict(shapes)
    structure = hash(region.structure())
    region.shapes = shapes
    if structure in _planned:  # with other sizes: its program is bound to these
        return False
    loop, steps = _loop_of(sorted(region.order, key=_serial))
    known = _loops.setdefault(loop, set())
    if known and steps not in known and loop:
        return True
    known.add(steps)  # as often: something else is different, such as what is asked for
    _planned.add(structure)
    return False


def _loop_of(order: list[Node]) -> tuple[int, int]:
    """A number for the first loop in a region, and one that tells numbers of steps apart; zeros
    where none begins soon."""
    signs = _signatures(order, STRETCH)
    for at in range(min(len(signs) - STRETCH, 4 * STRETCH)):
        if period := _period(signs, at, STRETCH):
            kinds = frozenset([type(node.primitive) for node in order])
            return hash((kinds, *signs[at : at + period])), signs.count(signs[at])
    return 0, 0


_serial = operator.attrgetter("serial")


def pieces(order: list[Node], limit: int = LIMIT) -> Iterator[list[Node]]:
    """The region in pieces, in order of serial.

    Where the structure repeats (a loop that never evaluated, a long chain and its gradient) a
    piece is a whole number of periods; elsewhere it is ``limit`` nodes.  ``order`` is consumed.
    """
    if len(order) <= limit:
        yield order
        return
    signs = _signatures(order, limit)
    start, loop = 0, 0
    while start < len(order):
        stop, loop = _next_cut(signs, start, limit, loop)
        while stop < len(order) and _belongs_to_previous(order[stop]):
            stop += 1
        piece = order[start:stop]
        order[start:stop] = [None] * len(piece)  # type: ignore[list-item] # no reference stays
        yield piece
        start = stop


def _belongs_to_previous(node: Node) -> bool:
    """Outputs of a node with several stay in its piece."""
    return node.primitive is not None and node.primitive.family == "pick"


def _signatures(order: list[Node], limit: int) -> list[int]:
    """What a node does, and how far back its operands are: a number each, equal where these are."""
    find = {node: i for i, node in enumerate(order)}.get
    readers = Counter([source for node in order for source in node.inputs])
    near = min(limit, STRETCH // 4) if limit < LIMIT else limit
    out = []
    for i, node in enumerate(order):
        part = node.primitive._key_part
        sign = [part[0] if part.__class__ is tuple else part, node.shape]
        for source in node.inputs:
            back = i - find(source, i)
            # an operand far back may be anywhere: it belongs to another piece, as does what all
            # steps of a loop read; a loop over what another left, last first, has all distances
            sign.append(back if back < near and readers[source] <= _SHARED else 0)
        out.append(hash(tuple(sign)))
    return out


def _next_cut(signs: list[int], start: int, limit: int, loop: int) -> tuple[int, int]:
    """Where the piece from ``start`` on ends, and the period of its loop or 0; ``loop`` is that of
    the piece before.  What is left of a loop is no part of what follows, which so depends less on
    how often the loop is repeated."""
    left = len(signs) - start
    if left <= (limit if limit == LIMIT else limit // 16):
        return len(signs), 0
    period = _period(signs, start, 8 * limit)
    if not period and loop and limit != LIMIT:
        goes_on = signs[start : start + loop] == signs[start - loop : start]
        period = loop if goes_on else 0
    if period:
        times = _repeated(signs, start, period, max(1, limit // period))
        return start + times * period, period
    step = _STEP if limit == LIMIT else 1
    for at in range(start + step, start + min(limit, left), step):  # irregular, before a loop
        if _period(signs, at, limit // 2):
            return at, 0
    return start + min(limit, left), 0


def _repeated(signs: list[int], start: int, period: int, most: int) -> int:
    """A power of two, up to ``most``, of periods that follow on each other: so loops of all
    lengths have few different pieces."""
    first, count = signs[start : start + period], 1
    while count < most:
        at = start + count * period
        if signs[at : at + period] != first:
            break
        count += 1
    return 1 << (count.bit_length() - 1)


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
