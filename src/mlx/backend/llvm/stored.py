"""Programs on disk: what planning made of a region, for the next process that meets it.

A program is a table of numbers and the keys of its kernels.  It stands under a digest of all that
its plan follows from: the region, its sizes, the number of threads, the sources and the machine.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import marshal
import sys
from array import array
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

from mlx.backend.llvm import addresses, cache_sizes, disk, host_calls, linked
from mlx.backend.llvm.abi import Address, Command, HostCall, Pointer
from mlx.backend.llvm.executable import Executable, is_small
from mlx.backend.llvm.jit import Library
from mlx.base.dtype import Dtype
from mlx.graph.node import Node

LEAST = 8
"""Nodes of a region that is always kept; fewer are planned as fast, once the planner is there."""
SMALLER = 256
"""How many regions of fewer nodes a process looks for: the first ones, for a script that finds
all it runs never loads the planner (half of the time to a first result)."""
_PLAIN = (
    "arena_bytes", "can_fail", "carries", "donations", "donors", "leaf_order", "leaves",
    "output_bytes", "plain", "results", "scalar_order",
)  # fmt: skip
_texts: dict[int, str | None] = {}
_smaller = itertools.count()


def is_kept(nodes: int) -> bool:
    """Whether the next region, of so many nodes, is worth being looked for and kept."""
    return nodes >= LEAST or next(_smaller) < SMALLER


def name_of(
    order: Sequence[Node],
    leaves: Sequence[Node],
    shapes: dict[tuple[int, ...], int],
    rest: tuple[Any, ...],
) -> str | None:
    """The name of a region: of its structure and sizes, and what else a plan depends on (``rest``,
    plain numbers).  None where it says something that means nothing to another process."""
    index = {node: i for i, node in enumerate(order)}
    index |= {leaf: -1 - i for i, leaf in enumerate(leaves)}
    numbers = array("q")
    texts: dict[str, int] = {}
    for node in order:
        primitive = node.primitive
        part = primitive._key_part
        if part.__class__ is tuple:
            part, sizes = part
            numbers.append(-shapes[sizes])
        text = _texts.get(part) or _text_of(part, primitive)
        if text is None:
            return None
        dtype = node.dtype
        numbers.append(texts.setdefault(text, len(texts)))
        if dtype is None:
            numbers.append(-len(node.shape))
            numbers.extend([n for shape, kind in node.shape for n in (shapes[shape], kind.index)])
        else:
            numbers.extend((shapes[node.shape], dtype.index))
        numbers.append(len(node.inputs))
        numbers.extend([index[source] for source in node.inputs])
    for leaf in leaves:
        numbers.extend((shapes[leaf.shape], leaf.dtype.index))
    digest = hashlib.blake2b(numbers.tobytes(), digest_size=20)
    machine = cache_sizes.first_level(), cache_sizes.last_level()
    python = sys.implementation.cache_tag  # of the format in which a program is written
    digest.update(repr((list(texts), list(shapes), rest, machine, python)).encode())
    return "program " + digest.hexdigest()


def _text_of(token: int, primitive: Any) -> str | None:
    """What stands for a primitive without its sizes, in any process; None where nothing can."""
    if token not in _texts:
        _texts[token] = "number" if primitive.is_number else _said(primitive, type(primitive).sizes)
    return _texts[token]


def _said(value: Any, omitted: frozenset[str] = frozenset()) -> str | None:
    cls: Any = type(value)
    if value is None or cls in (bool, int, float, complex, str):
        return f"{cls.__name__} {value!r}"
    if cls is Dtype:
        return str(value.name)
    if cls is tuple:
        parts = [_said(part) for part in value]
    elif _is_ours(cls):
        fields = [field.name for field in dataclasses.fields(cls) if field.name not in omitted]
        parts = [
            f"{cls.__module__}.{cls.__qualname__}",
            *[_said(getattr(value, f)) for f in fields],
        ]
    else:
        return None
    return None if None in parts else f"({', '.join(parts)})"  # type: ignore[arg-type]


@cache
def _is_ours(cls: Any) -> bool:
    """Whether it is a class whose members are their fields, and whose source decides names."""
    ours = cls.__module__.startswith("mlx.primitives.") and dataclasses.is_dataclass(cls)
    return bool(ours and cls.__eq__ is not object.__eq__)


@dataclasses.dataclass(frozen=True, slots=True)
class Kept:
    """Stands for the specification of a kernel that is there."""

    key: str
    library: Library

    def emit(self, module: Any, name: str) -> None:
        raise AssertionError(f"{self.key} has no source here")


def save(name: str, executable: Executable, largest: int) -> None:
    """Keep a program, whose largest buffer has so many bytes."""
    commands = [c for c in executable.commands if isinstance(c, Command)]
    keys: dict[str, int] = {}
    consts = array("q")
    table = array("q")
    found: list[tuple[int, str]] = []
    for c in commands:
        found += [(len(consts) + i, n.name) for i, n in enumerate(c.consts) if type(n) is Address]
        table.extend((keys.setdefault(c.spec.key, len(keys)), 8 * len(consts), c.tasks, 0))
        consts.extend(c.consts)
    record = {name: getattr(executable, name) for name in _PLAIN}
    record |= {"keys": list(keys), "consts": consts.tobytes(), "table": table.tobytes()}
    record |= {"addresses": found, "largest": largest, "small": is_small(commands)}
    rest = [c for i, c in enumerate(commands) if i not in executable.carries]
    record["rest_small"] = is_small(rest)
    record["described"] = [
        (c.label, c.bytes, c.flops, c.between and tuple((p.base, p.offset) for p in c.between))
        for c in commands
    ]
    try:
        record["calls"] = _calls(executable)
        disk.write(name, marshal.dumps(record))
    except ValueError:  # something that is not plain
        return


def _calls(executable: Executable) -> list[tuple[int, tuple[Any, ...]]]:
    """The host calls, each with the number of native commands before it."""
    found: list[tuple[int, tuple[Any, ...]]] = []
    for at, command in enumerate(executable.commands):
        if not isinstance(command, Command):
            found.append((at - len(found), host_calls.plain(command)))
    return found


def load(
    name: str, make_program: Callable[..., Any], check_size: Callable[[int], None]
) -> Executable | None:
    """The program of that name, if it and its kernels are on disk.  ``check_size`` raises where
    a buffer can't be allocated."""
    stored = disk.read(name)
    if stored is None:
        return None
    try:
        record = marshal.loads(stored)
        libraries = linked.loaded(record["keys"])
        record["consts"] = _placed(record["consts"], record["addresses"])
        record["calls"] = [(at, host_calls.restored(call)) for at, call in record["calls"]]
    except (AttributeError, EOFError, ImportError, KeyError, RuntimeError, TypeError, ValueError):
        return None
    if libraries is None:
        return None
    check_size(record["largest"])
    return _executable(record, libraries, make_program)


def _placed(kept: bytes, found: list[tuple[int, str]]) -> bytes:
    """Consts with the addresses that this process has."""
    if not found:
        return kept
    consts = array("q", kept)
    for at, name in found:
        consts[at] = addresses.named(name)
    return consts.tobytes()


def _executable(
    record: dict[str, Any], libraries: list[Library], make_program: Callable[..., Any]
) -> Executable:
    result = Executable()
    for name in _PLAIN:
        setattr(result, name, record[name])
    consts, table = array("q", record["consts"]), array("q", record["table"])
    result.commands = partial(_described, record, libraries)
    table[0::4] = array("q", [libraries[i].address("kernel") for i in table[0::4]])
    result.segments, result.lean = [], None
    done = 0
    for at, call in record["calls"]:
        if at > done:
            part = table[4 * done : 4 * at]
            result.segments.append(make_program(part, consts, False, libraries))
        result.segments.append(call)
        done = at
    if part := table[4 * done :]:
        small = record["small"] and not result.segments
        result.segments.append(make_program(part, consts, small, libraries))
    rest = [i for i in range(len(table) // 4) if i not in result.carries]
    if result.carries and rest and not record["calls"]:
        lean = array("q", [n for i in rest for n in table[4 * i : 4 * i + 4]])
        result.lean = make_program(lean, consts, record["rest_small"], libraries)
    return result.seal()


def _described(record: dict[str, Any], libraries: list[Library]) -> list[Command | HostCall]:
    """The commands of a stored program, for whoever wants to see them."""
    consts, table = array("q", record["consts"]), array("q", record["table"])
    specs = [Kept(key, library) for key, library in zip(record["keys"], libraries, strict=True)]
    starts = [at // 8 for at in table[1::4]] + [len(consts)]
    found: list[Command | HostCall] = [
        Command(
            specs[table[4 * i]],
            consts[starts[i] : starts[i + 1]].tolist(),
            table[4 * i + 2],
            label,
            traffic,
            flops,
            between and tuple(Pointer(*pointer) for pointer in between),
        )
        for i, (label, traffic, flops, between) in enumerate(record["described"])
    ]
    for before, (at, call) in enumerate(record["calls"]):
        found.insert(before + at, call)
    return found
