"""Commands of a product with chosen matrices: order the rows, copy them in that order, multiply.

For each number of rows that a matrix may turn out to have there is a kernel, and a command that
skips what it isn't for: shapes say how many blocks there can be, indices how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.chosen.order import ENTRY, Class, Layout, layout_of, order_command
from mlx.backend.llvm.chosen.store import OrderedStore
from mlx.backend.llvm.gemm.blocked import SLOTS, BlockedSpec
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.few import is_few, plan_few
from mlx.backend.llvm.gemm.operand import Matrix, Product, StoreEpilogue
from mlx.backend.llvm.gemm.plan import BlockedProblem, Geometry, Strip, geometry
from mlx.backend.llvm.gemm.sums import accumulate_in, as_alike
from mlx.backend.llvm.gemm.tile import Tile, tile_of_product
from mlx.backend.llvm.indexing.gather import plan_gather
from mlx.compiler.sizes import least
from mlx.primitives.indexing import Gather

Scratch = Callable[[int], Pointer]
BLOCK = 256
"""Rows of a block."""
_FEW = 2, 4, 8, 16


def plan_product(
    primitive: Any, inputs: list[Operand], outputs: list[Operand], scratch: Scratch, workers: int
) -> list[Command]:
    """Commands of ChosenMatMul."""
    x, w, index = inputs
    (out,) = outputs
    rows, n = out.shape
    if not rows * n:
        return []
    product = _product(x, w, out, scratch, workers)
    tile = tile_of_product(product.a.dtype, product.b.dtype, product.accumulate)
    groups = least(w.shape[0], rows)
    g = geometry(tile, least(rows, BLOCK), n, product.k, groups, workers, share=False)
    limits = [r for r in _FEW if is_few(replace(product, m=r))]
    while len(limits) > 1 and limits[-2] >= rows:
        limits.pop()
    layout = layout_of(limits, g.mc, rows, w.shape[0])
    ordered = Ordered(index, layout, rows, w.shape[0], tile.rows, scratch)
    a, copies = ordered_rows(ordered, x, scratch, workers)
    a = replace(a, dtype=product.a.dtype)
    products = _Products(replace(product, a=a), ordered, replace(g, m_blocks=1), tile)
    return [*ordered.commands, *copies, *products.few(), *products.many()]


def _product(x: Operand, w: Operand, out: Operand, scratch: Scratch, workers: int) -> Product:
    """The product as if all rows chose one matrix."""
    (rows, k), n = x.shape, out.shape[1]
    a = Matrix(x.pointer, x.dtype, (0,), k, 1)
    b, c = (Matrix(o.pointer, o.dtype, o.strides[:-2], *o.strides[-2:]) for o in (w, out))
    accumulate = accumulate_in(out.dtype, x.dtype, w.dtype, k)
    epilogue = StoreEpilogue(c, ())
    return Product(
        *as_alike(a, b, out.dtype), rows, n, k, w.shape[:1], epilogue, accumulate, scratch, workers
    )


class Ordered:
    """What places hold in the order of the matrices that rows choose.

    ``starts`` says afterwards where the rows of each matrix end.
    """

    def __init__(
        self, index: Operand, layout: Layout, rows: int, choices: int, even: int, scratch: Scratch
    ) -> None:
        (items,) = index.shape
        self.layout = layout
        self.order, self.starts = scratch(layout.places * 8), scratch(choices * 8)
        self.table = scratch((layout.entries + 1) * ENTRY)
        sizes, tables = (items, rows // items, choices), (self.starts, self.order, self.table)
        self.commands = [order_command(index, sizes, layout, even, *tables)]

    def store(self, inner: StoreEpilogue, blocks: Class) -> OrderedStore:
        """The epilogue of a class."""
        table = Pointer(self.table.base, self.table.offset + ENTRY * blocks.entry)
        return OrderedStore(inner, table, self.order)


def ordered_rows(
    ordered: Ordered, x: Operand, scratch: Scratch, workers: int
) -> tuple[Matrix, list[Command]]:
    """The rows of x in that order, and the command that copies them."""
    k, places = x.shape[1], ordered.layout.places
    order = Operand(ordered.order, "int64", (places,), (1,))
    out = Operand(scratch(places * k * SIZES[x.dtype]), x.dtype, (places, k), (k, 1))
    commands = plan_gather(Gather((0,)), x, [order], out, workers)
    return Matrix(out.pointer, x.dtype, (0,), k, 1), commands


class _Products:
    def __init__(self, product: Product, ordered: Ordered, g: Geometry, tile: Tile) -> None:
        self.product, self.ordered, self.g, self.tile = product, ordered, g, tile

    def few(self) -> list[Command]:
        """A command for each class of few rows."""
        p, out = self.product, []
        for each in self.ordered.layout.few:
            store = self.ordered.store(p.epilogue, each)  # type: ignore[arg-type]
            q = replace(p, m=each.limit, batch=(each.blocks,), epilogue=store, choices=p.items)
            out += plan_few(q)
        return out

    def many(self) -> list[Command]:
        """The blocked product of all larger groups."""
        p, g, tile, many = self.product, self.g, self.tile, self.ordered.layout.many
        if not many.blocks:
            return []
        store = self.ordered.store(p.epilogue, many)  # type: ignore[arg-type]
        p = replace(p, epilogue=store)
        problem = BlockedProblem(p)
        own = p.scratch(g.scratch * p.workers)
        direct_b = problem.reads_b(tile, g.mc)
        head = problem.head(tile, g, own, Pointer(0), direct_b, Strip(0, p.n))
        extra = list(store.consts)
        a, b = p.a, p.b
        table = [p.items, 0, b.batch_strides[0] * SIZES[b.dtype], 0]
        return [
            Command(
                BlockedSpec(a.dtype, a.layout, b.dtype, b.layout, p.accumulate, store),
                [*head, len(SLOTS) + len(extra), 1, *extra, *table],
                many.blocks * g.n_blocks,
                "chosen gemm",
                p.k * (p.m * SIZES[a.dtype] + p.items * p.n * SIZES[b.dtype]),
                2 * p.m * p.n * p.k,
            )
        ]
