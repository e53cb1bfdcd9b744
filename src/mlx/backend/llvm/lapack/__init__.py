"""LAPACK's routines as kernels: native code calls them for the matrices of a batch, by all threads.

LAPACK's matrices are column-major: a row-major one is to it its transpose.  Most results need no
transpose for that: the inverse of the transpose is that of the matrix transposed, its singular
vectors are those of the other side, and so on.  A matrix with an infinity or NaN gives NaN:
LAPACK makes of those whatever it likes, endless loops included.

OpenBLAS has threads of its own.  A batch is spread over ours, each calling LAPACK with one thread;
the threads of OpenBLAS serve few large matrices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.addresses import address_of, thread_count
from mlx.backend.llvm.along import along
from mlx.backend.llvm.lapack import factorizations, lanes, solvers, spectra
from mlx.backend.llvm.lapack.frame import BeginSpec, EndSpec, LapackSpec
from mlx.backend.llvm.lapack.lane_frame import LANES
from mlx.backend.llvm.lapack.routine import Routine
from mlx.base.dtype import dtype_named
from mlx.compiler.sizes import least, most

TASK = 100_000
"""Operations of a task."""
THREADED = 4_000_000_000
"""Operations of a matrix from which OpenBLAS's threads help; below they cost what they save, and
much more where another program holds a core."""
_SCALARS = {"float32": "float", "float64": "double"}
LARGEST = (1 << 31) - 1
"""What LAPACK can count to."""
_ROUTINES: dict[str, Callable[[Any, int], Routine]] = {
    "Inverse": lambda p, k: solvers.InverseRoutine(),
    "Determinant": lambda p, k: solvers.DeterminantRoutine(),
    "Solve": lambda p, k: solvers.SolveRoutine(bool(k == 1)),
    "SolveTriangular": lambda p, k: solvers.TriangularRoutine(p.upper, bool(k == 1)),
    "Cholesky": lambda p, k: factorizations.CholeskyRoutine(),
    "QR": lambda p, k: factorizations.QRRoutine(),
    "LU": lambda p, k: factorizations.LURoutine(),
    "Eigh": lambda p, k: spectra.EighRoutine(p.lower, True),
    "Eigvalsh": lambda p, k: spectra.EighRoutine(p.lower, False),
    "SVD": lambda p, k: spectra.SVDRoutine("full" if p.full else "thin"),
    "SingularValues": lambda p, k: spectra.SVDRoutine("none"),
    "Eig": lambda p, k: spectra.EigRoutine(True),
    "Eigvals": lambda p, k: spectra.EigRoutine(False),
}
NAMES = tuple(_ROUTINES)
_FAILURES = (
    solvers.InverseRoutine, solvers.SolveRoutine, solvers.TriangularRoutine,
    factorizations.CholeskyRoutine, factorizations.QRRoutine, spectra.EighRoutine,
    spectra.SVDRoutine, spectra.EigRoutine,
)  # fmt: skip
_FIRST = 100
"""The first of the error codes."""


def plan_lapack(
    primitive: Any,
    inputs: Sequence[Operand],
    outputs: Sequence[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """Commands of a routine of LAPACK."""
    x = inputs[0]
    *lead, m, n = x.shape
    if all(0 in o.shape for o in outputs):
        return []
    k = least(m, n) if primitive.name in ("SVD", "SingularValues") else inputs[-1].shape[-1]
    chosen, count = _ROUTINES[primitive.name](primitive, k), prod(lead)
    problem = _Problem(primitive, chosen, [*inputs, *outputs], count, (m, n, k), scratch, workers)
    if lanes.serves(primitive.name, _SCALARS.get(x.dtype, ""), count, m, n, k):
        return problem.in_lanes()
    return problem.one_by_one()


@dataclass(frozen=True, slots=True)
class _Problem:
    """``count`` matrices, and the sizes m, n and k of each."""

    primitive: Any
    chosen: Routine
    operands: list[Operand]
    count: int
    sizes: tuple[int, int, int]
    scratch: Callable[[int], Pointer]
    workers: int

    @property
    def lead(self) -> int:
        """Axes of the batch."""
        return len(self.operands[0].shape) - 2

    def one_by_one(self) -> list[Command]:
        count, chosen, workers = self.count, self.chosen, self.workers
        dtype, work = dtype_named(self.operands[0].dtype), chosen.work(*self.sizes)
        spread = count >= workers or work < THREADED
        each = -(-count // most(1, least(least(count, 16 * workers), count * work // TASK)))
        each = each if spread else count
        noted = self.scratch(16)
        ends = [*noted.consts, *thread_count(), 1 if spread else workers]
        nbytes, numbers = chosen.sizes(*self.sizes, dtype)
        _check_counts(self.primitive, (*self.sizes, *numbers), numbers)
        offsets, total = [], 0
        for size in nbytes:
            offsets.append(total)
            total += -(-size // 64) * 64
        place = self.scratch(total * workers)
        consts = [count, each, *self.sizes, *noted.consts, *place.consts, total]
        consts += [address_of(chosen.spelled(name, dtype)) for name in chosen.calls]
        consts += [*offsets, *numbers]
        views = [_rows(o, self.lead) for o in self.operands]
        batch = along(self.lead, [rows for rows, _ in views])
        consts += [*(column for _, column in views), *batch.consts]
        units = tuple(
            bool(column == dtype_named(o.dtype).size)
            for o, (_, column) in zip(self.operands, views, strict=True)
        )
        spec = LapackSpec(chosen, dtype.name, batch.depth, units)
        return self._between(Command(spec, consts, -(-count // each)), ends)

    def in_lanes(self) -> list[Command]:
        """A matrix in each lane."""
        count, (_, n, _) = self.count, self.sizes
        scalar = _SCALARS[self.operands[0].dtype]
        groups, work = -(-count // LANES), self.chosen.work(*self.sizes) + n * n
        wanted = most(1, least(least(groups, 16 * self.workers), count * work // TASK))
        each = -(-groups // wanted)
        noted, nbytes = self.scratch(16), lanes.scratch_bytes(scalar, *self.sizes)
        place = self.scratch(nbytes * self.workers)
        consts = [count, each, *self.sizes, *noted.consts, *place.consts, nbytes]
        views = [_rows(o, self.lead) for o in self.operands]
        batch = along(self.lead, [rows for rows, _ in views])
        for view, (_, column) in zip(batch.views, views, strict=True):
            consts += [view.step, column]
        consts += batch.consts
        spec = lanes.LanesSpec(self.primitive.name, scalar, batch.depth, len(self.operands))
        return self._between(Command(spec, consts, -(-groups // each)), [*noted.consts, 0, 0, 1])

    def _between(self, command: Command, ends: list[int]) -> list[Command]:
        """A command with what comes before and after it."""
        work = self.chosen.work(*self.sizes)
        command.label, command.flops = self.primitive.name, self.count * work
        command.bytes = sum(prod(o.shape) * dtype_named(o.dtype).size for o in self.operands)
        return [
            Command(BeginSpec(), ends, 1),
            command,
            Command(EndSpec(), [*ends, _code(self.chosen)], 1),
        ]


def _check_counts(primitive: Any, counts: Sequence[int], numbers: Sequence[int]) -> None:
    if any(number > LARGEST for number in counts):
        raise ValueError(
            f"[linalg] LAPACK counts in 32 bits: {primitive.name} of matrices of {counts[0]} x "
            f"{counts[1]} needs a workspace of {max(map(int, numbers), default=0)} numbers, and "
            f"can have {LARGEST}."
        )


def _rows(operand: Operand, lead: int) -> tuple[Operand, int]:
    """An operand along the rows of its matrices, and the stride along columns in bytes."""
    size = dtype_named(operand.dtype).size
    shape, strides = operand.shape, operand.strides
    row = strides[lead] if len(shape) == lead + 2 else 0
    column = strides[-1] * size if len(shape) > lead else size
    rows = Operand(operand.pointer, operand.dtype, (*shape[:lead], 1), (*strides[:lead], row))
    return rows, column


def _code(chosen: Routine) -> int:
    kind = type(chosen)
    return _FIRST + _FAILURES.index(kind) if kind in _FAILURES else 0


def failure(status: Sequence[int]) -> str | None:
    """The message of an error that these kernels found."""
    code, info, matrix, _ = status
    if not _FIRST <= code < _FIRST + len(_FAILURES):
        return None
    return _FAILURES[code - _FIRST].failure.format(info, matrix)
