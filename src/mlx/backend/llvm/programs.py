"""From a region to an executable: plan, lower, compile what is new, assemble the table."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from mlx.backend.llvm import jit
from mlx.backend.llvm.abi import Command, HostCall, KernelSpec
from mlx.backend.llvm.arena import place_temps
from mlx.backend.llvm.indexing.loops import GATHER, SCATTER
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.lower import lower
from mlx.backend.llvm.target import host
from mlx.compiler.donate import check_ahead, donations, may_fail
from mlx.compiler.plan import make_plan
from mlx.compiler.steps import Plan
from mlx.graph.node import Node

KERNELS = 8192
_CHECKED = {GATHER: "gather", SCATTER: "scatter"}
SMALL_COST = 150_000
DONATED_BYTES = 4096
"""Smaller outputs get memory of their own: finding out who refers to a leaf costs more."""
_kernels: OrderedDict[str, jit.Library] = OrderedDict()


def kernel(spec: KernelSpec) -> jit.Library:
    """The compiled kernel of a spec: from memory, from disk, or compiled now."""
    key = spec.key
    found = _kernels.get(key)
    if found is None:
        found = jit.compile_cached(key, lambda: kernel_text(spec), ["kernel"])
        _kernels[key] = found
        if len(_kernels) > KERNELS:
            _kernels.popitem(last=False)
    return found


def kernel_text(spec: KernelSpec) -> str:
    """The IR of one kernel."""
    module = Module()
    spec.emit(module, "kernel")
    return module.text(host().attributes())


class Executable:
    """A bound program: native commands, and how leaves and outputs map to its bases."""

    __slots__ = (
        "_commands", "arena_bytes", "can_fail", "donations", "donors", "leaf_order",
        "output_bytes", "plain", "results", "scalar_order", "segments",
    )  # fmt: skip

    _commands: Any
    segments: list[Any]
    """Native programs and host calls, in order."""
    arena_bytes: int
    output_bytes: list[int]
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
        code, index, size, width = status
        what = f"index {index} is" if width == 1 else f"a window of {width} at {index} is"
        return IndexError(
            f"[{_CHECKED.get(code, 'eval')}] {what} out of bounds for an axis of size {size}; "
            f"valid indices are {-size} to {size - width}."
        )


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
    result.leaf_order = [leaf_at[node] for node in plan.leaves]
    result.scalar_order = [scalar_at[node] for node in plan.scalars]
    result.donations = [
        (lowered.output_index[buffer], [leaf_at[plan.leaves[p]] for p in positions])
        for buffer, positions in donations(plan)
        if plan.buffers[buffer].nbytes >= DONATED_BYTES
    ]
    result.donors = sorted({leaf for _, positions in result.donations for leaf in positions})
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
    for command in result.commands:
        if isinstance(command, HostCall):
            if table:
                result.segments.append(make_program(table, False, libraries))
            result.segments.append(command)
            table, libraries = [], []
            continue
        library = kernel(command.spec)
        libraries.append(library)
        table.append((library.address("kernel"), command.consts, command.tasks))
    if table:
        small = is_small(result.commands) and not result.segments
        result.segments.append(make_program(table, small, libraries))
    return result


def is_small(commands: Sequence[Command | HostCall]) -> bool:
    """Whether a program takes less time than waking threads would."""
    cost = sum(c.bytes + c.flops // 8 for c in commands if isinstance(c, Command))
    return cost < SMALL_COST
