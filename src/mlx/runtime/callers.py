"""What calls a small program, written for it: straight-line Python in place of loops.

A program that takes a few microseconds is met again and again; loops over its two operands and
one result would take longer than it.  Callers of equal make share their code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlx.graph.node import Node
from mlx.runtime import team
from mlx.runtime.buffer import Buffer
from mlx.runtime.memory import allocate, allocate_all

if TYPE_CHECKING:
    from mlx.backend.llvm.programs import Executable

Caller = Callable[[Sequence[Node], Sequence[int]], list[Buffer] | None]
KEPT = 1024
LONGEST = 512
"""Words of a call; longer ones gain little."""
_STATUS = slice(2, 6)


def caller(program: Executable) -> Caller | None:
    """What runs the program on its leaves' nodes and run-time numbers and makes the outputs'
    buffers, or returns None where it can't now: an operand is not computed yet, or programs are
    queued.  None for a program that is not small, may write over its operands, or returns them.

    Raises what a kernel found.
    """
    segment, span = program.only, program.span
    if span is None or span.stop > LONGEST or not segment.small or not program.plain:
        return None
    if program.donations:
        return None
    make = _maker(
        tuple(program.leaf_order),
        program.leaves,
        len(program.blocks),
        tuple(program.places),
        bool(program.scalar_order),
        bool(program.arena_bytes),
    )
    call, start = team.inline()

    def failed(code: int) -> None:
        if code != team.BUSY:
            raise program.error(call[_STATUS])

    head = (segment.address, segment.count, -1, 0, 0, 0, 0, 0)
    sizes = program.blocks if len(program.blocks) > 1 else program.blocks[0]
    return make(head, program.arena_bytes, span, call, start, failed, sizes)


@lru_cache(KEPT)
def _maker(
    order: tuple[int, ...],
    count: int,
    blocks: int,
    places: tuple[tuple[int, int], ...],
    has_numbers: bool,
    has_arena: bool,
) -> Callable[..., Caller]:
    """What binds the code of a caller to a program."""
    names = range(count)
    body = []
    if count:
        body += [f"{''.join(f'l{i}, ' for i in names)} = leaves"]
        body += [f"d{i} = l{i}.data" for i in names]
        body += [f"if {' or '.join(f'd{i}.ticket' for i in names)}: return None"]
    if has_arena:
        body += ["arena = allocate(arena_bytes)"]
    stores = "".join(f"s{i}, " for i in range(blocks))
    body += [f"{stores} = allocate_all(sizes)" if blocks > 1 else "s0 = allocate(sizes)"]
    for i, (block, offset) in enumerate(places):
        body += [f"b{i} = new(Buffer)", f"b{i}.storage, b{i}.ticket = s{block}, None"]
        body += [f"b{i}.address = a{i} = s{block}.address + {offset}"]
    words = ["*head", "arena.address" if has_arena else "0"]
    words += [f"d{i}.address" for i in order] + [f"a{i}" for i in range(len(places))]
    words += ["*numbers"] * has_numbers
    body += [f"call[span] = ({', '.join(words)})", "code = start()"]
    body += ["if code: return failed(code)"]
    body += [f"return [{', '.join(f'b{i}' for i in range(len(places)))}]"]
    lines = ["def make(head, arena_bytes, span, call, start, failed, sizes):"]
    lines += ["    new = Buffer.__new__", "    def run(leaves, numbers):"]
    lines += [*(f"        {line}" for line in body), "    return run"]
    names_known = {"allocate": allocate, "allocate_all": allocate_all, "Buffer": Buffer}
    exec("\n".join(lines), names_known)
    return names_known["make"]  # type: ignore[return-value]
