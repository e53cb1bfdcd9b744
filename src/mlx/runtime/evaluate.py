"""Evaluation: collect what is not computed, look its program up, run it."""

from __future__ import annotations

import struct
import sys
import threading
from array import array as words
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from mlx.backend.llvm.abi import HostCall
from mlx.backend.llvm.programs import Executable, build_executable
from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime import collector, team
from mlx.runtime.buffer import Buffer
from mlx.runtime.cut import pieces
from mlx.runtime.host import call_host
from mlx.runtime.memory import Storage, allocate

PROGRAMS = 2048
collector.calm()
_lock = threading.RLock()
_programs: OrderedDict[Any, Executable] = OrderedDict()
counters = {"programs": 0, "runs": 0}


class Failed:
    """In a node's ``data``: computing it raised; using it raises again."""

    __slots__ = ("exception",)

    def __init__(self, exception: Exception) -> None:
        self.exception = exception

    def error(self) -> Exception:
        return self.exception


class Pending:
    """A submitted program that buffers wait for."""

    __slots__ = ("after", "exception", "program", "ticket")

    def __init__(self, ticket: Any, program: Executable, after: list[Pending]) -> None:
        self.ticket = ticket
        self.program = program
        self.after = after
        self.exception: Exception | None = None

    def wait(self) -> None:
        """Block until it has run.  Raises what it, or one it depends on, failed with."""
        for earlier in self.after:
            earlier.wait()
        self.after = []
        if self.ticket is not None:
            team.wait(self.ticket)
            status = self.ticket.status
            self.ticket = None
            if status[0]:
                self.exception = self.program.error(status)
        if self.exception is not None:
            raise self.exception


def evaluate(nodes: Sequence[Node], asynchronous: bool = False) -> None:
    """Compute nodes and store their data.

    Raises ValueError for a placeholder of a transformation, IndexError for an index out of
    bounds, MemoryError beyond the memory limit, and again whatever made an operand fail.
    """
    with _lock:
        if any(node.data is None for node in nodes):
            _evaluate(nodes, asynchronous)
        for node in nodes:
            if type(node.data) is not Buffer:
                raise node.data.error()
    if not asynchronous:
        for node in nodes:
            node.data.wait()


def _collect(roots: Sequence[Node]) -> tuple[list[Node], list[Node]]:
    """The unevaluated nodes that ``roots`` need, in order of serial, and the calls of compiled
    functions among them."""
    seen = {n for n in roots if n.data is None}
    stack = list(seen)
    calls: list[Node] = []
    while stack:
        for node in stack.pop().inputs:
            data = node.data
            if data is None:
                if node not in seen:
                    seen.add(node)
                    stack.append(node)
                    if node.dtype is None and node.primitive.family == "compiled":
                        calls.append(node)
            elif type(data) is not Buffer and type(data) is not tuple:
                raise data.error()
    return sorted(seen, key=_serial), sorted(calls, key=_serial)


def _settle(order: list[Node]) -> bool:
    """Give the outputs of finished compiled calls their data; whether there were any."""
    found = False
    for node in order:
        source = node.inputs[0] if node.inputs else None
        if source is not None and source.dtype is None and source.data is not None:
            if type(source.data) is not tuple:
                raise source.data.error()
            node.data = source.data[node.primitive.index]  # type: ignore[union-attr]
            trace.evaluated([node])
            found = True
    return found


def _serial(node: Node) -> int:
    return node.serial


def _describe(
    order: list[Node],
) -> tuple[list[Any], list[Node], list[Node], list[int], list[int], dict[Node, int]]:
    """(key, leaves, run-time numbers, in-region references to nodes and to leaves, positions)."""
    index: dict[Node, int] = {}
    key: list[Any] = []
    leaves: list[Node] = []
    scalars: list[Node] = []
    edges = [0] * len(order)
    uses: list[int] = []
    for position, node in enumerate(order):
        primitive = node.primitive
        index[node] = position
        key.append(primitive.token)
        dtype = node.dtype
        if dtype is not None:
            key.append(node.shape)
            key.append(dtype.index)
        sizes = primitive.size_values
        if sizes:
            key.append(sizes)
        inputs = node.inputs
        if not inputs:
            if primitive.family == "source" and getattr(primitive, "is_literal", None) is False:
                scalars.append(node)
                edges[position] += 1  # by ``scalars`` itself
            continue
        for source in inputs:
            at = index.get(source)
            if at is None:
                leaves.append(source)
                at = index[source] = -len(leaves)
                uses.append(1)
                key.append((source.shape, source.dtype.index))
            elif at >= 0:
                edges[at] += 1
            else:
                uses[-1 - at] += 1
            key.append(at)
    return key, leaves, scalars, edges, uses, index


def _outside(order: list[Node], edges: list[int], usual: int) -> list[int]:
    """Positions of the nodes that something besides the region refers to."""
    count = sys.getrefcount
    return [i for i, node in enumerate(order) if count(node) - edges[i] > usual]


def _calibrate() -> int:
    """References that the walk itself holds to a node nobody else has."""
    order = [Node(None, (), (), None)]
    index = {order[0]: 0}
    for usual in range(16):
        if not _outside(order, [0], usual):
            break
    del index
    return usual


_USUAL = _calibrate()


def _evaluate(roots: Sequence[Node], asynchronous: bool) -> None:
    order, calls = _collect(roots)
    for call in calls:
        pending = [n for n in call.inputs if n.data is None]
        if pending:
            _evaluate(pending, asynchronous)
        _call_compiled(call, asynchronous)
    while _settle(order):
        order, _ = _collect(roots)
    if order:
        wanted = {n for n in roots if n.data is None}
        for piece in pieces(order):
            _evaluate_region(piece, wanted, asynchronous)


def _call_compiled(call: Node, asynchronous: bool) -> None:
    """Run a compiled function's program; its node's data are the outputs' buffers."""
    graph = call.primitive.graph  # type: ignore[union-attr]
    threads = team.num_threads()
    if graph.program is None or graph.program[0] != threads:
        graph.program = (threads, *_compiled_program(graph, threads))
    _, program, sources, scalars = graph.program
    inputs = call.inputs
    leaves = [inputs[s] if type(s) is int else s for s in sources]
    uses = [inputs.count(node) if program.donations else 0 for node in leaves]
    outputs = [Node(None, (), (), None) for _ in program.results]
    try:
        _run(program, leaves, uses, scalars, outputs, asynchronous)
    except (IndexError, ArithmeticError, ValueError, MemoryError) as error:
        call.data = Failed(error)
        call.primitive.failed(call)  # type: ignore[union-attr]
        raise
    made = iter(outputs)
    data = []
    for output, position in graph.results:
        if output == "input":
            data.append(inputs[position].data)
        elif output == "value":
            data.append(position.data)
        else:
            data.append(None)
    call.data = tuple(next(made).data if d is None else d for d in data)
    trace.evaluated([call])


def _compiled_program(graph: Any, threads: int) -> tuple[Executable, list[Any], list[Node]]:
    """(program, where each leaf comes from, run-time numbers) of a recorded graph."""
    position = {node: i for i, node in reversed(list(enumerate(graph.inputs)))}
    roots = [n for n in graph.outputs if n.data is None and n.primitive is not None]
    order = _collect_recorded(roots)
    _, leaves, scalars, _, _, index = _describe(order)
    graph.results = [
        ("input", position[n])
        if n in position
        else (("value", n) if n.data is not None else ("program", index[n]))
        for n in graph.outputs
    ]
    live = [index[n] for n in roots]
    counters["programs"] += 1
    program = build_executable(order, live, leaves, scalars, threads, team.Program)
    return program, [position.get(leaf, leaf) for leaf in leaves], scalars


def _collect_recorded(roots: Sequence[Node]) -> list[Node]:
    """As ``_collect``, for a graph whose placeholders are its leaves."""
    seen = set(roots)
    stack = list(seen)
    while stack:
        for node in stack.pop().inputs:
            if node.data is None and node.primitive is not None and node not in seen:
                seen.add(node)
                stack.append(node)
    return sorted(seen, key=_serial)


def _evaluate_region(order: list[Node], roots: set[Node], asynchronous: bool) -> None:
    key, leaves, scalars, edges, uses, index = _describe(order)
    live = _outside(order, edges, _USUAL)
    wanted = {i for i, n in enumerate(order) if n in roots}
    live = sorted(wanted.union(live)) if not wanted.issubset(live) else live
    live = [i for i in live if order[i].dtype is not None]
    del index
    threads = team.num_threads()
    whole = (tuple(key), tuple(live), threads)
    program = _programs.get(whole)
    if program is None:
        counters["programs"] += 1
        program = build_executable(order, live, leaves, scalars, threads, team.Program)
        _programs[whole] = program
        if len(_programs) > PROGRAMS:
            _programs.popitem(last=False)
    else:
        _programs.move_to_end(whole)
    outputs = [order[i] for i in live]
    try:
        _run(program, leaves, uses, scalars, outputs, asynchronous)
    except (IndexError, ArithmeticError, ValueError) as error:
        for node in outputs:
            node.data = Failed(error)
        raise
    trace.evaluated(outputs)


_PACK = {
    "float16": ("<e", 2), "float32": ("<f", 4), "float64": ("<d", 8), "bool": ("<q", 8),
}  # fmt: skip


def number_bits(node: Node) -> int:
    """A run-time number as the 64 bits that kernels read."""
    value, dtype = node.primitive.value, node.dtype  # type: ignore[union-attr]
    if dtype.is_complex:
        value = complex(value)
        raw = dtype.numpy.type(value).tobytes()
    elif dtype.is_float and dtype.name != "float64":
        raw = dtype.numpy.type(value).tobytes()
    elif dtype.is_float:
        return struct.unpack("<q", struct.pack("<d", value))[0]
    else:
        return (int(value) + 2**63) % 2**64 - 2**63
    return int.from_bytes(raw, "little", signed=False) if len(raw) < 8 else _signed(raw)


def _signed(raw: bytes) -> int:
    return struct.unpack("<q", raw)[0]


def _donated(program: Executable, leaves: list[Node], uses: list[int]) -> dict[int, Any]:
    """Outputs that take a leaf's memory: nothing outside the region refers to the leaf's node,
    and nothing else to its buffer and storage."""
    found: dict[int, Any] = {}
    if trace.any_open():
        return found
    count = sys.getrefcount
    taken: set[int] = set()
    for output, candidates in program.donations:
        for leaf in candidates:
            if leaf in taken:
                continue
            node = leaves[leaf]
            if count(node) - uses[leaf] > _LEAF_USUAL:
                continue
            data = node.data
            if count(data) > 3 or data.offset or count(data.storage) > 2:
                continue
            if type(data.storage) is not Storage:  # somebody else's memory
                continue
            if data.storage.nbytes >= program.output_bytes[output]:
                taken.add(leaf)
                found[output] = data.storage
                break
    return found


_LEAF_USUAL = 3
"""References to a leaf's node inside ``_donated``: the list of leaves, the name, the call."""


def _run(
    program: Executable,
    leaves: list[Node],
    uses: list[int],
    scalars: list[Node],
    outputs: list[Node],
    asynchronous: bool,
) -> None:
    """Allocate, run, and hand the outputs their buffers."""
    counters["runs"] += 1
    status = words("q", (0, 0, 0, 0))
    donated = _donated(program, leaves, uses) if program.donations else {}
    storages = [donated.get(i) or allocate(n) for i, n in enumerate(program.output_bytes)]
    arena = allocate(program.arena_bytes) if program.arena_bytes else None
    bases = words("q", (status.buffer_info()[0], 0, arena.address if arena else 0))
    for position in program.leaf_order:
        data = leaves[position].data
        bases.append(data.storage.address + data.offset)
    for storage in storages:
        bases.append(storage.address)
    for position in program.scalar_order:
        bases.append(number_bits(scalars[position]))
    ticket = None
    segments = program.segments
    if asynchronous and len(segments) == 1 and not getattr(segments[0], "small", True):
        keep = (storages, arena, [leaf.data for leaf in leaves])
        after = [leaf.data.ticket for leaf in leaves if leaf.data.ticket is not None]
        ticket = Pending(team.submit(segments[0], bases, keep), program, after)
    else:
        _run_segments(program, bases, status, leaves)
    for node, (kind, number, offset) in zip(outputs, program.results, strict=True):
        if kind == "leaf":
            data = leaves[number].data
            node.data = Buffer(data.storage, data.offset + offset, data.ticket)
        else:
            node.data = Buffer(storages[number], offset, ticket)


def _run_segments(program: Executable, bases: Any, status: Any, leaves: list[Node]) -> None:
    """Run to the end.  Raises what a kernel or a host call found wrong."""
    for segment in program.segments:
        if isinstance(segment, HostCall):
            for leaf in leaves:
                leaf.data.wait()
            team.synchronize()
            call_host(segment, bases)
        elif team.run(segment, bases):
            raise program.error(tuple(status))
