"""From a region to an executable: plan, lower, compile what is new, assemble the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlx.backend.llvm import jit, linked, stored
from mlx.backend.llvm.abi import FIRST, Command, HostCall, KernelSpec
from mlx.backend.llvm.arena import place_temps
from mlx.backend.llvm.executable import Executable, is_small
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.lower import lower
from mlx.backend.llvm.stored import Kept
from mlx.backend.llvm.target import host
from mlx.compiler.donate import donations, may_fail
from mlx.compiler.plan import make_plan
from mlx.compiler.steps import Plan
from mlx.graph.node import Node

DONATED_BYTES = 4096
"""Smaller outputs get memory of their own: finding out who refers to a leaf costs more."""
SPECS = 8192
_specs: dict[str, KernelSpec] = {}
"""One specification for each key, which all programs share."""


def kernel(spec: KernelSpec) -> jit.Library:
    """The compiled kernel of a spec: at hand, from memory, from disk, or compiled now."""
    return spec.library if isinstance(spec, Kept) else kernels([spec], 1)[0]


def kernels(specs: Sequence[KernelSpec], threads: int) -> list[jit.Library]:
    """The compiled kernels of many specs; those to compile share ``threads``."""
    keys = [spec.key for spec in specs]
    sources = {key: partial(_source, spec) for key, spec in zip(keys, specs, strict=True)}
    found = linked.kernels(sources, threads)
    return [found[key] for key in keys]


def compiled(commands: Sequence[Command], threads: int) -> list[jit.Library]:
    """The kernels of commands, which get the specifications that others with these keys have."""
    if len(_specs) > SPECS:
        _specs.clear()
    for command in commands:
        command.spec = _specs.setdefault(command.spec.key, command.spec)
    return kernels([command.spec for command in commands], threads)


def kernel_text(spec: KernelSpec) -> str:
    """The IR of one kernel, with all routines that it calls."""
    module = Module()
    spec.emit(module, "kernel")
    return module.text(host().attributes())


def _source(spec: KernelSpec) -> jit.Source:
    """The IR of one kernel, and how to get that of what it shares with others."""
    module = Module(apart=True)
    spec.emit(module, linked.symbol(spec.key))
    routines = {name: partial(_routine_text, name, *how) for name, how in module.routines.items()}
    return jit.Source(module.text(host().attributes()), routines)


def _routine_text(name: str, params: Sequence[str], write: Callable[[Function], None]) -> str:
    """The IR of a routine that kernels share."""
    module = Module()
    write(module.function(name, params))
    return module.text(host().attributes())


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
    possible = donations(plan)
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
        for buffer, positions in possible
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
    name: str | None = None,
) -> Executable:
    """Plan and compile a region.  ``check_size`` raises where a buffer can't be allocated,
    before its size takes time or overflows.  What has a ``name`` is kept on disk."""
    plan = make_plan(order, {order[i] for i in live})
    for buffer in plan.buffers:
        if buffer.kind != "leaf":
            check_size(buffer.nbytes)
    result = assemble(plan, order, live, leaves, scalars, workers)
    result.segments = []
    table: list[Any] = []
    libraries: list[jit.Library] = []
    native = [c for c in result.commands if isinstance(c, Command)]
    found = iter(compiled(native, workers))
    for command in result.commands:
        if isinstance(command, HostCall):
            if table:
                result.segments.append(make_program(table, False, libraries))
            result.segments.append(command)
            table, libraries = [], []
            continue
        library = next(found)
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
    if name is not None:
        own = [buffer.nbytes for buffer in plan.buffers if buffer.kind != "leaf"]
        stored.save(name, result, max(own, default=0))
    return result.seal()
