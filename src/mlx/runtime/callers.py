"""What calls a short program, written for it: straight-line Python in place of loops.

A program that takes a few microseconds is met again and again; loops over its two operands and
one result would take longer than it.  The same holds of one that takes tens of them by all
threads, if its operands are few.  Callers of equal make share their code.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime import team
from mlx.runtime.buffer import Buffer
from mlx.runtime.memory import Storage, allocate, allocate_all

if TYPE_CHECKING:
    from mlx.backend.llvm.executable import Executable

Caller = Callable[..., bool]
KEPT = 1024
LONGEST = 512
"""Words of a call; longer ones gain little."""
FEW = 64
"""... and those of programs that threads share."""
_STATUS = slice(2, 6)


def caller(program: Executable) -> Caller | None:
    """What runs the program as ``execute.run`` does: given its leaves' nodes, how often the
    region refers to each, its run-time numbers, what takes the outputs' buffers, and whether
    the results may come later.  It returns False where it can't now: an operand is not computed
    yet, programs are queued, or results may come later of a program that is not small.

    None for a program with host calls or many operands, or that computes some results and returns
    operands as others.
    """
    if not program.segments and program.results and not program.places:
        _, leaves, offsets = zip(*program.results, strict=True)
        return _views(len(leaves))(leaves, offsets)
    full, lean, span = program.only, program.lean, program.span
    if full is None or span is None or not program.plain:
        return None
    donated = {output for output, _ in program.donations}
    carried = {output for output, _ in program.carries.values()}
    lean = lean if carried <= donated else None
    if span.stop > (LONGEST if full.small or lean is not None and lean.small else FEW):
        return None
    places = tuple(program.places)
    make = _maker(
        tuple(program.leaf_order),
        program.leaves,
        len(program.blocks),
        places,
        tuple([(output, places[output][0], *leaves) for output, leaves in program.donations]),
        tuple([(places[at][0], leaf) for at, leaf in program.carries.values()]) if lean else None,
        len(program.scalar_order),
        bool(program.arena_bytes),
    )
    call, (start, start_lean) = team.laid(full, lean)
    error = program.error  # not the program, which will have the caller

    def failed(code: int) -> bool:
        if code != team.BUSY:
            raise error(call[_STATUS])
        return False

    heads = _head(full, start), lean and _head(lean, start_lean)
    return make(*heads, program.arena_bytes, call, failed, program)


@lru_cache(16)
def _views(count: int) -> Callable[..., Caller]:
    """What binds the code for results that are operands, or lie in them, to which and where."""
    each = range(count)
    body = [f"d{i} = leaves[l{i}].data" for i in each]
    body += [f"if {' or '.join(f'd{i}.ticket' for i in each)}: return False"]
    for i in each:
        body += [f"b{i} = new(Buffer)", f"b{i}.storage, b{i}.ticket = d{i}.storage, None"]
        body += [f"b{i}.address = d{i}.address + o{i}"]
    body += [f"deliver([{', '.join(f'b{i}' for i in each)}])", "return True"]
    lines = ["def make(at, offsets):", "    new = Buffer.__new__"]
    lines += [f"    {''.join(f'l{i}, ' for i in each)} = at"]
    lines += [f"    {''.join(f'o{i}, ' for i in each)} = offsets"]
    lines += ["    def run(leaves, uses, numbers, deliver, later):"]
    lines += [*(f"        {line}" for line in body), "    return run"]
    known: dict[str, Any] = {"Buffer": Buffer}
    exec("\n".join(lines), known)
    return known["make"]


def _head(segment: team.Program, start: Callable[[], int]) -> tuple[int, int, bool, Any]:
    """The first words of a call, whether it may come later, and what runs it."""
    return segment.address, segment.count, not segment.small, start


def _one_name() -> int:
    """References that are counted of a node to which one name refers."""
    node = Node(None, (), (), None)
    return sys.getrefcount(node)


ONE_NAME = _one_name()


@lru_cache(KEPT)
def _maker(
    order: tuple[int, ...],
    leaves: int,
    blocks: int,
    places: tuple[tuple[int, int], ...],
    donations: tuple[tuple[int, ...], ...],
    carries: tuple[tuple[int, int], ...] | None,
    numbers: int,
    has_arena: bool,
) -> Callable[..., Caller]:
    """What binds the code of a caller to a program."""
    body = [f"d{i} = leaves[{i}].data" for i in range(leaves)]
    if leaves:
        body += [f"if {' or '.join(f'd{i}.ticket' for i in range(leaves))}: return False"]
    body += _donate(donations)
    if carries is not None:
        taken = [f"s{block} is d{leaf}.storage" for block, leaf in carries]
        body += [f"head = lean if {' and '.join(taken)} else full"]
        body += ["address, count, may_wait, start = head"]
    body += ["if later and may_wait: return False"]
    body += ["arena = allocate(arena_bytes)"] * has_arena
    body += _allocate(blocks, {donation[1] for donation in donations})
    for i, (block, offset) in enumerate(places):
        body += [f"b{i} = new(Buffer)", f"b{i}.storage, b{i}.ticket = s{block}, None"]
        body += [f"b{i}.address = a{i} = s{block}.address + {offset}"]
    made = f"[{', '.join(f'b{i}' for i in range(len(places)))}]"
    words = ["arena.address" if has_arena else "0", *(f"d{i}.address" for i in order)]
    words += [f"a{i}" for i in range(len(places))] + ["*numbers"] * bool(numbers)
    laid = f"lay(call, 0, address, count, -1, 0, 0, 0, 0, 0, {', '.join(words)})"
    body += ["try:", f"    {laid}", "    code = start()"]
    body += ["    if code: return failed(code)", f"    deliver({made})", "    return True"]
    # interrupted behind the program, which may have written over its inputs
    body += ["except BaseException:", f"    if call[2] == 0: deliver({made})", "    raise"]
    lines = ["def make(full, lean, arena_bytes, call, failed, program):"]
    lines += ["    new, sizes, needs = Buffer.__new__, program.blocks, program.output_bytes"]
    lines += ["    address, count, may_wait, start = full"] * (carries is None)
    lines += ["    def run(leaves, uses, numbers, deliver, later):"]
    lines += [*(f"        {line}" for line in body), "    return run"]
    known = dict(_GIVEN)
    words_laid = 9 + len(order) + len(places) + numbers
    known["lay"] = struct.Struct(f"={words_laid}q").pack_into
    exec("\n".join(lines), known)
    return known["make"]


_GIVEN: dict[str, Any] = {
    "allocate": allocate,
    "allocate_all": allocate_all,
    "any_open": trace.any_open,
    "Buffer": Buffer,
    "refers": sys.getrefcount,
    "Storage": Storage,
}


def _donate(donations: Sequence[Sequence[int]]) -> list[str]:
    """Name as the block of an output the memory of a leaf that nothing else refers to, as
    ``execute.may_take`` does; else None."""
    if not donations:
        return []
    lines = [f"{' = '.join(f's{block}' for _, block, *_ in donations)} = None"]
    lines += ["if not any_open():"]
    for leaf in dict.fromkeys(leaf for _, _, *leaves in donations for leaf in leaves):
        free = [
            f"refers(n) - uses[{leaf}] <= {ONE_NAME + 1}",
            f"refers(d{leaf}) <= {ONE_NAME + 1}",
            f"refers(t) <= {ONE_NAME + 1}",
            f"type(t) is Storage and d{leaf}.address == t.address",
        ]
        lines += [f"    n, t = leaves[{leaf}], d{leaf}.storage"]
        lines += [f"    t{leaf} = t if {' and '.join(free)} else None"]
    lines += ["    n = t = None"]
    for output, block, *leaves in donations:
        choice = "if"
        for leaf in leaves:
            fits = f"t{leaf} is not None and t{leaf}.nbytes >= needs[{output}]"
            lines += [f"    {choice} {fits}: s{block}, t{leaf} = t{leaf}, None"]
            choice = "elif"
    return lines


def _allocate(blocks: int, may_have: set[int]) -> list[str]:
    """Memory for the results; those that ``may_have`` some have it or are None."""
    if not may_have:
        if blocks == 1:
            return ["s0 = allocate(sizes[0])"]
        return [f"{''.join(f's{i}, ' for i in range(blocks))} = allocate_all(sizes)"]
    return [
        f"if s{i} is None: s{i} = allocate(sizes[{i}])"
        if i in may_have
        else f"s{i} = allocate(sizes[{i}])"
        for i in range(blocks)
    ]
