"""Evaluation: collect what is not computed, look its program up, run it."""

from __future__ import annotations

import copy
import struct
import sys
from array import array as words
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlx.backend.llvm.abi import HostCall
from mlx.backend.llvm.programs import Executable, build_executable
from mlx.base.tree import picker
from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime import collector, profile, team
from mlx.runtime.buffer import Buffer
from mlx.runtime.cut import pieces
from mlx.runtime.host import call_host
from mlx.runtime.memory import Storage, allocate

PROGRAMS = 2048
collector.calm()
_lock = team.planning
_programs: OrderedDict[Any, Executable] = OrderedDict()
counters = {"programs": 0, "runs": 0}


class Failed:
    """In a node's ``data``: computing it raised; using it raises again."""

    __slots__ = ("exception",)

    def __init__(self, exception: Exception) -> None:
        self.exception = _bare(exception)

    def error(self) -> Exception:
        return _bare(self.exception)


def _bare(exception: Exception) -> Exception:
    """The exception without its traceback, whose frames would keep arrays alive."""
    return copy.copy(exception)


class Pending:
    """A submitted program that buffers wait for; ``after`` it depends on, and may have failed."""

    __slots__ = ("after", "exception", "program", "ticket")

    def __init__(self, ticket: Any, program: Executable, after: list[Pending]) -> None:
        self.ticket = ticket
        self.program = program
        self.after = after
        self.exception: Exception | None = None

    @property
    def may_fail(self) -> bool:
        return self.program.can_fail or bool(self.after) or self.exception is not None

    def wait(self) -> None:
        """Block until it has run.  Raises what it, or one it depends on, failed with."""
        if (ticket := self.ticket) is not None:
            team.wait(ticket)
        chain = [self]  # all of it has run: programs run in order
        for one in chain:
            one._settle()
            if one.exception is not None:
                self.exception = one.exception
                raise _bare(one.exception)
            chain += [p for p in one.after if p not in chain]
        for one in chain:
            one.after = []

    def _settle(self) -> None:
        """Read the status of a program that has run."""
        if (ticket := self.ticket) is not None:
            status = ticket.status
            if status[0]:
                self.exception = self.program.error(status)
            self.ticket = None


def evaluate(nodes: Sequence[Node], asynchronous: bool = False) -> None:
    """Compute nodes and store their data.

    Raises ValueError for a placeholder of a transformation, IndexError for an index out of
    bounds, MemoryError beyond the memory limit, and again whatever made an operand fail.
    """
    with _lock:
        if any([node.data is None for node in nodes]):
            _evaluate(nodes, asynchronous)
        for node in nodes:
            if type(node.data) is not Buffer:
                raise node.data.error()
    if not asynchronous:
        for node in nodes:
            if (data := node.data).ticket is not None:
                data.wait()


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
    settled = []
    for node in order:
        inputs = node.inputs
        if inputs and (source := inputs[0]).dtype is None and (data := source.data) is not None:
            if type(data) is not tuple:
                raise data.error()
            node.data = data[node.primitive.index]
            settled.append(node)
    trace.evaluated(settled)
    return bool(settled)


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
    while order and _settle(order):
        waiting = [n for n in roots if n.data is None]
        order = _collect(waiting)[0] if waiting else waiting
    if order:
        wanted = {n for n in roots if n.data is None}
        for piece in pieces(order):
            _evaluate_region(piece, wanted, asynchronous)


def _call_compiled(call: Node, asynchronous: bool) -> None:
    """Run a compiled function's program; its node's data are the outputs' buffers."""
    graph = call.primitive.graph
    threads = team.num_threads()
    if graph.program is None or graph.program[0] != threads:
        graph.program = (threads, *_compiled_program(graph, threads))
    _, program, sources, uses, numbers = graph.program
    inputs = call.inputs

    def deliver(buffers: list[Buffer]) -> None:
        call.data = _results(graph, inputs, buffers)

    try:
        leaves = sources(inputs + graph.values)
        _unsettled([leaf.data for leaf in leaves], False)
        _run(program, leaves, uses, numbers, deliver, asynchronous and not program.can_fail)
    except (IndexError, ArithmeticError, ValueError, MemoryError) as error:
        call.data = Failed(error)
        call.primitive.failed(call)
        raise
    trace.evaluated([call])


def _results(graph: Any, inputs: Sequence[Node], buffers: list[Buffer]) -> tuple[Any, ...]:
    """The data of a compiled call: one a result."""
    if graph.results is None:
        return tuple(buffers)
    made = iter(buffers)
    return tuple(
        next(made) if output == "program" else (inputs[at] if output == "input" else at).data
        for output, at in graph.results
    )


def _compiled_program(graph: Any, threads: int) -> tuple[Any, ...]:
    """(program, what picks its leaves out of inputs and ``graph.values``, how often the inputs
    refer to each, bits of the run-time numbers) of a recorded graph."""
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
    if len(roots) == len(graph.outputs):
        graph.results = None
    live = [index[n] for n in roots]
    counters["programs"] += 1
    program = build_executable(order, live, leaves, scalars, threads, team.Program)
    graph.values = tuple(leaf for leaf in leaves if leaf not in position)
    position |= {leaf: len(graph.inputs) + i for i, leaf in enumerate(graph.values)}
    sources = [position[leaf] for leaf in leaves]
    uses = [int(source < len(graph.inputs)) for source in sources]
    numbers = [number_bits(scalars[i]) for i in program.scalar_order]
    return program, picker(sources), uses, numbers


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
    numbers = [number_bits(scalars[i]) for i in program.scalar_order]

    def deliver(buffers: list[Buffer]) -> None:
        for node, buffer in zip(outputs, buffers, strict=True):
            node.data = buffer

    try:
        _run(program, leaves, uses, numbers, deliver, asynchronous)
    except (IndexError, ArithmeticError, ValueError) as error:
        for node in outputs:
            node.data = Failed(error)
        raise
    trace.evaluated(outputs)


def number_bits(node: Node) -> int:
    """A run-time number as the 64 bits that kernels read."""
    value, dtype = node.primitive.value, node.dtype
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


def _donated(program: Executable, leaves: Sequence[Node], uses: list[int]) -> dict[int, Any]:
    """Outputs that take a leaf's memory: nothing outside the region refers to the leaf's node,
    and nothing else to its buffer and storage."""
    found: dict[int, Any] = {}
    if trace.any_open():
        return found
    free = _free_storages(leaves, uses, program.donors)
    for output, candidates in program.donations:
        if not free:
            break
        nbytes = program.output_bytes[output]
        for leaf in candidates:
            if leaf in free and free[leaf].nbytes >= nbytes:
                found[output] = free.pop(leaf)
                break
    return found


def _free_storages(
    leaves: Sequence[Node], uses: list[int], candidates: Iterable[int]
) -> dict[int, Storage]:
    """The storages of those leaves that nothing else refers to."""
    found = {}
    count = sys.getrefcount
    for leaf in candidates:
        node = leaves[leaf]
        if count(node) - uses[leaf] > _LEAF_USUAL:
            continue
        data = node.data
        if count(data) > 3 or data.offset or count(data.storage) > 2:
            continue
        if type(data.storage) is Storage:  # not somebody else's memory
            found[leaf] = data.storage
    return found


_LEAF_USUAL = 3
"""References to a leaf's node inside ``_free_storages``: the list of leaves, the name, the call."""


def _run(
    program: Executable,
    leaves: Sequence[Node],
    uses: list[int],
    numbers: list[int],
    deliver: Callable[[list[Buffer]], None],
    asynchronous: bool,
) -> None:
    """Allocate, run, and deliver the outputs' buffers."""
    counters["runs"] += 1
    donated = _donated(program, leaves, uses) if program.donations else {}
    segments = program.segments
    is_async = asynchronous and len(segments) == 1 and not getattr(segments[0], "small", True)
    is_async = is_async and not profile.wanted()
    data = [leaf.data for leaf in leaves]
    after = _unsettled(data, is_async and not donated)
    status = words("q", (_NOT_RUN, 0, 0, 0))
    storages = [donated.get(i) or allocate(n) for i, n in enumerate(program.output_bytes)]
    arena = allocate(program.arena_bytes) if program.arena_bytes else None
    bases = [status.buffer_info()[0], 0, arena.address if arena else 0]
    for position in program.leaf_order:
        buffer = data[position]
        bases.append(buffer.storage.address + buffer.offset)
    bases += [storage.address for storage in storages]
    bases += numbers
    block = words("q", bases)
    if is_async:
        ticket = Pending(team.submit(segments[0], block, (storages, arena, data)), program, after)
        deliver(_buffers(program, data, storages, ticket))
        return
    try:
        _run_segments(program, block, status, data)
        deliver(_buffers(program, data, storages, None))
    except BaseException:
        # Interrupted behind the program: it may have written over its inputs.
        if status[0] == 0:
            deliver(_buffers(program, data, storages, None))
        raise


_NOT_RUN = -1


def _unsettled(data: list[Buffer], may_wait: bool) -> list[Pending]:
    """What computes the data, still runs and may fail; nothing unless ``may_wait``, for then
    it is waited for.  Raises what it failed with."""
    found = []
    for buffer in data:
        pending = buffer.ticket
        if pending is not None and pending.may_fail:
            if may_wait and pending.ticket is not None and not team.is_done(pending.ticket):
                found.append(pending)
            else:
                pending.wait()
    return found


def _buffers(
    program: Executable, data: list[Buffer], storages: list[Any], ticket: Pending | None
) -> list[Buffer]:
    """The outputs' buffers."""
    return [
        Buffer(storages[number], offset, ticket)
        if kind == "output"
        else Buffer(data[number].storage, data[number].offset + offset, data[number].ticket)
        for kind, number, offset in program.results
    ]


def _run_segments(program: Executable, bases: Any, status: Any, data: list[Buffer]) -> None:
    """Run to the end, where status[0] becomes 0.  Raises what a kernel or a host call found."""
    earlier = words("q", (0, 0, 0, 0))
    last = len(program.segments) - 1
    for at, segment in enumerate(program.segments):
        if isinstance(segment, HostCall):
            for buffer in data:
                buffer.wait()
            team.synchronize()
            call_host(segment, bases)
            continue
        block = status if at == last else earlier
        bases[0] = block.buffer_info()[0]
        run = profile.timed(program) if profile.wanted() else team.run
        if run(segment, bases):
            raise program.error(tuple(block))
