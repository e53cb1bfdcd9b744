"""One run of a program: its memory, donation, waiting, and what becomes of failures."""

from __future__ import annotations

import copy
import operator
import struct
import sys
from array import array as words
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from mlx.base.dtype import float32
from mlx.base.lazy import LazyModule
from mlx.graph import trace
from mlx.graph.node import Node
from mlx.runtime import callers, profile, team
from mlx.runtime.buffer import Buffer
from mlx.runtime.host import call_host
from mlx.runtime.memory import Storage, allocate, allocate_all

if TYPE_CHECKING:
    from mlx.backend.llvm.executable import Executable

abi = LazyModule("mlx.backend.llvm.abi")
donate = LazyModule("mlx.compiler.donate")

counters = {"programs": 0, "runs": 0}


class Failed:
    """In a node's ``data``: computing it raised; using it raises again."""

    __slots__ = ("exception",)

    def __init__(self, exception: Exception) -> None:
        self.exception = _bare(exception)

    def error(self) -> Exception:
        return _bare(self.exception)


def spoil(order: Sequence[Node], outputs: Sequence[Node], error: Exception) -> None:
    """Fail those outputs of a region that depend on what can have raised ``error``.

    The others keep their inputs, so that they can still be computed: a random key must outlive
    the batch that was drawn beside it.
    """
    spoiled = may_spoil(order, _has_failed)
    for node in spoiled.intersection(outputs) or outputs:
        node.data = Failed(error)


def may_spoil(order: Sequence[Node], fails: Callable[[Any], bool] | None = None) -> set[Node]:
    """The nodes of a region that can fail, or depend on what can or, by its data, ``fails``."""
    fails = fails or may_fail
    spoiled: set[Node] = set()
    for node in order:
        inputs = node.inputs
        if node.primitive.family in donate.CAN_FAIL or not spoiled.isdisjoint(inputs):
            spoiled.add(node)
            continue
        for source in inputs:
            if source.data is not None and fails(source.data):
                spoiled.add(node)
                break
    return spoiled


def may_fail(data: Any) -> bool:
    """Whether what computes a node's data still runs, and can fail."""
    pending = data.ticket if type(data) is Buffer else None
    return pending is not None and pending.may_fail


def _has_failed(data: Any) -> bool:
    pending = data.ticket if type(data) is Buffer else None
    return pending is not None and pending.exception is not None


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


_pack_float = struct.Struct("<f").pack


def number_bits(node: Node) -> int:
    """A run-time number as the 64 bits that kernels read."""
    value, dtype = node.primitive.value, node.dtype
    if dtype is float32:
        try:
            return int.from_bytes(_pack_float(value), "little")
        except OverflowError:  # NumPy makes it infinite
            pass
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
    for leaf in candidates:
        of_node, of_buffer, of_storage = _references(leaves, leaf)
        if of_node - uses[leaf] > _USUAL[0] or of_buffer > _USUAL[1] or of_storage > _USUAL[2]:
            continue
        data = leaves[leaf].data
        if (
            type(data.storage) is Storage and data.address == data.storage.address
        ):  # not somebody else's memory
            found[leaf] = data.storage
    return found


def _references(leaves: Sequence[Node], leaf: int) -> tuple[int, int, int]:
    """How often a leaf's node, its buffer and its storage are referred to."""
    count = sys.getrefcount
    node = leaves[leaf]
    data = node.data
    return count(node), count(data), count(data.storage)


def _calibrate() -> tuple[int, int, int]:
    """What ``_references`` finds where nobody else refers to anything."""
    return _references([Node(None, (), (), None, Buffer(allocate(1)))], 0)


_USUAL = _calibrate()


_data_of = operator.attrgetter("data")
_address_of = operator.attrgetter("address")


def run(
    program: Executable,
    leaves: Sequence[Node],
    uses: list[int],
    numbers: list[int],
    deliver: Callable[[list[Buffer]], None],
    asynchronous: bool,
    patient: bool = False,
) -> None:
    """Allocate, run, and deliver the outputs' buffers; where ``patient``, after everything that
    it reads and that may fail."""
    counters["runs"] += 1
    call = program.caller
    is_timed = profile.LEVEL or profile.active
    if call is False:
        program.caller = True
    elif call is not None and not is_timed:
        if call is True:
            call = program.caller = callers.caller(program)
        if call is not None and call(leaves, uses, numbers, deliver, asynchronous):
            return
    donated = _donated(program, leaves, uses) if program.donations else None
    segment = None if is_timed else program.only
    data = list(map(_data_of, leaves))
    if donated and segment is not None and _carried(program, donated, data):
        segment = program.lean
    is_async = asynchronous and segment is not None and not segment.small
    after = _NOTHING
    if any([buffer.ticket is not None for buffer in data]):
        after = unsettled(data, is_async and not donated and not patient)
    storages = _blocks(program, donated)
    arena = allocate(program.arena_bytes) if program.arena_bytes else None
    addresses = [storages[number].address + offset for number, offset in program.places]
    read = map(_address_of, program.pick(data))
    bases = [0, 0, arena.address if arena else 0, *read, *addresses, *numbers]
    block = words("q", bases + _NOT_RUN)
    if is_async and segment is not None:
        ticket = Pending(team.submit(segment, block, (storages, arena, data)), program, after)
        deliver(_buffers(program, data, storages, addresses, ticket))
        return
    made = _buffers(program, data, storages, addresses, None)
    _run(program, segment, block, data, lambda: deliver(made))


def _run(
    program: Executable,
    segment: team.Program | None,
    block: words[int],
    data: list[Buffer],
    deliver: Callable[[], None],
) -> None:
    """Run all of a program, or its only segment, to the end, and deliver."""
    block[0] = block.buffer_info()[0] + 8 * (len(block) - 4)  # its end is the status block
    try:
        if segment is not None:
            if team.run(segment, block):
                raise program.error(block[-4:])
        else:
            _run_segments(program, block, data)
        deliver()
    except BaseException:
        # Interrupted behind the program: it may have written over its inputs.
        if block[-4] == 0:
            deliver()
        raise


def _blocks(program: Executable, donated: dict[int, Any] | None) -> list[Storage]:
    """Memory for the results, their own or what is donated."""
    if not donated:
        return allocate_all(program.blocks)
    given = {program.places[output][0]: storage for output, storage in donated.items()}
    return [given.get(i) or allocate(n) for i, n in enumerate(program.blocks)]


def _carried(program: Executable, donated: dict[int, Any], data: list[Buffer]) -> bool:
    """Whether the copies that may do nothing all do nothing."""
    return program.lean is not None and all(
        [data[leaf].storage is donated.get(output) for output, leaf in program.carries.values()]
    )


_NOT_RUN = [-1, 0, 0, 0]
_NOTHING: list[Pending] = []


def unsettled(data: list[Buffer], may_wait: bool) -> list[Pending]:
    """What computes the data, still runs and may fail; nothing unless ``may_wait``, for then
    it is waited for.  Raises what it failed with."""
    found: list[Pending] = []
    for buffer in data:
        pending = buffer.ticket
        if pending is not None and pending.may_fail:
            if may_wait and pending.ticket is not None and not team.is_done(pending.ticket):
                found.append(pending)
            else:
                pending.wait()
    return found


def _buffers(
    program: Executable,
    data: list[Buffer],
    storages: list[Any],
    addresses: list[int],
    ticket: Pending | None,
) -> list[Buffer]:
    """The outputs' buffers."""
    made: list[Buffer] = []
    if program.plain:
        new = Buffer.__new__
        for (number, _), address in zip(program.places, addresses, strict=True):
            buffer = new(Buffer)  # Buffer(...), in half the time
            buffer.storage, buffer.address, buffer.ticket = storages[number], address, ticket
            made.append(buffer)
        return made
    for kind, number, offset in program.results:
        if kind == "output":
            block, start = program.places[number]
            made.append(Buffer(storages[block], start + offset, ticket))
        else:
            of = data[number]
            made.append(Buffer(of.storage, of.offset + offset, of.ticket))
    return made


def _run_segments(program: Executable, bases: Any, data: list[Buffer]) -> None:
    """Run to the end, where the status block's first word, -1 till then, becomes 0.  Raises what
    a kernel or a host call found."""
    status = bases[0]
    earlier = words("q", (0, 0, 0, 0))
    last = len(program.segments) - 1
    for at, segment in enumerate(program.segments):
        if isinstance(segment, abi.HostCall):
            for buffer in data:
                buffer.wait()
            team.synchronize()
            call_host(segment, bases)
            continue
        bases[0] = status if at == last else earlier.buffer_info()[0]
        runner = profile.timed(program) if profile.wanted() else team.run
        if runner(segment, bases):
            raise program.error(tuple(bases[-4:] if at == last else earlier))
    bases[0] = status
