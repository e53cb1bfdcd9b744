"""A pattern's comparison written out: straight-line Python for the structure of a small call.

Taking apart a tuple of two arguments in a loop over steps takes longer than a program on small
arrays runs.  What is compared is what ``Pattern`` says, in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

ATTRIBUTES_OF, CELL_OF, ITEMS, PARTS_OF, VALUES, VALUES_AND_ATTRIBUTES = range(6)
LONGEST = 128
"""Values of a structure that code is written for."""


class Opened(NamedTuple):
    """A value that is taken apart."""

    at: int
    kind: type
    how: int
    parts: Any
    """PARTS_OF: the function that does it."""
    first: int
    """How many parts it has, or items where attributes follow; ``then`` attributes."""
    then: int
    keys: list[Any]
    """The names of its items and attributes."""


class Compared(NamedTuple):
    """What tells whether values that were taken apart fit."""

    roots: int
    types: list[type]
    ids: dict[int, int]
    """By position: whose identity is fixed."""
    distinct: Sequence[int]
    aliases: Sequence[tuple[int, int]]
    arrays: Sequence[int]
    constants: Sequence[int]


def written(
    opened: Sequence[Opened], compared: Compared, make: Callable[..., Any]
) -> Callable[[list[Any]], Any]:
    """The function of a call's roots that returns ``make(flat, handles, nodes, constants,
    shapes, dtypes)`` where they fit, else None."""
    known: dict[str, Any] = {"make": make}
    lines = [f"{_names(range(compared.roots))} = roots"]
    count = compared.roots
    for number, one in enumerate(opened):
        known[f"kind{number}"], known[f"keys{number}"] = one.kind, one.keys
        known[f"parts{number}"] = one.parts
        lines += _open(number, one, count)
        count += one.first + one.then
    lines += _compare(compared, [f"v{i}" for i in range(count)], known)
    body = "".join(f"        {line}\n" for line in lines)
    refused = "(AttributeError, KeyError, RuntimeError, ValueError)"
    code = f"def match(roots):\n    try:\n{body}    except {refused}:\n        return None\n"
    exec(code, known)  # a part is gone: refused
    return known["match"]


def _names(positions: Sequence[int]) -> str:
    """A target, or a tuple, of the values at these positions."""
    return f"({''.join(f'v{i}, ' for i in positions)})"


def _open(number: int, one: Opened, start: int) -> list[str]:
    """Take one value apart; the parts' positions begin at ``start``."""
    value = f"v{one.at}"
    parts = _names(range(start, start + one.first))
    if one.first + one.then == 0:
        parts = "()"
    lines = [f"if type({value}) is not kind{number}: return None"]
    if one.how == ITEMS:
        return [*lines, f"{parts} = {value}"]
    if one.how == PARTS_OF:
        return [*lines, f"{parts} = parts{number}({value})"]
    if one.how == CELL_OF:
        return [*lines, f"v{start} = {value}.cell_contents"]
    if one.how == ATTRIBUTES_OF:
        lines += [f"d = {value}.__dict__", f"if list(d) != keys{number}: return None"]
        return [*lines, f"{parts} = d.values()"]
    if one.how == VALUES:
        lines += [f"if list({value}) != keys{number}: return None"]
        return [*lines, f"{parts} = {value}.values()"]
    rest = _names(range(start + one.first, start + one.first + one.then))
    lines += [f"d = {value}.__dict__", f"if [*{value}, *d] != keys{number}: return None"]
    return [*lines, f"{parts} = {value}.values()", f"{rest} = d.values()"]


def _compare(compared: Compared, values: list[str], known: dict[str, Any]) -> list[str]:
    """Compare what was taken apart, and return it."""
    known["types"] = compared.types
    lines = [f"flat = [{', '.join(values)}]", "if list(map(type, flat)) != types: return None"]
    wrong = [f"id(v{at}) != {number}" for at, number in compared.ids.items()]
    wrong += [f"v{at} is not v{first}" for at, first in compared.aliases]
    if len(compared.distinct) > 1:
        ids = ", ".join(f"id(v{at})" for at in compared.distinct)
        wrong += [f"len({{{ids}}}) != {len(compared.distinct)}"]
    nodes = [f"n{at}" for at in compared.arrays]
    lines += [f"n{at} = v{at}._node" for at in compared.arrays]
    if len(nodes) > 1:
        wrong += [f"len({{{', '.join(nodes)}}}) != {len(nodes)}"]
    if wrong:
        lines += [f"if {' or '.join(wrong)}: return None"]
    shapes, dtypes = ([f"{n}.{what}" for n in nodes] for what in ("shape", "dtype"))
    lists = [f"[{', '.join(of)}]" for of in (nodes, shapes, dtypes)]
    handles, constants = _names(compared.arrays), _names(compared.constants)
    return [
        *lines,
        f"return make(flat, {handles}, {lists[0]}, {constants}, {', '.join(lists[1:])})",
    ]
