"""Products of few elements along a long k: chunks of k are products of their own.

So there are tasks for all workers.  Chunks follow from the sizes of one product alone, not from
the batch, layouts or workers: each element is the sum of the chunks' chains, added in turn, and
what is left behind the last whole chunk comes last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm.chunk_sum import ChunkSumSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import Matrix, Product, StoreEpilogue
from mlx.compiler.sizes import least

_ELEMENTS = 1 << 14  # of a result that counts as small
_CHUNK = 1024  # elements along k of a chunk, at least
_MOST = 16  # chunks
_STEP = 16  # a chunk is a multiple of it


def chunk_of(p: Product) -> int:
    """The length of the chunks that k is cut into; 0 where it is not."""
    summed = p.accumulate.startswith(("float", "complex"))
    if not summed or p.m * p.n > _ELEMENTS or p.k < 2 * _CHUNK:
        return 0
    return p.k // least(p.k // _CHUNK, _MOST) // _STEP * _STEP


def plan_chunks(p: Product, chunk: int, plan: Callable[[Product], list[Command]]) -> list[Command]:
    """The commands of a product in chunks, each of them planned by ``plan``."""
    whole = p.k // chunk
    rest = p.k - whole * chunk
    chunks = whole + 1 if rest else whole
    size = SIZES[p.accumulate]
    sums = p.scratch(p.items * chunks * p.m * p.n * size)
    commands = plan(_part(p, sums, chunks, (0, whole), chunk))
    if rest:
        commands += plan(_part(p, sums, chunks, (whole, 1), rest, whole * chunk))
    pitch = p.n * size
    consts = [*sums.consts, chunks, p.m, p.n, pitch, p.m * pitch, *p.epilogue.consts]
    total = Command(ChunkSumSpec(p.accumulate, p.epilogue), consts, p.items * p.m, "chunk sum")
    return [*commands, total]


def _part(
    p: Product, sums: Pointer, chunks: int, some: tuple[int, int], depth: int, start: int = 0
) -> Product:
    """The product of ``some`` chunks (the first, and how many) of this ``depth`` from ``start``
    on, as an innermost batch dimension; its results are elements of ``sums``."""
    first, count = some
    batch, elements = (*p.batch, count), p.m * p.n
    strides, step = [elements], elements * chunks
    for extent in reversed(p.batch):
        strides.append(step)
        step *= extent
    at = Pointer(sums.base, sums.offset + first * elements * SIZES[p.accumulate])
    place = Matrix(at, p.accumulate, tuple(reversed(strides)), p.n, 1)
    return replace(
        p,
        a=_from(p.a, start * p.a.col_stride, depth * p.a.col_stride),
        b=_from(p.b, start * p.b.row_stride, depth * p.b.row_stride),
        k=depth, batch=batch, epilogue=StoreEpilogue(place, batch),
    )  # fmt: skip


def _from(x: Matrix, offset: int, step: int) -> Matrix:
    """An operand from ``offset`` elements on, with one more batch stride."""
    pointer = Pointer(x.pointer.base, x.pointer.offset + offset * SIZES[x.dtype])
    return replace(x, pointer=pointer, batch_strides=(*x.batch_strides, step))
