"""How the code of a function uses names: which values it can't see, but only counts or grows.

``self.step += 1``, ``calls["step"] += 1`` and ``losses.append(loss)`` change what a function
reaches, yet nothing that it computes depends on them, if its code uses the names in no other way.
This is read off the bytecode of all the user's functions that it reaches.
"""

from __future__ import annotations

import dis
import functools
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_COUNTED, _TALLIED, _GROWN, _READ = "counted", "tallied", "grown", "read"
_REFLECTING = frozenset(
    {
        "__dict__", "copy", "deepcopy", "delattr", "eval", "exec", "getattr", "globals",
        "locals", "asdict", "astuple", "setattr", "vars",
    }
)  # fmt: skip
"""Code with these names may read any other."""
_UNCALLED = frozenset({"__init__", "__new__", "__del__", "__repr__", "__str__"})
"""Methods that concern other instances, or only show this one."""
_CONSTANT = ("LOAD_CONST", "LOAD_SMALL_INT")
_SILENT = frozenset({"COPY", "SWAP", "CACHE", "NOP", "EXTENDED_ARG", "PUSH_NULL", "NOT_TAKEN"})


@functools.lru_cache(maxsize=4096)
def names_in(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Global names and attribute names in a code object and those nested in it."""
    names: dict[str, None] = {}
    attributes: dict[str, None] = {}
    for inner in _codes(code):
        for instruction in dis.get_instructions(inner):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"):
                names[instruction.argval] = None
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes[instruction.argval] = None
    return tuple(names), tuple(attributes)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    pending = [code]
    while pending:
        code = pending.pop()
        yield code
        pending += [c for c in code.co_consts if isinstance(c, types.CodeType)]


@functools.lru_cache(maxsize=4096)
def _uses(code: types.CodeType) -> Mapping[str, str]:
    """What becomes of each name: of variables other than local ones, attributes, strings."""
    found: dict[str, str] = {}
    for inner in _codes(code):
        steps = [i for i in dis.get_instructions(inner) if i.opname not in _SILENT]
        counting: set[int] = set()
        for at, step in enumerate(steps):
            if "FAST" in step.opname or step.opname in ("MAKE_CELL", "LOAD_CLOSURE"):
                continue
            if at in counting:  # the other half of ``n += 1``
                continue
            use = _use(steps[at : at + 6])
            if use == _COUNTED:
                counting.add(at + 3)
            elif use == _TALLIED:
                counting.add(at + 1)
            for name in _strings(step.argval):
                found[name] = use if found.get(name, use) == use else _READ
    return found


def _use(steps: list[dis.Instruction]) -> str:
    """What the first step does with its name."""
    if not steps[0].opname.startswith("LOAD_") or steps[0].opname == "LOAD_CONST":
        return _READ
    if len(steps) > 1 and steps[1].opname in ("LOAD_METHOD", "LOAD_ATTR"):
        return _GROWN if steps[1].argval == "append" else _READ
    if _adds(steps[1:4]) and steps[3].argval == steps[0].argval:
        return _COUNTED
    if len(steps) > 2 and steps[1].opname in _CONSTANT and _takes_item(steps[2]):
        return _TALLIED if _adds(steps[3:6]) and steps[5].opname == "STORE_SUBSCR" else _READ
    return _READ


def _adds(steps: list[dis.Instruction]) -> bool:
    """Whether a constant integer is added to what was loaded, and the sum stored."""
    return len(steps) == 3 and (
        type(steps[0].argval) is int
        and steps[0].opname in _CONSTANT
        and steps[1].opname == "BINARY_OP"
        and steps[1].argrepr in ("+=", "-=")
        and steps[2].opname.startswith("STORE_")
    )


def _takes_item(step: dis.Instruction) -> bool:
    return step.opname == "BINARY_SUBSCR" or (step.opname == "BINARY_OP" and step.argrepr == "[]")


def _strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, (tuple, frozenset)):
        return [s for part in value for s in _strings(part)]
    return ()


class Usage:
    """What is known of the code that a compiled function reaches.

    Attributes:
        version: rises when something is learnt; scans made before may be wrong.
    """

    def __init__(self) -> None:
        self.version = 0
        self._codes: dict[types.CodeType, str | None] = {}
        self._blocked: set[str] = set()
        self._table: dict[str, str] = {}
        self._reflecting = False

    def meet(self, code: types.CodeType, member: str | None) -> None:
        """A function is reached; if only as an attribute of a class, its name there."""
        if code not in self._codes or (member is None and self._codes[code] is not None):
            self._codes[code] = member
            self.version += 1

    def block(self, names: set[str]) -> None:
        """Values with these names are seen after all."""
        if not names <= self._blocked:
            self._blocked |= names
            self.version += 1

    def settle(self) -> None:
        """Use what is known now."""
        table: dict[str, str] = {}
        waiting = dict(self._codes)
        ready = [code for code, member in waiting.items() if _is_called(member, table)]
        while ready:
            for code in ready:
                del waiting[code]
                for name, use in _uses(code).items():
                    table[name] = use if table.get(name, use) == use else _READ
            ready = [code for code, member in waiting.items() if _is_called(member, table)]
        self._table = table
        self._reflecting = not self._codes or not _REFLECTING.isdisjoint(table)

    def grows(self, name: str) -> bool:
        """Whether lists of this name are at most appended to."""
        return self._is(name, _GROWN)

    def tallies(self, name: str) -> bool:
        """Whether items of dictionaries or lists of this name are at most counted up or down."""
        return self._is(name, _TALLIED)

    def counts(self, name: str, kind: type) -> bool:
        """Whether constants of this name are at most counted up or down."""
        return self._is(name, _COUNTED if kind is int else None)

    def _is(self, name: str, use: str | None) -> bool:
        found = self._table.get(name)
        return (found is None or found == use) and not (self._reflecting or name in self._blocked)


def _is_called(member: str | None, names: Mapping[str, str]) -> bool:
    if member is None:
        return True
    return member in names or (member.startswith("__") and member not in _UNCALLED)
