"""What calls a small program, written for it: straight-line Python in place of loops.

A program that takes a few microseconds is met again and again; loops over its two operands and
one result would take longer than it.  Callers of equal make share their code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlx.runtime import team
from mlx.runtime.buffer import Buffer
from mlx.runtime.memory import allocate, allocate_all

if TYPE_CHECKING:
    from mlx.backend.llvm.programs import Executable

Caller = Callable[..., bool]
KEPT = 1024
LONGEST = 512
"""Words of a call; longer ones gain little."""
_STATUS = slice(2, 6)


def caller(program: Executable) -> Caller | None:
    """What runs the program as ``execute.run`` does: given its leaves' nodes, its run-time
    numbers, what is donated to which output, and what takes the outputs' buffers.  It returns
    False where it can't now: an operand is not computed yet, programs are queued, or the
    program is small only where its results take their operands' memory.

    None for a program that is never small, or returns operands as they are.
    """
    full, lean, span = program.only, program.lean, program.span
    if span is None or span.stop > LONGEST or not program.plain:
        return None
    full = full if full is not None and full.small else None
    donated = {output for output, _ in program.donations}
    carried = {output for output, _ in program.carries.values()}
    lean = lean if lean is not None and lean.small and carried <= donated else None
    if full is None and lean is None:
        return None
    places = tuple(program.places)
    make = _maker(
        tuple(program.leaf_order),
        program.leaves,
        len(program.blocks),
        places,
        tuple([(output, places[output][0]) for output, _ in program.donations]),
        tuple([(places[at][0], leaf) for at, leaf in program.carries.values()]) if lean else None,
        bool(program.scalar_order),
        bool(program.arena_bytes),
    )
    call, start = team.inline()

    def failed(code: int) -> bool:
        if code != team.BUSY:
            raise program.error(call[_STATUS])
        return False

    return make(_head(full), _head(lean), program.arena_bytes, span, call, start, failed, program)


def _head(segment: team.Program | None) -> tuple[int, ...] | None:
    """The words of a call in front of the arena's address."""
    if segment is None:
        return None
    return (segment.address, segment.count, -1, 0, 0, 0, 0, 0)


@lru_cache(KEPT)
def _maker(
    order: tuple[int, ...],
    leaves: int,
    blocks: int,
    places: tuple[tuple[int, int], ...],
    donated: tuple[tuple[int, int], ...],
    carries: tuple[tuple[int, int], ...] | None,
    has_numbers: bool,
    has_arena: bool,
) -> Callable[..., Caller]:
    """What binds the code of a caller to a program."""
    body = [f"d{i} = leaves[{i}].data" for i in range(leaves)]
    if leaves:
        body += [f"if {' or '.join(f'd{i}.ticket' for i in range(leaves))}: return False"]
    body += _choose(places, donated, carries)
    body += ["arena = allocate(arena_bytes)"] * has_arena + _allocate(blocks, donated)
    for i, (block, offset) in enumerate(places):
        body += [f"b{i} = new(Buffer)", f"b{i}.storage, b{i}.ticket = s{block}, None"]
        body += [f"b{i}.address = a{i} = s{block}.address + {offset}"]
    made = f"[{', '.join(f'b{i}' for i in range(len(places)))}]"
    words = ["*head", "arena.address" if has_arena else "0", *(f"d{i}.address" for i in order)]
    words += [f"a{i}" for i in range(len(places))] + ["*numbers"] * has_numbers
    body += ["try:", f"    call[span] = {', '.join(words)}", "    code = start()"]
    body += ["    if code: return failed(code)", f"    deliver({made})", "    return True"]
    # interrupted behind the program, which may have written over its inputs
    body += ["except BaseException:", f"    if call[2] == 0: deliver({made})", "    raise"]
    lines = ["def make(full, lean, arena_bytes, span, call, start, failed, program):"]
    lines += ["    new, sizes, head = Buffer.__new__, program.blocks, full"]
    lines += ["    def run(leaves, numbers, donated, deliver):"]
    lines += [*(f"        {line}" for line in body), "    return run"]
    known: dict[str, Any] = {"allocate": allocate, "allocate_all": allocate_all, "Buffer": Buffer}
    exec("\n".join(lines), known)
    return known["make"]


def _choose(
    places: Sequence[tuple[int, int]],
    donated: Sequence[tuple[int, int]],
    carries: Sequence[tuple[int, int]] | None,
) -> list[str]:
    """Take what is donated, and the program without its copies where none of them does anything."""
    lines = [f"s{block} = donated.get({output}) if donated else None" for output, block in donated]
    if carries is not None:
        taken = [f"s{block} is d{leaf}.storage" for block, leaf in carries]
        lines += [f"head = lean if {' and '.join(taken)} else full"]
        lines += ["if head is None: return False"]
    return lines


def _allocate(blocks: int, donated: Sequence[tuple[int, int]]) -> list[str]:
    """Memory for the results."""
    if not donated:
        if blocks == 1:
            return ["s0 = allocate(sizes[0])"]
        return [f"{''.join(f's{i}, ' for i in range(blocks))} = allocate_all(sizes)"]
    may_have = {block for _, block in donated}
    return [
        f"if s{i} is None: s{i} = allocate(sizes[{i}])"
        if i in may_have
        else f"s{i} = allocate(sizes[{i}])"
        for i in range(blocks)
    ]
