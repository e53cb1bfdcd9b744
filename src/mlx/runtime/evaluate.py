"""Evaluation: collect what is not computed, look its program up, run it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from mlx.base.lazy import LazyModule
from mlx.base.tree import picker
from mlx.graph import chains, trace
from mlx.graph.node import Node
from mlx.runtime import collector, graphs, known, profile, segments, team
from mlx.runtime.buffer import Buffer
from mlx.runtime.cut import LIMIT, STRETCH, UNROLLED, WHOLE, comes_back, is_other_length, pieces
from mlx.runtime.described import Described, describe, wanted_whole
from mlx.runtime.execute import (
    Failed,
    counters,
    may_fail,
    may_spoil,
    number_bits,
    run,
    spoil,
)
from mlx.runtime.pending import are_results, collect, settle
from mlx.runtime.structures import Programs, Region

if TYPE_CHECKING:
    from mlx.backend.llvm.executable import Executable

equality = LazyModule("mlx.compiler.equal")
groups = LazyModule("mlx.compiler.groups")
linked = LazyModule("mlx.backend.llvm.linked")

collector.calm()
_lock = team.planning
_programs = Programs()


def evaluate(nodes: Sequence[Node], asynchronous: bool = False) -> None:
    """Compute nodes and store their data.

    Raises ValueError for a placeholder of a transformation, IndexError for an index out of
    bounds, MemoryError beyond the memory limit, and again whatever made an operand fail.
    """
    with _lock:
        waiting = [node for node in nodes if node.data is None]
        is_done = not waiting or are_results(waiting) and _evaluate_calls(waiting, asynchronous)
        if not is_done and not _evaluate_known(waiting, asynchronous):
            _evaluate(waiting, asynchronous)
        elif not is_done and len(waiting) == len(nodes):
            return  # at once, none to be waited for
        late = []
        for node in nodes:
            data = node.data
            if type(data) is not Buffer:
                raise data.error()
            if data.ticket is not None:
                late.append(data)
    if not asynchronous:
        for data in late:
            data.wait()


def _deliver(outputs: list[Node], buffers: list[Buffer]) -> None:
    """Give a program's outputs, which are as many, their data."""
    for node, buffer in zip(outputs, buffers):  # noqa: B905 (it takes longer)
        node.data = buffer


def _evaluate_known(roots: Sequence[Node], asynchronous: bool) -> bool:
    """Evaluate the region of some roots if it is short and known; whether it was."""
    if trace.has_wholes():  # a gradient may be asked for of what is computed now
        segments.expand(roots)
    found = known.find(roots)
    if found is None or profile.LEVEL or profile.active:
        return False
    region, (leaves, numbers, outputs) = found
    program = region.program
    if asynchronous and program.can_fail:
        return False

    deliver = partial(_deliver, outputs)
    try:
        if not program.caller(leaves, region.uses, numbers, deliver, asynchronous):
            return False
    except (IndexError, ArithmeticError, ValueError) as error:
        segments.expand(roots)
        _fail(describe(roots, _ALL), outputs, error)
        raise
    if region.has_segments:
        chains.balance.known()
    counters["runs"] += 1
    trace.evaluated(outputs)
    return True


_serial = operator.attrgetter("serial")
_data_of = operator.attrgetter("data")
_COMPUTED = {Buffer}
_ALL = 1 << 62


def _evaluate(roots: Sequence[Node], asynchronous: bool) -> None:
    region = describe(roots, WHOLE)
    meeting = None
    if region.segments or not region.complete:
        key = segments.key_of(region)
        found = key and segments.find(key)
        if found and _evaluate_segments(region, found, asynchronous):
            return
        if key and not found:
            meeting = segments.Meeting(key, region)
        if any([node.dtype is not None for node in region.segments]):
            chains.balance.unknown(len(region.order))
        segments.expand(roots)
        before, region = region, describe(roots, WHOLE)
        before.forget()  # references to arrays would keep them from being donated
    nodes, longest = len(region.order), LIMIT
    if region.complete and nodes >= UNROLLED and is_other_length(region):
        longest = STRETCH
    elif region.complete and (nodes <= LIMIT or comes_back(region.key, region.shapes)):
        _evaluate_region(region, asynchronous, meeting=meeting)
        return
    del region  # references to arrays would keep them from being donated
    _evaluate_parts(roots, asynchronous, longest)


def _evaluate_segments(region: Described, found: segments.Known, asynchronous: bool) -> bool:
    """Evaluate a region that is known with its segments; whether that was possible."""
    program = found.program
    if asynchronous and (program.can_fail or any([may_fail(n.data) for n in region.leaves])):
        return False
    if callable(program.caller):
        known.learn(region, program, found.outputs, found.leaves, found.numbers)
    chains.balance.known()
    uses, numbers, outputs = found.operands(region)

    deliver = partial(_deliver, outputs)
    try:
        run(program, region.leaves, uses, numbers, deliver, asynchronous)
    except (IndexError, ArithmeticError, ValueError) as error:
        segments.expand(outputs)
        region.forget()
        _fail(describe(outputs, _ALL), outputs, error)
        raise
    trace.evaluated(outputs)
    return True


def _evaluate_parts(roots: Sequence[Node], asynchronous: bool, longest: int) -> None:
    """Evaluate what is no single region: calls of compiled functions first, the rest in pieces."""
    order, calls, finished = collect(roots)
    if calls:
        order.clear()  # references to arrays, and to calls, would keep them from being donated
        while calls:
            call = calls.pop(0)
            _evaluate([n for n in call.inputs if n.data is None], asynchronous)
            _call_compiled(call, asynchronous)
        del call
        order, _, finished = collect([n for n in roots if n.data is None])
    while finished and settle(order):
        order.clear()
        order, _, finished = collect([n for n in roots if n.data is None])
    for piece in pieces(order, longest):
        settle(piece)  # outputs of a node that an earlier piece computed whole
        inner = {source for node in piece for source in node.inputs}
        last = [node for node in piece if node.data is None and node not in inner]
        piece.clear()
        del inner
        # ``evaluate`` waits for the last: meanwhile the next piece is looked at
        _evaluate_region(describe(last, _ALL), asynchronous=True)


def _evaluate_calls(roots: Sequence[Node], asynchronous: bool) -> bool:
    """Evaluate results of compiled functions that nothing else has to be computed for; False if
    they are something else."""
    calls = {node.inputs[0] if node.inputs else node for node in roots}
    for call in calls:
        if call.dtype is not None or call.primitive.family != "compiled":
            return False
        if call.data is None and not _COMPUTED.issuperset(map(type, map(_data_of, call.inputs))):
            return False
    for call in sorted(calls, key=_serial) if len(calls) > 1 else calls:
        if call.data is None:
            _call_compiled(call, asynchronous)
    return settle(roots)


def _call_compiled(call: Node, asynchronous: bool) -> None:
    """Run a compiled function's program; its node's data are the outputs' buffers."""
    graph, threads = call.primitive.graph, team.num_threads()
    if graph.program is None or graph.program[0] != threads:
        region = graphs.region_of(graph)
        if len(region.order) >= UNROLLED and is_other_length(region):
            _call_in_pieces(call, region)
            return
        graph.program = (threads, *_compiled_program(graph, region, threads))
    _, program, sources, uses, numbers = graph.program
    inputs = call.inputs

    def deliver(buffers: list[Buffer]) -> None:
        call.data = graphs.results(graph, inputs, buffers)

    try:
        leaves = list(sources(inputs + graph.values))  # never ``inputs`` itself: ``uses``
        can_wait = asynchronous and not program.can_fail
        run(program, leaves, uses, numbers, deliver, can_wait, patient=True)
    except (IndexError, ArithmeticError, ValueError, MemoryError) as error:
        call.data = Failed(error)
        call.primitive.failed(call)
        raise
    trace.evaluated([call])


def _call_in_pieces(call: Node, region: Described) -> None:
    """Evaluate a call of a function that unrolled a loop, without a program of its own."""
    roots, outputs = graphs.replayed(call.primitive.graph, region, call.inputs)
    try:
        _evaluate_parts(roots, True, STRETCH)
        call.data = graphs.computed(outputs)
    except (IndexError, ArithmeticError, ValueError, MemoryError) as error:
        call.data = Failed(error)
        call.primitive.failed(call)
        raise
    trace.evaluated([call])


def _compiled_program(graph: Any, region: Described, threads: int) -> tuple[Any, ...]:
    """(program, what picks its leaves out of inputs and ``graph.values``, how often the inputs
    refer to each, bits of the run-time numbers) of a recorded graph."""
    position = {node: i for i, node in reversed(list(enumerate(graph.inputs)))}
    roots = graphs.wanted(graph)
    at = {node: i for i, node in enumerate(roots)}
    leaves, scalars = region.leaves, region.scalars
    graph.results = [
        ("input", position[n])
        if n in position
        else (("value", n) if n.data is not None else ("program", at[n]))
        for n in graph.outputs
    ]
    if len(roots) == len(graph.outputs):
        graph.results = None
    program = _program(region, list(range(len(roots))), threads)
    graph.values = tuple(leaf for leaf in leaves if leaf not in position)
    position |= {leaf: len(graph.inputs) + i for i, leaf in enumerate(graph.values)}
    sources = [position[leaf] for leaf in leaves]
    uses = [int(source < len(graph.inputs)) for source in sources]
    numbers = [number_bits(scalars[i]) for i in program.scalar_order]
    return program, picker(sources), uses, numbers


def _program(region: Described, live: list[int], threads: int) -> Executable:
    """The program of a region: met before, bound to new sizes, or planned."""
    scalars = region.scalars
    equal = equality.equal_numbers(scalars) if len(scalars) > 1 else ()
    key = ((*region.key, *live, threads), tuple(region.shapes), equal)
    program = _programs.find(key)
    if program is None:
        counters["programs"] += 1
        structure = (*region.structure(), *live, threads)
        shapes = tuple(region.shapes)
        planned = Region(region, live, shapes, equal, threads)
        program = _programs.make(key, (structure, tuple(map(len, shapes)), equal), planned)
        if linked.crowded():
            _forget()
    return program


def _forget() -> None:
    """Let go of all programs and their kernels."""
    _programs.clear()
    segments.forget()
    known.forget()
    linked.forget()


def _evaluate_whole(roots: list[Node], made: dict[Node, list[Node]], asynchronous: bool) -> None:
    """Evaluate a region and every output of some of its nodes, which keep them as their data."""
    several = list(made)
    results = [node for outputs in made.values() for node in outputs]
    try:
        _evaluate_region(describe([*roots, *several, *results], _ALL), asynchronous)
    finally:  # interrupted behind the program, the results are there
        for source, outputs in made.items():
            if all(node.data is not None for node in outputs):
                source.data = tuple([node.data for node in outputs])
    trace.evaluated(several)


def _evaluate_apart(firm: list[Node], rest: list[Node]) -> None:
    """Evaluate what can't fail of a region as a program of its own, since all outputs of one
    program fail together; then the rest."""
    _evaluate_region(describe(firm, _ALL), True, firm=True)
    _evaluate([n for n in rest if n.data is None], True)  # it may pick of what was made whole


def _note(
    region: Described, live: list[int], program: Executable, meeting: segments.Meeting | None
) -> None:
    """Note what a region's program is, so that it may be recognised sooner."""
    if meeting is not None:
        meeting.learn(region, live, program)
    elif callable(program.caller):
        numbers = [(at, False) for at in program.scalar_order]
        known.learn(region, program, live, range(len(region.leaves)), numbers)


def _evaluate_region(
    region: Described,
    asynchronous: bool,
    firm: bool = False,
    meeting: segments.Meeting | None = None,
) -> None:
    """Evaluate a region; where it is ``firm``, it can't fail."""
    assert region.complete
    order = region.order
    live = region.outside()
    if asynchronous and not firm:
        spoiled = may_spoil(sorted(order, key=_serial))
        if spoiled and not all([order[i] in spoiled for i in live]):
            safe = [order[i] for i in live if order[i] not in spoiled]
            rest = [order[i] for i in live if order[i] in spoiled]
            spoiled.clear()
            region.forget()
            _evaluate_apart(safe, rest)
            return
        spoiled.clear()
    if region.several:
        if several := wanted_whole(region, live):
            roots = order[: region.roots]
            made = groups.outputs_of(several, order)
            several.clear()
            region.forget()
            _evaluate_whole(roots, made, asynchronous)
            return
        live = [i for i in live if order[i].dtype is not None]
    program = _program(region, live, team.num_threads())
    _note(region, live, program, meeting)
    outputs = order if len(live) == len(order) else list(map(order.__getitem__, live))
    numbers = _NONE
    if program.scalar_order:
        numbers = [number_bits(region.scalars[i]) for i in program.scalar_order]

    deliver = partial(_deliver, outputs)
    try:
        run(program, region.leaves, region.uses, numbers, deliver, asynchronous)
    except (IndexError, ArithmeticError, ValueError) as error:
        _fail(region, outputs, error)
        raise
    trace.evaluated(outputs)


_NONE: list[int] = []


def _fail(region: Described, outputs: list[Node], error: Exception) -> None:
    """Fail what depends on what raised ``error``, and compute the other outputs of the region: a
    random key that waits for the next evaluation would be a longer chain after each failure."""
    spoil(sorted(region.order, key=_serial), outputs, error)
    sound = [node for node in outputs if node.data is None]
    outputs.clear()
    region.forget()  # references to arrays would make them outputs, and those of frames last
    if sound:
        with suppress(MemoryError):
            _evaluate(sound, False)
