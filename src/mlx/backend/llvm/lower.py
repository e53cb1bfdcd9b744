"""From a plan to commands: kernels chosen by structure, consts filled with sizes and strides.

``bases`` of a program: 0 the status block, 1 zero (for index positions), 2 the arena, then
leaves, outputs and run-time numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

from mlx.backend.llvm import caches, columns, late, opaque, pipelined, several, staging
from mlx.backend.llvm.abi import FIRST, Command, HostCall, Operand, Pointer
from mlx.backend.llvm.accesses import structure_of, traffic
from mlx.backend.llvm.arena import ALIGN
from mlx.backend.llvm.blocks import plan_blocks
from mlx.backend.llvm.columns import ColumnsSpec, CombineSpec
from mlx.backend.llvm.epilogue import FusedEpilogue, Place
from mlx.backend.llvm.expressions import Structure, accumulator, accumulator_lanes
from mlx.backend.llvm.gemm import Matrix, Product, plan_gemm
from mlx.backend.llvm.gemm.sums import accumulate_in, as_alike
from mlx.backend.llvm.indexing import plan_carry, plan_check
from mlx.backend.llvm.late import LateSpec
from mlx.backend.llvm.moves import Piece, piece_of, plan_moves
from mlx.backend.llvm.pipelined import PipelinedSpec
from mlx.backend.llvm.rows import RowsSpec
from mlx.backend.llvm.several import SeveralSpec
from mlx.backend.llvm.staging import StagedSpec
from mlx.base.lazy import LazyModule
from mlx.compiler.blocks import moves_blocks, moves_runs
from mlx.compiler.nest import CHUNK, Access, Accumulate, Nest, Reduce, Tile, of_nothing
from mlx.compiler.orient import oriented
from mlx.compiler.sizes import least, most
from mlx.compiler.steps import (
    CheckStep,
    CopyStep,
    GemmStep,
    MoveStep,
    NestStep,
    OpaqueStep,
    Plan,
    Strided,
)

convolution = LazyModule("mlx.backend.llvm.convolution")
ZERO, ARENA = 1, 2
TASK_ELEMENTS = 16384


@dataclass(slots=True)
class Lowered:
    """Commands and the memory they need besides leaves and outputs."""

    commands: list[Command | HostCall]
    arena_bytes: int
    outputs: list[int]
    """Sizes of the output buffers in bytes, in the order of their bases."""
    output_index: dict[int, int]
    """From buffer number to position among outputs."""


def lower(plan: Plan, workers: int, place: Callable[[Plan], int]) -> Lowered:
    """Lower every step; ``workers`` sizes scratch and tasks, never results.  ``place`` gives
    temporaries their offsets and returns the size of the arena."""
    return _Lowering(plan, workers, place(plan)).run()


class _Lowering:
    def __init__(self, plan: Plan, workers: int, arena: int) -> None:
        self.plan = plan
        self.workers = workers
        self.commands: list[Command | HostCall] = []
        self.pointers: list[Pointer] = []
        outputs = [i for i, b in enumerate(plan.buffers) if b.kind == "output"]
        self.output_index = {buffer: i for i, buffer in enumerate(outputs)}
        self.output_sizes = [plan.buffers[b].nbytes for b in outputs]
        self.first_output = FIRST + len(plan.leaves)
        self.first_scalar = self.first_output + len(outputs)
        self.arena = arena
        for number, buffer in enumerate(plan.buffers):
            if buffer.kind == "leaf":
                pointer = Pointer(FIRST + buffer.position)
            elif buffer.kind == "output":
                pointer = Pointer(self.first_output + self.output_index[number])
            else:
                pointer = Pointer(ARENA, buffer.position)
            self.pointers.append(pointer)
        self.scratch_used = self.scratch_most = 0

    def run(self) -> Lowered:
        for step in self.plan.steps:
            self.scratch_used = 0
            before = len(self.commands)
            if isinstance(step, NestStep):
                self._nest(step.nest)
            elif isinstance(step, MoveStep):
                self._moves(step.nests)
            elif isinstance(step, GemmStep):
                self._gemm(step)
            elif isinstance(step, CopyStep):
                pointers = self.pointers[step.source], self.pointers[step.target]
                self.commands += plan_carry(*pointers, step.nbytes, step.runs, self.workers)
            elif isinstance(step, CheckStep):
                indices = [self._operand(o) for o in step.indices]
                ends = step.ends and tuple(self.pointers[b] for b in step.ends)
                self.commands += plan_check(
                    step.primitive, indices, step.bounds, ends, self.workers
                )
            else:
                self._opaque(step)
            for command in self.commands[before:]:
                command.label = command.label or step.label
        total = self.arena + self.scratch_most
        return Lowered(self.commands, total, self.output_sizes, self.output_index)

    def scratch(self, nbytes: int) -> Pointer:
        """Temporary memory of the current step, behind the arena's buffers."""
        pointer = Pointer(ARENA, self.arena + self.scratch_used)
        self.scratch_used += -(-nbytes // ALIGN) * ALIGN
        self.scratch_most = most(self.scratch_most, self.scratch_used)
        return pointer

    # -- nests -------------------------------------------------------------------------

    def _access(self, access: Access) -> tuple[int, int]:
        """Base index and byte offset."""
        if access.buffer < 0:
            return ZERO, access.offset
        pointer = self.pointers[access.buffer]
        return pointer.base, pointer.offset + access.offset * access.dtype.size  # type: ignore[union-attr]

    def _structure(self, nest: Nest) -> Structure:
        """Once for nests that are alike, unless it follows from where rows begin in memory."""
        pattern = nest.pattern
        if pattern is None or (nest.columns is None and caches.overflows(traffic(nest))):
            return structure_of(nest, lambda access: self._access(access)[1])
        numbers: dict[int, int] = {}
        same = tuple([numbers.setdefault(a.buffer, len(numbers)) for a in nest.accesses])
        found = pattern.structures.get(same)
        if found is None:
            found = structure_of(nest, lambda access: self._access(access)[1])
            pattern.structures[same] = found
        return found

    def _nest(self, nest: Nest) -> None:
        if nest.columns is not None:
            self._columns(nest)
            return
        rows = prod(nest.outer)
        reduces = [e for e in nest.values if isinstance(e, Reduce)]
        if not rows or (not nest.inner and not reduces):
            if not rows and any(isinstance(e, Accumulate) for e in nest.values):
                self._nest(of_nothing(nest))
            return
        if moves_blocks(nest):
            self.commands.append(plan_blocks(self._piece(nest), self.workers))
        elif moves_runs(nest) and not caches.overflows(traffic(nest)):
            self.commands.append(plan_moves([self._piece(nest)], self.workers))
        else:
            self._map(nest, rows, reduces)

    def _map(self, nest: Nest, rows: int, reduces: list[Reduce]) -> None:
        """Rows of elements that are computed."""
        structure = self._structure(nest)
        if late.late_stores(structure):
            self._late(nest, structure)
            return
        staged = [a for a, c in enumerate(structure.accesses) if c.kind == "staged"]
        spec = _rows_spec(nest, structure)
        chunk, rows_each = self._tasks(nest, rows, bool(reduces))
        if isinstance(spec, PipelinedSpec):
            rows_each = pipelined.rows_each(structure, rows, rows_each, self.workers)
        if staged:
            if not reduces:
                chunk, rows_each = self._staged_tasks(nest, rows, staged)
            rows_each = -(-rows_each // staging.BLOCK) * staging.BLOCK
        chunks = max(1, -(-nest.inner // chunk))
        consts = [rows, nest.inner, rows_each, chunk, chunks]
        consts += self._tail_consts(nest, spec)
        partials = self._partials(nest, consts, spec, rows * chunks) if nest.split else []
        consts += self._scratch_rows(nest, spec)
        if staged:
            consts += self._staging(nest, staged, chunk)
        tasks = -(-rows // rows_each) * chunks
        self.commands.append(Command(spec, consts, tasks, bytes=traffic(nest)))
        for reduce, source, target in partials:
            size = accumulator(reduce.dtype).size
            self._combine(reduce, rows, chunks, chunks * size, size, source, target)

    def _moves(self, nests: Sequence[Nest]) -> None:
        """Copies of runs into one buffer."""
        if caches.overflows(sum(traffic(nest) for nest in nests)):
            for nest in nests:
                self._nest(oriented(nest))
        elif pieces := [piece for piece in map(self._piece, nests) if piece.nbytes]:
            self.commands.append(plan_moves(pieces, self.workers))

    def _piece(self, nest: Nest) -> Piece:
        return piece_of(nest, lambda access: Pointer(*self._access(access)))

    def _scratch_rows(self, nest: Nest, spec: RowsSpec) -> list[int]:
        """The consts of rows kept from one pass to another; steps at their ends are whole."""
        structure = spec.structure
        if not structure.scratch:
            return []
        widest = max(structure.values[v].dtype.size for v in structure.scratch)
        row_bytes = -(-(nest.inner + spec.lanes) * widest // ALIGN) * ALIGN
        each = row_bytes * len(structure.scratch) * spec.scratch_rows
        return [*self.scratch(each * self.workers).consts, each, row_bytes]

    def _late(self, nest: Nest, structure: Structure) -> None:
        """Rows with reductions over them: their kernel, and the folds of its lanes."""
        spec, rows = LateSpec(structure), prod(nest.outer)
        period = late.period(structure)
        residues = late.residues(nest, structure, self.workers)
        consts = [rows, nest.inner, residues, nest.inner, 1]
        consts += self._tail_consts(nest, spec) + self._scratch_rows(nest, spec)
        folds = []
        for reduce, access in late.late_stores(structure):
            row_bytes = late.row_bytes(nest.inner, reduce)
            lanes = accumulator_lanes(reduce.dtype)
            area = self.scratch(lanes * row_bytes)
            consts += [*area.consts, row_bytes]
            target = Pointer(*self._access(nest.accesses[access]))
            folds.append((reduce, lanes, row_bytes, area, target))
        self.commands.append(Command(spec, consts, period // residues, bytes=traffic(nest)))
        for reduce, lanes, gap, area, target in folds:
            size = accumulator(reduce.dtype).size
            self._combine(reduce, nest.inner, lanes, size, gap, area, target)

    def _staging(self, nest: Nest, staged: list[int], chunk: int) -> list[int]:
        """The consts of the staging area."""
        widest = max(nest.accesses[a].dtype.size for a in staged)  # type: ignore[union-attr]
        row_bytes = staging.row_bytes(min(chunk, nest.inner), widest)
        each = row_bytes * staging.BLOCK * len(staged)
        return [*self.scratch(each * self.workers).consts, each, row_bytes]

    def _tasks(self, nest: Nest, rows: int, reduces: bool) -> tuple[int, int]:
        """(elements of an inner chunk, rows a task)."""
        if nest.split:
            return CHUNK, 1
        inner = max(nest.inner, 1)
        work = rows * inner * max(1, len(nest.stores))
        wanted = most(1, least(work // TASK_ELEMENTS, 16 * self.workers))
        if rows >= wanted or reduces:
            return inner, -(-rows // wanted)
        pieces = -(-wanted // rows)
        return -(-inner // pieces // 1024) * 1024 or 1024, 1

    def _staged_tasks(self, nest: Nest, rows: int, staged: list[int]) -> tuple[int, int]:
        """The same for a map of operands that lie across the rows: many rows of a narrow chunk."""
        chunk = staging.chunk(nest, staged)
        wanted = most(1, least(rows * nest.inner // TASK_ELEMENTS, 16 * self.workers))
        pieces = -(-wanted // -(-nest.inner // chunk))
        return chunk, -(-rows // pieces)

    def _tail_consts(self, nest: Nest, spec: RowsSpec) -> list[int]:
        """Outer sizes, arguments and accesses."""
        consts = list(nest.outer)
        consts += [self.first_scalar + position for position in nest.arguments]
        for access in nest.accesses:
            size = access.dtype.size if access.dtype is not None else 1
            consts += self._access(access)
            consts += [s * size for s in (*access.outer, access.inner)]
        return consts

    def _partials(
        self, nest: Nest, consts: list[int], spec: RowsSpec, count: int
    ) -> list[tuple[Reduce, Pointer, Pointer]]:
        """Redirect a split nest's results to scratch; (reduction, partial results, target)."""
        out = []
        for value, access in nest.stores:
            reduce = nest.values[value]
            if not isinstance(reduce, Reduce):
                continue
            slot = spec.access_slot + spec.access_size * access
            target = Pointer(consts[slot], consts[slot + 1])
            source = self.scratch(count * accumulator(reduce.dtype).size)
            consts[slot : slot + 2] = source.consts
            out.append((reduce, source, target))
        return out

    def _combine(
        self,
        reduce: Reduce | Accumulate,
        elements: int,
        parts: int,
        step: int,
        gap: int,
        source: Pointer,
        target: Pointer,
    ) -> None:
        unit = bool(step == accumulator(reduce.dtype).size)
        spec = CombineSpec(reduce.primitive.name, reduce.dtype.name, reduce, unit)
        each = max(1, 4096 // max(parts, 1))
        each = -(-each // 64) * 64 if unit else each
        consts = [elements, parts, each, step, gap, *source.consts, *target.consts]
        self.commands.append(Command(spec, consts, -(-elements // each), "combine"))

    def _columns(self, nest: Nest) -> None:
        outer, depth, inner = nest.columns  # type: ignore[misc]
        if outer * inner * depth == 0:
            if outer * inner != 0:
                self._nest(of_nothing(nest))
            return
        chunks = max(1, -(-depth // CHUNK))
        nest.split = chunks > 1
        structure = self._structure(nest)
        block = columns.block_of(inner, depth, outer * chunks, self.workers)
        blocks = -(-inner // block)
        spec = ColumnsSpec(structure, whole=bool(blocks == 1))
        consts = [outer, inner, depth, blocks, chunks]
        consts += self._tail_consts(nest, spec)
        partials = self._partials(nest, consts, spec, chunks * outer * inner) if chunks > 1 else []
        each = columns.scratch_bytes(structure, block)
        consts += [*self.scratch(each * self.workers).consts, each, block]
        self.commands.append(Command(spec, consts, outer * blocks * chunks, bytes=traffic(nest)))
        for reduce, source, target in partials:
            size, each = accumulator(reduce.dtype).size, outer * inner
            self._combine(reduce, each, chunks, size, each * size, source, target)

    # -- matrix products ---------------------------------------------------------------

    def _matrix(self, operand: Strided) -> Matrix:
        *batch, row, col = operand.strides
        name = "uint8" if operand.dtype.name == "bool" else operand.dtype.name
        return Matrix(self._pointer(operand), name, tuple(batch), row, col)

    def _pointer(self, operand: Strided) -> Pointer:
        base = self.pointers[operand.buffer]
        return Pointer(base.base, base.offset + operand.offset * operand.dtype.size)

    def _gemm(self, step: GemmStep) -> None:
        *batch, m, n = step.shape
        places = []
        for access in step.accesses:
            base, offset = self._access(access)
            size = access.dtype.size if access.dtype is not None else 1
            *outer, row = (s * size for s in access.outer)
            places.append(Place(base, offset, tuple(outer), row, access.inner * size, size))
        epilogue = FusedEpilogue(
            tuple(step.values),
            tuple(places),
            tuple(step.stores),
            tuple(self.first_scalar + a for a in step.arguments),
            tuple(batch),
        )
        result = next(e.dtype.name for e in step.values if isinstance(e, Tile))
        accumulate = accumulate_in(result, step.a.dtype.name, step.b.dtype.name, step.depth)
        if step.primitive.form == "matrix":
            operands = as_alike(self._matrix(step.a), self._matrix(step.b), result)
            commands = plan_gemm(Product(
                *operands, m, n, step.depth, tuple(batch), epilogue, accumulate,
                self.scratch, self.workers,
            ))  # fmt: skip
        else:
            commands = convolution.plan_contraction(
                step.primitive, self._operand(step.a), self._operand(step.b), step.shape, epilogue,
                accumulate, self.scratch, self.workers,
            )  # fmt: skip
        touched = sum(prod(o.shape) * o.dtype.size for o in (step.a, step.b))
        touched += prod(step.shape) * step.a.dtype.size
        products = [c for c in commands if c.flops] or commands[-1:]
        for command in products:
            command.bytes = touched // len(products)
            if step.primitive.form == "matrix":
                command.flops = 2 * prod(step.shape) * step.depth // len(products)
        self.commands += commands

    # -- the rest ----------------------------------------------------------------------

    def _opaque(self, step: OpaqueStep) -> None:
        inputs = [self._operand(o) for o in step.inputs]
        outputs = [self._operand(o) for o in step.outputs]
        if step.primitive.family == "library":
            native = opaque.native(step.primitive, inputs, outputs, self.scratch, self.workers)
            call = HostCall(step.primitive, inputs, outputs)
            self.commands += [call] if native is None else native
            return
        commands = opaque.lower(step.primitive, inputs, outputs, self.scratch, self.workers)
        touched = sum(prod(o.shape) * o.dtype.size for o in (*step.inputs, *step.outputs))
        for command in commands:
            command.bytes = command.bytes or touched
        self.commands += commands

    def _operand(self, operand: Strided) -> Operand:
        return Operand(self._pointer(operand), operand.dtype.name, operand.shape, operand.strides)


def _rows_spec(nest: Nest, structure: Structure) -> RowsSpec:
    if any(access.kind == "staged" for access in structure.accesses):
        return StagedSpec(structure)
    if pipelined.can_pipeline(structure, nest.inner) and caches.overflows(traffic(nest)):
        return PipelinedSpec(structure)
    together = several.rows_together(structure, nest)
    return SeveralSpec(structure, together) if together > 1 else RowsSpec(structure)
