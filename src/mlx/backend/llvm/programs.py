"""From a region to an executable: plan, lower, compile what is new, assemble the table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlx.backend.llvm import jit
from mlx.backend.llvm.abi import Command, HostCall, KernelSpec
from mlx.backend.llvm.arena import ALIGN, place_temps
from mlx.backend.llvm.executor import BASES, CALL
from mlx.backend.llvm.indexing.loops import GATHER, SCATTER
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.lower import FIRST, lower
from mlx.backend.llvm.target import host
from mlx.base.errors import MatrixError
from mlx.base.lazy import LazyModule
from mlx.base.tree import picker
from mlx.compiler.donate import check_ahead, donations, may_fail
from mlx.compiler.plan import make_plan
from mlx.compiler.steps import Plan
from mlx.graph.node import Node

lapack = LazyModule("mlx.backend.llvm.lapack")

KERNELS = 8192
_CHECKED = {GATHER: "gather", SCATTER: "scatter"}
SMALL_COST = 150_000
DONATED_BYTES = 4096
"""Smaller outputs get memory of their own: finding out who refers to a leaf costs more."""
_kernels: OrderedDict[str, jit.Library] = OrderedDict()


def kernel(spec: KernelSpec) -> jit.Library:
    """The compiled kernel of a spec: from memory, from disk, or compiled now."""
    return kernels([spec], 1)[0]


def kernels(specs: Sequence[KernelSpec], threads: int) -> list[jit.Library]:
    """The compiled kernels of many specs; those to compile share ``threads``."""
    keys = [spec.key for spec in specs]
    found = {key: _kernels[key] for key in keys if key in _kernels}
    missing = {
        key: partial(_source, spec)
        for key, spec in zip(keys, specs, strict=True)
        if key not in found
    }
    if missing:
        for key, library in jit.compile_all(missing, ["kernel"], threads):
            found[key] = _kernels[key] = library
            if len(_kernels) > KERNELS:
                _kernels.popitem(last=False)
    return [found[key] for key in keys]


def kernel_text(spec: KernelSpec) -> str:
    """The IR of one kernel, with all routines that it calls."""
    module = Module()
    spec.emit(module, "kernel")
    return module.text(host().attributes())


def _source(spec: KernelSpec) -> jit.Source:
    """The IR of one kernel, and how to get that of what it shares with others."""
    module = Module(apart=True)
    spec.emit(module, "kernel")
    routines = {name: partial(_routine_text, name, *how) for name, how in module.routines.items()}
    return jit.Source(module.text(host().attributes()), routines)


def _routine_text(name: str, params: Sequence[str], write: Callable[[Function], None]) -> str:
    """The IR of a routine that kernels share."""
    module = Module()
    write(module.function(name, params))
    return module.text(host().attributes())


class Executable:
    """A bound program: native commands, and how leaves and outputs map to its bases."""

    __slots__ = (
        "_commands", "arena_bytes", "blocks", "caller", "can_fail", "carries", "donations",
        "donors", "leaf_order", "leaves", "lean", "met", "only", "output_bytes", "pick", "places",
        "plain", "results", "scalar_order", "segments", "span", "used",
    )  # fmt: skip

    _commands: Any
    segments: list[Any]
    """Native programs and host calls, in order."""
    arena_bytes: int
    output_bytes: list[int]
    leaves: int
    """How many leaves the region has; some may go unread."""
    leaf_order: list[int]
    scalar_order: list[int]
    can_fail: bool
    donations: list[tuple[int, list[int]]]
    """(output, leaves): it may take the memory of one that nobody else refers to."""
    donors: list[int]
    """The leaves that ``donations`` names, each once."""
    results: list[tuple[str, int, int]]
    """For each output: ("leaf" or "output", which, byte offset)."""
    plain: bool
    """Whether the outputs are just the output buffers, in their order."""
    blocks: list[int]
    """Bytes of the blocks of memory that the output buffers lie in."""
    places: list[tuple[int, int]]
    """For each output buffer: (block, byte offset)."""
    carries: dict[int, tuple[int, int]]
    """By command: (output, leaf) of a copy that does nothing if the one has the other's memory."""
    only: Any
    """The only segment, where it is native; else None."""
    lean: Any
    """``only`` without the ``carries``, for when none of them does anything; None without any."""
    pick: Callable[[Any], Sequence[Any]]
    """Takes what ``leaf_order`` names."""
    span: slice | None
    """The words of the executor's ``@call`` that a run fills; None where it has too few."""
    caller: Any
    """The runtime's: False before the first run, True after it, then what runs it, or None."""
    met: int
    """How often it was looked up since it has a caller; the runtime's."""
    used: int
    """When it was used last; the cache's."""

    def seal(self) -> Executable:
        """Note what follows from the rest; the last step of making one."""
        self.blocks, self.places = _blocks(self.output_bytes)
        only = self.segments[0] if len(self.segments) == 1 else None
        self.only = None if isinstance(only, HostCall) else only
        self.caller = False
        self.met = 0
        self.pick = picker(self.leaf_order)
        end = BASES + FIRST + len(self.leaf_order) + len(self.places) + len(self.scalar_order)
        self.span = slice(0, end) if end <= CALL else None
        return self

    @property
    def commands(self) -> list[Command | HostCall]:
        """The kernels' launches and the host calls, in order."""
        if callable(self._commands):
            self._commands = self._commands()
        return self._commands

    @commands.setter
    def commands(self, commands: Any) -> None:
        """Set them, or what makes them when somebody looks."""
        self._commands = commands

    def error(self, status: Sequence[int]) -> Exception:
        """The exception for a status block that a kernel filled."""
        if message := lapack.failure(status):
            return MatrixError(message)
        code, index, size, width = status
        what = f"index {index} is" if width == 1 else f"a window of {width} at {index} is"
        return IndexError(
            f"[{_CHECKED.get(code, 'eval')}] {what} out of bounds for an axis of size {size}; "
            f"valid indices are {-size} to {size - width}."
        )


SHARED_BYTES = 1024


def _blocks(sizes: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Blocks for buffers, and where in them these lie.  Tiny ones share blocks that are no larger
    than the Python objects around one of them: so one that stays keeps little else."""
    blocks: list[int] = []
    places = []
    shared = -1
    for nbytes in sizes:
        taken = -(-nbytes // ALIGN) * ALIGN
        if taken > SHARED_BYTES // 4:
            places.append((len(blocks), 0))
            blocks.append(nbytes)
            continue
        if shared < 0 or blocks[shared] + taken > SHARED_BYTES:
            shared = len(blocks)
            blocks.append(0)
        places.append((shared, blocks[shared]))
        blocks[shared] += taken
    return blocks, places


def assemble(
    plan: Plan,
    order: Sequence[Node],
    live: Sequence[int],
    leaves: Sequence[Node],
    scalars: Sequence[Node],
    workers: int,
    place: Callable[[Plan], int] = place_temps,
) -> Executable:
    """Lower a plan; its kernels are not looked up yet."""
    check_ahead(plan)
    lowered = lower(plan, workers, place)
    result = Executable()
    result.commands = lowered.commands
    result.arena_bytes = lowered.arena_bytes
    result.output_bytes = lowered.outputs
    leaf_at = {node: i for i, node in enumerate(leaves)}
    scalar_at = {node: i for i, node in enumerate(scalars)}
    result.leaves = len(leaves)
    result.leaf_order = [leaf_at[node] for node in plan.leaves]
    result.scalar_order = [scalar_at[node] for node in plan.scalars]
    result.donations = [
        (lowered.output_index[buffer], [leaf_at[plan.leaves[p]] for p in positions])
        for buffer, positions in donations(plan)
        if plan.buffers[buffer].nbytes >= DONATED_BYTES
    ]
    result.donors = sorted({leaf for _, positions in result.donations for leaf in positions})
    result.carries = _carries(lowered.commands, result.leaf_order)
    result.can_fail = any(may_fail(step) for step in plan.steps)
    result.results = []
    for i in live:
        buffer, offset = plan.outputs[order[i]]
        info = plan.buffers[buffer]
        if info.kind == "leaf":
            result.results.append(("leaf", leaf_at[plan.leaves[info.position]], offset))
        else:
            result.results.append(("output", lowered.output_index[buffer], offset))
    whole = [("output", i, 0) for i in range(len(result.output_bytes))]
    result.plain = result.results == whole
    return result


def _carries(
    commands: Sequence[Command | HostCall], leaf_order: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """The copies from whole leaves into whole outputs: ``Executable.carries``."""
    outputs = FIRST + len(leaf_order)
    found = {}
    for at, command in enumerate(commands):
        if isinstance(command, Command) and command.between is not None:
            source, target = command.between
            if FIRST <= source.base < outputs <= target.base:
                found[at] = (target.base - outputs, leaf_order[source.base - FIRST])
    return found


def build_executable(
    order: list[Node],
    live: list[int],
    leaves: list[Node],
    scalars: list[Node],
    workers: int,
    make_program: Any,
    check_size: Callable[[int], None],
) -> Executable:
    """Plan and compile a region.  ``check_size`` raises where a buffer can't be allocated,
    before its size takes time or overflows."""
    plan = make_plan(order, {order[i] for i in live})
    for buffer in plan.buffers:
        if buffer.kind != "leaf":
            check_size(buffer.nbytes)
    result = assemble(plan, order, live, leaves, scalars, workers)
    result.segments = []
    table: list[Any] = []
    libraries: list[jit.Library] = []
    specs = [c.spec for c in result.commands if isinstance(c, Command)]
    compiled = iter(kernels(specs, workers))
    for command in result.commands:
        if isinstance(command, HostCall):
            if table:
                result.segments.append(make_program(table, False, libraries))
            result.segments.append(command)
            table, libraries = [], []
            continue
        library = next(compiled)
        libraries.append(library)
        table.append((library.address("kernel"), command.consts, command.tasks))
    if table:
        small = is_small(result.commands) and not result.segments
        result.segments.append(make_program(table, small, libraries))
    result.lean = None
    if (carries := result.carries) and len(table) == len(result.commands) > len(carries):
        rest = [i for i in range(len(table)) if i not in carries]
        small = is_small([result.commands[i] for i in rest])
        result.lean = make_program([table[i] for i in rest], small, libraries)
    return result.seal()


def is_small(commands: Sequence[Command | HostCall]) -> bool:
    """Whether a program takes less time than waking threads would."""
    cost = sum(c.bytes + c.flops // 8 for c in commands if isinstance(c, Command))
    return cost < SMALL_COST
