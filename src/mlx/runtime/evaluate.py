"""Evaluation: collect what is not computed, look its program up, run it."""

from __future__ import annotations

import operator
import sys
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mlx.base.lazy import LazyModule
from mlx.base.tree import picker
from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime import collector, team
from mlx.runtime.buffer import Buffer
from mlx.runtime.cut import layers, pieces
from mlx.runtime.execute import Failed, counters, number_bits, run, spoil, unsettled
from mlx.runtime.memory import check_size

if TYPE_CHECKING:
    from mlx.backend.llvm.programs import Executable

programs = LazyModule("mlx.backend.llvm.programs")
groups = LazyModule("mlx.compiler.groups")

PROGRAMS = 2048
collector.calm()
_lock = team.planning
_programs: OrderedDict[Any, Executable] = OrderedDict()


def evaluate(nodes: Sequence[Node], asynchronous: bool = False) -> None:
    """Compute nodes and store their data.

    Raises ValueError for a placeholder of a transformation, IndexError for an index out of
    bounds, MemoryError beyond the memory limit, and again whatever made an operand fail.
    """
    with _lock:
        waiting = [node for node in nodes if node.data is None]
        if waiting and not _evaluate_calls(waiting, asynchronous):
            _evaluate(waiting, asynchronous)
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


def _settle(order: Sequence[Node]) -> bool:
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


_serial = operator.attrgetter("serial")


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
    find = index.get
    for position, node in enumerate(order):
        primitive = node.primitive
        index[node] = position
        part = primitive.__dict__.get("_key_part")
        if part is None:
            part = primitive.key_part
        dtype = node.dtype
        if dtype is not None:
            key += (part, node.shape, dtype.index)
        else:
            key.append(part)
        inputs = node.inputs
        if not inputs:
            if primitive.family == "source" and getattr(primitive, "is_literal", None) is False:
                scalars.append(node)
                edges[position] += 1  # by ``scalars`` itself
            continue
        for source in inputs:
            at = find(source)
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
    if calls:
        order.clear()  # references to arrays, and to calls, would keep them from being donated
        while calls:
            call = calls.pop(0)
            _evaluate([n for n in call.inputs if n.data is None], asynchronous)
            _call_compiled(call, asynchronous)
        del call
        order = _collect([n for n in roots if n.data is None])[0]
    while order and _settle(order):
        waiting = [n for n in roots if n.data is None]
        order = _collect(waiting)[0] if waiting else waiting
    if order:
        wanted = {n for n in roots if n.data is None}
        for piece in pieces(order):
            _evaluate_region(piece, wanted, asynchronous)


def _evaluate_calls(roots: Sequence[Node], asynchronous: bool) -> bool:
    """Evaluate results of compiled functions that nothing else has to be computed for; False if
    they are something else."""
    calls = {node.inputs[0] if node.inputs else node for node in roots}
    for call in calls:
        if call.dtype is not None or call.primitive.family != "compiled":
            return False
        if call.data is None and not all([type(node.data) is Buffer for node in call.inputs]):
            return False
    for call in sorted(calls, key=_serial):
        if call.data is None:
            _call_compiled(call, asynchronous)
    return _settle(roots)


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
        leaves = list(sources(inputs + graph.values))  # never ``inputs`` itself: ``uses``
        unsettled([leaf.data for leaf in leaves], False)
        run(program, leaves, uses, numbers, deliver, asynchronous and not program.can_fail)
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
    program = _build(order, live, leaves, scalars, threads)
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


MANY = 256
"""Regions of fewer nodes are always planned whole."""
_structures: OrderedDict[int, None] = OrderedDict()


def _shapes_change(key: list[Any]) -> bool:
    """Whether a region of the same structure, but other shapes, was planned before."""
    structure = hash(tuple([part for part in key if type(part) is int]))
    if structure in _structures:
        return True
    _structures[structure] = None
    if len(_structures) > PROGRAMS:
        _structures.popitem(last=False)
    return False


def _build(
    order: list[Node], live: list[int], leaves: list[Node], scalars: list[Node], threads: int
) -> Executable:
    counters["programs"] += 1
    return programs.build_executable(
        order, live, leaves, scalars, threads, team.Program, check_size
    )


def _remember(key: Any, program: Executable) -> None:
    _programs[key] = program
    if len(_programs) > PROGRAMS:
        _programs.popitem(last=False)


_PASSING = frozenset({"custom", "barrier", "compiled"})


def _wanted_whole(order: list[Node], live: list[int], roots: set[Node]) -> list[Node]:
    """Nodes with several outputs that something outside refers to: it may ask for any of them,
    and their operands are only here now.  Those in ``roots`` are being taken care of."""
    return [
        node
        for i in live
        if (node := order[i]).dtype is None
        and node.primitive.family not in _PASSING
        and node not in roots
    ]


def _evaluate_whole(
    order: list[Node], roots: set[Node], several: list[Node], asynchronous: bool
) -> None:
    """Evaluate a region and every output of some of its nodes, which keep them as their data."""
    outputs = groups.outputs_of(several, order)
    results = [node for made in outputs.values() for node in made]
    inside = set(order)
    order += [node for node in results if node not in inside]
    del inside
    try:
        _evaluate_region(order, roots | set(several) | set(results), asynchronous)
    finally:  # interrupted behind the program, the results are there
        for source, made in outputs.items():
            if all(node.data is not None for node in made):
                source.data = tuple([node.data for node in made])
    trace.evaluated(several)


def _evaluate_region(order: list[Node], roots: set[Node], asynchronous: bool) -> None:
    key, leaves, scalars, edges, uses, index = _describe(order)
    live = _outside(order, edges, _USUAL)
    wanted = {at for n in roots if (at := index.get(n, -1)) >= 0}
    live = sorted(wanted.union(live)) if not wanted.issubset(live) else live
    if several := _wanted_whole(order, live, roots):
        del key, leaves, scalars, index  # references that would make nodes look needed
        _evaluate_whole(order, roots, several, asynchronous)
        return
    live = [i for i in live if order[i].dtype is not None]
    del index
    threads = team.num_threads()
    whole = (tuple(key), tuple(live), threads)
    program = _programs.get(whole)
    if program is None:
        parts = layers(order) if len(order) >= MANY and _shapes_change(key) else []
        if parts:
            del leaves, scalars  # references that would make nodes look needed
            for part in parts:
                _evaluate_region(part, roots, asynchronous)
            return
        program = _build(order, live, leaves, scalars, threads)
        _remember(whole, program)
    else:
        _programs.move_to_end(whole)
    outputs = [order[i] for i in live]
    numbers = [number_bits(scalars[i]) for i in program.scalar_order]

    def deliver(buffers: list[Buffer]) -> None:
        for node, buffer in zip(outputs, buffers, strict=True):
            node.data = buffer

    try:
        run(program, leaves, uses, numbers, deliver, asynchronous)
    except (IndexError, ArithmeticError, ValueError) as error:
        spoil(order, outputs, error)
        raise
    trace.evaluated(outputs)
