"""Memory of temporaries: readers run early, and maps write over what they read last.

Needs: a plan with all its steps.  Leaves: the same steps in an order in which large temporaries
die sooner; results in the memory of operands that die with them; the life of each temporary.
Neither changes what a step computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.compiler.donate import in_place, read_by, written_by
from mlx.compiler.steps import (
    CheckStep,
    CopyStep,
    GemmStep,
    MoveStep,
    NestStep,
    OpaqueStep,
    Plan,
    Step,
)

NEVER = 1 << 60
"""The last use of what outlives the plan."""
WINDOW = 64
"""Steps that a reader may overtake at most."""
SMALLER = 16
"""How much smaller than what dies its results must be."""


def reuse_memory(plan: Plan) -> None:
    """Reorder readers, merge buffers, and set the lives of temporaries."""
    _hoist(plan)
    _live(plan)
    _Merger(plan).run()


# -- order ------------------------------------------------------------------------------


def _hoist(plan: Plan) -> None:
    """Let the last reader of something large, if it writes little, run as soon as it can."""
    steps = plan.steps
    last: dict[int, Step] = {}
    for step in steps:
        for buffer in read_by(step):
            last[buffer] = step
    for at in range(len(steps)):
        step = steps[at]
        reads, writes = set(read_by(step)), set(written_by(step))
        dying = [b for b in reads if last[b] is step and _is_temporary(plan, b)]
        if not dying or isinstance(step, CopyStep):
            continue
        freed = sum(plan.buffers[b].nbytes for b in dying)
        if sum(plan.buffers[b].nbytes for b in writes) * SMALLER > freed:
            continue
        to = _earliest(steps, at, reads, writes)
        if to < at:
            steps.insert(to, steps.pop(at))


def _earliest(steps: Sequence[Step], at: int, reads: set[int], writes: set[int]) -> int:
    """The place before which a step with these operands can't run."""
    to = at
    while to > max(0, at - WINDOW):
        before = steps[to - 1]
        if not (reads | writes).isdisjoint(written_by(before)):
            break
        if not writes.isdisjoint(read_by(before)):
            break
        to -= 1
    return to


def _is_temporary(plan: Plan, buffer: int) -> bool:
    return buffer >= 0 and plan.buffers[buffer].kind == "temp"


# -- lives and merging ------------------------------------------------------------------


def _live(plan: Plan) -> None:
    """Lives of temporaries, counted in steps."""
    touched = set()
    for at, step in enumerate(plan.steps):
        for number in (*read_by(step), *written_by(step)):
            if not _is_temporary(plan, number):
                continue
            buffer = plan.buffers[number]
            if number not in touched:
                touched.add(number)
                buffer.first = at
            if buffer.last != NEVER:
                buffer.last = at


class _Merger:
    """Buffers that get one place: a result and the operand it is written over."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.merged: dict[int, int] = {}
        self.known: set[int] = set()

    def run(self) -> None:
        for at, step in enumerate(self.plan.steps):
            fresh = [b for b in dict.fromkeys(written_by(step)) if b not in self.known]
            if isinstance(step, NestStep) or (isinstance(step, OpaqueStep) and _overwrites(step)):
                for target in fresh:
                    self._place(at, step, target)
            self.known.update(written_by(step))
        if self.merged:
            for step in self.plan.steps:
                self._rename(step)

    def _place(self, at: int, step: NestStep | OpaqueStep, target: int) -> None:
        buffers = self.plan.buffers
        result = buffers[target]
        if result.kind == "leaf" or (result.kind == "output" and self._donated(step, target)):
            return
        for source in dict.fromkeys(read_by(step)):
            if (
                source not in self.merged
                and source != target
                and _is_temporary(self.plan, source)
                and buffers[source].last == at
                and buffers[source].nbytes == result.nbytes
                and (isinstance(step, OpaqueStep) or in_place(step.nest, source, target))
            ):
                self.merged[source] = target
                result.first = buffers[source].first
                buffers[source].kind = "merged"
                return

    def _donated(self, step: NestStep | OpaqueStep, target: int) -> bool:
        """Whether the result could as well take the memory of an input of the plan."""
        if isinstance(step, OpaqueStep):
            return False
        buffers = self.plan.buffers
        return any(
            b >= 0
            and buffers[b].kind == "leaf"
            and buffers[b].nbytes == buffers[target].nbytes
            and in_place(step.nest, b, target)
            for b in read_by(step)
        )

    def _final(self, buffer: int) -> int:
        while buffer in self.merged:
            buffer = self.merged[buffer]
        return buffer

    def _rename(self, step: Step) -> None:
        if isinstance(step, CopyStep):
            step.source, step.target = self._final(step.source), self._final(step.target)
            return
        for operand in _operands(step):
            operand.buffer = self._final(operand.buffer)


def _overwrites(step: OpaqueStep) -> bool:
    """Whether it may write its result over its only operand, element by element alike."""
    if not step.primitive.overwrites or len(step.inputs) > 1:
        return False
    (x,), (out,) = step.inputs, step.outputs
    return (x.dtype, x.shape, x.strides, x.offset) == (out.dtype, out.shape, out.strides, 0)


def _operands(step: NestStep | MoveStep | GemmStep | OpaqueStep | CheckStep) -> list[Any]:
    """Whatever names a buffer in a step."""
    if isinstance(step, NestStep):
        return step.nest.accesses
    if isinstance(step, MoveStep):
        return [access for nest in step.nests for access in nest.accesses]
    if isinstance(step, GemmStep):
        return [step.a, step.b, *step.accesses]
    if isinstance(step, OpaqueStep):
        return [*step.inputs, *step.outputs]
    return step.indices
