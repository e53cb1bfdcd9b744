"""Small regions that are met again and again, recognised by code written for each.

A walk that says a region's key, and the look-up of its program, take longer than a program on
small arrays runs.  Where a small program is met for the eighth time, straight-line Python is
written for its region: it takes the graph apart and compares what the key would have said.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from mlx.base.lazy import LazyModule
from mlx.graph.node import Node
from mlx.runtime import team
from mlx.runtime.buffer import Buffer
from mlx.runtime.callers import ONE_NAME
from mlx.runtime.described import Described
from mlx.runtime.execute import number_bits

if TYPE_CHECKING:
    from mlx.backend.llvm.executable import Executable

equality = LazyModule("mlx.compiler.equal")

PATIENCE = 8
"""Meetings of a program before code is written for its region."""
LONGEST = 64
"""Nodes and leaves of a region that code is written for."""
VARIANTS = 4
"""Regions of like roots that are tried."""
KEPT = 2048
CODES = 512

Operands = tuple[list[Node], list[int], list[Node]]
"""A region's leaves, bits of its run-time numbers, and its outputs."""
Number = tuple[int, bool]
"""A run-time number's position in a region, or the bits of one that a segment makes, and whether
it is the latter."""
_known: dict[Any, list[Known]] = {}


class Known:
    """A region that was met before: ``match(roots)`` gives its operands, or None for others."""

    __slots__ = ("has_segments", "match", "program", "uses")

    def __init__(
        self,
        match: Callable[..., Operands | None],
        program: Executable,
        uses: list[int],
        has_segments: bool,
    ) -> None:
        self.match = match
        self.program = program
        self.uses = uses
        self.has_segments = has_segments


def find(roots: Sequence[Node]) -> tuple[Known, Operands] | None:
    """What is known of the region of some roots that are not computed."""
    root = roots[0]
    known = _known.get((root.primitive._key_part, root.shape, len(roots), team.num_threads()))
    if known is not None:
        for one in known:
            if (operands := one.match(roots)) is not None:
                return one, operands
    return None


forget = _known.clear


def learn(
    region: Described,
    program: Executable,
    outputs: Sequence[int],
    leaves: Sequence[int],
    numbers: Sequence[Number],
) -> None:
    """Note that a region, not yet run, was met; its program has a caller, and reads and makes
    what stands at these positions."""
    program.met += 1
    order = region.order
    if program.met % PATIENCE or region.several or len(order) + len(region.leaves) > LONGEST:
        return
    constants = [part for node in order for part in (node.primitive._key_part, *_type(node))]
    for leaf in region.leaves:
        constants += _type(leaf)
    made = region.made_numbers()
    equal = equality.equal_numbers([*region.scalars, *made])
    given = tuple([at if not of_segment else -1 for at, of_segment in numbers])
    bits = [at for at, of_segment in numbers if of_segment]
    maker = _maker(_structure(region), tuple(outputs), tuple(leaves), given, bool(made))
    match = maker(tuple(constants), equal, made, bits)
    root = order[0]
    key = (root.primitive._key_part, root.shape, region.roots, team.num_threads())
    if len(_known) >= KEPT:
        _known.clear()
    uses = [region.uses[at] for at in leaves]
    known = Known(match, program, uses, bool(region.segments))
    _known[key] = [known, *_known.get(key, ())][:VARIANTS]


def _type(node: Node) -> tuple[Any, Any]:
    return node.shape, node.dtype


_Structure = tuple[int, int, tuple[tuple[tuple[int, ...], bool], ...]]


def _structure(region: Described) -> _Structure:
    """(roots, leaves, for each node (inputs, is a run-time number)) of a region; inputs by
    position, leaves -1, -2, ..."""
    at = {node: i for i, node in enumerate(region.order)}
    at |= {leaf: -1 - i for i, leaf in enumerate(region.leaves)}
    nodes = [
        (tuple([at[source] for source in node.inputs]), node.primitive.is_number)
        for node in region.order
    ]
    return region.roots, len(region.leaves), tuple(nodes)


@lru_cache(CODES)
def _maker(
    structure: _Structure,
    outputs: tuple[int, ...],
    leaves: tuple[int, ...],
    given: tuple[int, ...],
    has_made: bool,
) -> Callable[..., Callable[..., Operands | None]]:
    """What binds the code for a structure to the parts of a key, and to the numbers that
    segments make: all of them, and the bits of those that ``given`` has -1 for."""
    roots, count, nodes = structure
    names = [f"n{i}" for i in range(len(nodes))]
    read = [f"f{i}" for i in range(count)]
    inner = names[roots:]
    body, references = _taken_apart(roots, nodes)
    parts = [f"{n}.primitive._key_part, {n}.shape, {n}.dtype" for n in names]
    parts += [f"{f}.shape, {f}.dtype" for f in read]
    body += [f"if ({', '.join(parts)}) != constants: return None"]
    wrong = [f"{n}.data is not None" for n in inner]
    wrong += [f"{f}.data.__class__ is not Buffer" for f in read]
    for i, name in enumerate(inner, roots):
        relation = "<=" if i in outputs else ">"
        wrong += [f"count({name}) {relation} {references[name]} + {ONE_NAME}"]
    if len(names + read) > 1:
        wrong += [f"len({{{', '.join(names + read)}}}) != {len(names + read)}"]
    body += [f"if {' or '.join(wrong)}: return None"] if wrong else []
    numbers = [n for n, (_, is_number) in zip(names, nodes, strict=True) if is_number]
    if len(numbers) > 1 or numbers and has_made:
        said = ", ".join(numbers + ["*made"] * has_made)
        body += [f"if equal_numbers([{said}]) != equal: return None"]
    bits = iter(range(len(given)))
    words = ", ".join([f"bits({numbers[at]})" if at >= 0 else f"k{next(bits)}" for at in given])
    operands = ", ".join([read[at] for at in leaves])
    body += [f"return [{operands}], [{words}], [{', '.join([names[at] for at in outputs])}]"]
    return _bound(body, given.count(-1))


def _bound(body: Sequence[str], constants: int) -> Callable[..., Any]:
    """What binds such code to the parts of a key, its numbers, and bits that it gives."""
    text = "".join(f"            {line}\n" for line in body)
    names = "".join([f"k{i}, " for i in range(constants)])
    bound = f"    {names}= known_bits\n" if names else ""
    code = (
        f"def make(constants, equal, made, known_bits):\n{bound}"
        f"    def match(roots):\n        try:\n{text}"
        "        except (AttributeError, ValueError):\n            return None\n"
        "    return match\n"
    )
    known: dict[str, Any] = {
        "Buffer": Buffer,
        "count": sys.getrefcount,
        "bits": number_bits,
        "equal_numbers": equality.equal_numbers,
    }
    exec(code, known)  # a node with other inputs, or without a primitive: refused
    return known["make"]


def _taken_apart(roots: int, nodes: Sequence[Any]) -> tuple[list[str], dict[str, int]]:
    """Code that names all nodes and leaves of a region, and how many references to each node
    there are then, the first name's aside."""
    lines = [f"{''.join(f'n{i}, ' for i in range(roots))} = roots"]
    seen = set(range(roots))
    references: dict[str, int] = {}
    wrong, aliases = [], 0
    for i, (inputs, _) in enumerate(nodes):
        targets = []
        for at in inputs:
            name = f"n{at}" if at >= 0 else f"f{-1 - at}"
            references[name] = references.get(name, 0) + 1
            if at in seen:
                references[name] += 1  # by the other name
                targets.append(f"a{aliases}")
                wrong.append(f"a{aliases} is not {name}")
                aliases += 1
            else:
                seen.add(at)
                targets.append(name)
        lines += [f"{''.join(f'{t}, ' for t in targets)} = n{i}.inputs"] if targets else []
    lines += [f"if {' or '.join(wrong)}: return None"] if wrong else []
    return lines, references
