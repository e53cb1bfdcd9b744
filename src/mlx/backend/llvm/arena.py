"""Where temporary buffers lie in a program's arena: the memory of those that are dead is reused."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlx.compiler.steps import BufferPlan, Plan

ALIGN = 64


def temporaries(plan: Plan) -> list[BufferPlan]:
    """The temporary buffers in the order in which they get their places."""
    return sorted((b for b in plan.buffers if b.kind == "temp"), key=lambda b: b.first)


def place_temps(plan: Plan) -> int:
    """Give temporaries offsets in the arena, reusing what is dead; returns its size."""
    temps = temporaries(plan)
    *places, total = arrange([b.nbytes for b in temps], [(b.first, b.last) for b in temps])
    for buffer, place in zip(temps, places, strict=True):
        buffer.position = place * ALIGN
    return total * ALIGN


def arrange(sizes: Sequence[int], lives: Sequence[tuple[int, int]]) -> list[int]:
    """Places of buffers of ``sizes`` bytes that are in use from step to step, the first first,
    and behind them the size of it all; in units of ALIGN."""
    live: list[tuple[int, int, int]] = []  # (place, end, last use), sorted
    found, most = [], 0
    for nbytes, (first, last) in zip(sizes, lives, strict=True):
        live = [slot for slot in live if slot[2] >= first]
        units = (nbytes + ALIGN - 1) // ALIGN
        at = 0
        for start, end, _ in live:
            if at + units <= start:
                break
            if end > at:
                at = end
        bisect.insort(live, (at, at + units, last))
        found.append(at)
        if at + units > most:
            most = at + units
    return [*found, most]
