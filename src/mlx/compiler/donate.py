"""Which outputs may be written into the memory of a leaf that nothing else will read.

Needs: a finished plan.  Leaves: for an output buffer the leaves that are legal if, when the program
runs, nobody outside refers to the leaf.  A write into donated memory comes after every read of
the old value and after every step that can fail; indices are checked ahead for that.
"""

from __future__ import annotations

from mlx.compiler.nest import Accumulate, Nest, Reduce, levels
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

CAN_FAIL = frozenset({"indexing", "library"})


Donations = list[tuple[int, list[int]]]


def donations(plan: Plan) -> Donations:
    """(number of an output buffer, positions of the leaves whose memory it could take).  Checks of
    indices become steps ahead of the first such write."""
    reads, writes, failing = _timeline(plan)
    found = _candidates(plan, reads, writes)
    starts = [writes[number] for number, _ in found]
    if starts and min(starts) <= failing:
        _check_ahead(plan, min(starts), found)
        reads, writes, failing = _timeline(plan)
        found = _candidates(plan, reads, writes)
    return [donation for donation in found if writes[donation[0]] > failing]


def _candidates(plan: Plan, reads: dict[int, int], writes: dict[int, int]) -> Donations:
    """Donations, were it not for steps that can fail."""
    by_size: dict[int, list[int]] = {}
    results = {buffer for buffer, _ in plan.outputs.values()}
    for number, buffer in enumerate(plan.buffers):
        if buffer.kind == "leaf" and number not in results:
            by_size.setdefault(buffer.nbytes, []).append(number)
    for leaves in by_size.values():  # those read last first: where they are free, they are near
        leaves.sort(key=lambda leaf: -reads.get(leaf, -1))
    found = []
    for number, buffer in enumerate(plan.buffers):
        if buffer.kind != "output" or number not in writes:
            continue
        write = writes[number]
        copies = isinstance(plan.steps[write], CopyStep)
        legal = [
            plan.buffers[leaf].position
            for leaf in by_size.get(buffer.nbytes, ())
            if (last := reads.get(leaf, -1)) < write
            or ((copies or last == write) and _legal(plan, leaf, number, last, write))
        ]
        if legal:
            found.append((number, legal))
    return found


def _check_ahead(plan: Plan, first: int, candidates: Donations) -> None:
    """Move the checks of indices before the ``first`` write into what may be donated memory, as
    far as the indices are known by then."""
    written: dict[int, int] = {}
    checks: dict[int, list[Step]] = {}
    ends = _only_pair(plan, candidates)
    for at, step in enumerate(plan.steps):
        if at >= first and isinstance(step, OpaqueStep) and step.primitive.family == "indexing":
            step.checked = True
            check = _check_of(step)
            check.ends = ends
            known = max((written.get(i.buffer, -1) for i in check.indices), default=-1)
            if all(0 not in o.shape for o in (*step.inputs, *step.outputs)):
                checks.setdefault(max(first, known + 1), []).append(check)
        for buffer in written_by(step):
            written[buffer] = at
    plan.steps = [
        step for at, after in enumerate(plan.steps) for step in (*checks.get(at, ()), after)
    ]


def _only_pair(plan: Plan, candidates: Donations) -> tuple[int, int] | None:
    """The one leaf whose memory might be taken, and by what."""
    if len(candidates) != 1 or len(candidates[0][1]) != 1:
        return None
    ((number, (position,)),) = candidates
    leaves = (i for i, b in enumerate(plan.buffers) if b.kind == "leaf" and b.position == position)
    return next(leaves), number


def _check_of(step: OpaqueStep) -> CheckStep:
    primitive, count = step.primitive, len(step.primitive.axes)
    indices = step.inputs[-count:]
    indexed = step.inputs[0] if primitive.name == "Gather" else step.outputs[0]
    widths = primitive.window or (1,) * count
    bounds = [(indexed.shape[a], w) for a, w in zip(primitive.axes, widths, strict=True)]
    return CheckStep(primitive, indices, bounds)


def _timeline(plan: Plan) -> tuple[dict[int, int], dict[int, int], int]:
    """(last read of each buffer, first write of each buffer, last step that can fail)."""
    reads: dict[int, int] = {}
    writes: dict[int, int] = {}
    failing = -1
    for at, step in enumerate(plan.steps):
        for buffer in read_by(step):
            reads[buffer] = at
        for buffer in written_by(step):
            writes.setdefault(buffer, at)
        if may_fail(step):
            failing = at
    return reads, writes, failing


def may_fail(step: Step) -> bool:
    if isinstance(step, OpaqueStep):
        return step.primitive.family in CAN_FAIL and not step.checked
    return isinstance(step, CheckStep)


def read_by(step: Step) -> list[int]:
    """The buffers that a step reads (-1 for positions that it computes)."""
    if isinstance(step, OpaqueStep):
        return [o.buffer for o in step.inputs]
    if isinstance(step, CopyStep):
        return [step.source]
    if isinstance(step, CheckStep):
        return [o.buffer for o in step.indices]
    if isinstance(step, MoveStep):
        return [b for nest in step.nests for b in read_by(NestStep(nest))]
    accesses = step.nest.accesses if isinstance(step, NestStep) else step.accesses
    stores = step.nest.stores if isinstance(step, NestStep) else step.stores
    written = {a for _, a in stores}
    found = [a.buffer for i, a in enumerate(accesses) if i not in written]
    return [*found, step.a.buffer, step.b.buffer] if isinstance(step, GemmStep) else found


def written_by(step: Step) -> list[int]:
    """The buffers that a step writes."""
    if isinstance(step, OpaqueStep):
        return [o.buffer for o in step.outputs]
    if isinstance(step, CopyStep):
        return [step.target]
    if isinstance(step, CheckStep):
        return []
    if isinstance(step, MoveStep):
        return written_by(NestStep(step.nests[0]))
    if isinstance(step, GemmStep):
        return [step.accesses[a].buffer for _, a in step.stores]
    return [step.nest.accesses[a].buffer for _, a in step.nest.stores]


def _legal(plan: Plan, leaf: int, output: int, last: int, write: int) -> bool:
    """Of a leaf that is read last when or after the output is first written."""
    step = plan.steps[write]
    if not isinstance(step, CopyStep):
        return _is_in_place(step, leaf, output)
    later = plan.steps[write + 1 : last + 1]
    after = [s for s in later if leaf in read_by(s) or output in written_by(s)]
    same = step.source == leaf and step.target == output
    return same and len(after) <= 1 and all(_is_in_place(s, leaf, output) for s in after)


def _is_in_place(step: Step, leaf: int, output: int) -> bool:
    if not isinstance(step, NestStep) or output not in written_by(step):
        return False
    return in_place(step.nest, leaf, output)


def in_place(nest: Nest, source: int, target: int) -> bool:
    """Whether a nest reads each element of the source for the last time where, and when, it
    writes the target's; a map also where it writes others of the same run."""
    here = [a for a in nest.accesses if a.buffer in (source, target)]
    alike = {(a.outer, a.inner, None if a.dtype is None else a.dtype.size) for a in here}
    if nest.columns is not None or nest.split or len(alike) != 1:
        return False
    offsets = [a.offset for a in here]
    apart = max(offsets) - min(offsets)
    if any(isinstance(v, Reduce | Accumulate) for v in nest.values):
        return apart == 0 and _written_last(nest, target)
    return apart == 0 or 0 < apart < here[0].inner


def _written_last(nest: Nest, target: int) -> bool:
    """Whether the stores to a buffer are in the last pass over each row."""
    level = levels(nest.values)
    passes = [level[i] - 1 for i, v in enumerate(nest.values) if isinstance(v, Reduce)]
    passes += [level[v] for v, a in nest.stores if nest.accesses[a].inner]
    here = [level[v] for v, a in nest.stores if nest.accesses[a].buffer == target]
    return min(here) == max(passes)
