"""Products of blocks in cache: C (+)= A B, by register tiles, all operands where they lie.

``void product(ptr a, i64 row, i64 step, i64 rows, ptr b, i64 b_row, i64 cols, i64 depth,
ptr c, i64 c_row, i1 more)``: element (r, k) of A lies at ``a + r row + k step``, rows of B and C
are runs of neighbours ``b_row`` and ``c_row`` bytes apart.  ``more`` adds to what C holds.

Rows are rounded up to whole tiles and columns to whole vectors: the operands must have room for
that, and what is there ends in parts of C that nobody reads.

With ``pairs`` the elements of A and B are pairs of bfloat16 along k, and ``depth`` counts pairs.
On tile registers (``tile_product``) rows of A are runs of neighbours, ``step`` apart.
"""

from __future__ import annotations

from mlx.backend.llvm.attention.tile import Tile
from mlx.backend.llvm.gemm.amx import SIDE, AmxMicro
from mlx.backend.llvm.gemm.elements import Element, multiply_add, prefetch
from mlx.backend.llvm.gemm.pairs import dot_pairs
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, const, i64

PAIRS = Element("int32", "int32")
"""A pair as it is loaded."""

_PARAMS = [
    "ptr noalias readonly", "i64", "i64", "i64", "ptr noalias readonly", "i64", "i64", "i64",
    "ptr noalias", "i64", "i1",
]  # fmt: skip


def product(
    module: Module, tile: Tile, rows: int = 0, b_dtype: str = "", pairs: bool = False,
    ahead: int = 0,
) -> str:  # fmt: skip
    """Write the function if it is not there; returns its name.

    ``rows`` of a register tile, by default the tile's; B may be of another dtype.  ``ahead``: how
    many rows of B further on memory is asked for, where B doesn't lie in cache.
    """
    rows = rows or tile.rows
    element = PAIRS if pairs else Element(b_dtype or tile.accumulate, tile.accumulate)
    name = f"product_{rows}_{element.dtype}_{ahead}"
    if not module.has(name):
        parts = [_columns(module, tile, rows, vectors, element, ahead) for vectors in (2, 1)]
        f = module.function(name, _PARAMS, internal=True)
        a, row, step, count, b, b_row, cols, depth, c, c_row, more = f.params
        whole = f.sub(cols, f.op("urem", cols, i64(2 * tile.lanes)))
        bounds = ((i64(0), whole, 2), (whole, cols, 1))
        for (start, stop, vectors), part in zip(bounds, parts, strict=True):
            loop = f.loop(start, stop, i64(vectors * tile.lanes))
            right = f.gep(b, f.mul(loop.index, i64(element.size)))
            to = f.gep(c, f.mul(loop.index, i64(tile.itemsize)))
            f.call(part, "void", a, row, step, count, right, b_row, depth, to, c_row, more)
            f.end_loop(loop)
        f.ret()
    return name


def _columns(
    module: Module, tile: Tile, rows: int, vectors: int, element: Element, ahead: int
) -> str:
    """All rows of ``vectors`` vectors of columns."""
    name = f"columns_{rows}x{vectors}_{element.dtype}_{ahead}"
    if not module.has(name):
        params = [p for i, p in enumerate(_PARAMS) if i != 6]
        f = module.function(name, params, internal=True)
        _Columns(f, tile, rows, vectors, element, ahead).emit()
    return name


_TILES = [
    "ptr noalias readonly", "i64", "ptr noalias readonly", "i64", "i64", "ptr noalias", "i64", "i1",
]  # fmt: skip


def tile_product(module: Module, tile: Tile) -> str:
    """The function for pairs on tile registers, which the caller has configured.

    What of ``depth`` fills no tile is added by vectors.
    """
    rest, name = product(module, tile, pairs=True), "product_on_tiles"
    if not module.has(name):
        f = module.function(name, _PARAMS, internal=True)
        a, row, step, count, b, b_row, cols, depth, c, c_row, more = f.params
        left = f.op("urem", depth, i64(SIDE))
        whole = f.sub(depth, left)
        some = f.icmp("ne", whole, i64(0))

        def tiles() -> None:
            _in_tiles(module, f, (a, row, b, b_row, whole, c, c_row, more), count, cols)

        def behind() -> None:
            f.call(
                rest, "void", f.gep(a, f.mul(whole, step)), row, step, count,
                f.gep(b, f.mul(whole, b_row)), b_row, cols, left, c, c_row, f.op("or", more, some),
            )  # fmt: skip

        f.where(some, tiles, lambda: None)
        f.where(f.icmp("ne", left, i64(0)), behind, lambda: None)
        f.ret()
    return name


def _in_tiles(
    module: Module, f: Function, args: tuple[Value, ...], count: Value, cols: Value
) -> None:
    """All rows and columns, two tiles of each at once but at the end."""
    a, row, b, b_row, depth, c, c_row, more = args
    for high, start, stop in _twos(f, count):
        down = f.loop(start, stop, i64(high * SIDE))
        left, to = (f.gep(p, f.mul(down.index, pitch)) for p, pitch in ((a, row), (c, c_row)))
        for wide, first, last in _twos(f, cols):
            across = f.loop(first, last, i64(wide * SIDE))
            offset = f.mul(across.index, i64(4))
            right, place = f.gep(b, offset), f.gep(to, offset)
            micro = _micro(module, high, wide)
            f.call(micro, "void", left, row, right, b_row, depth, place, c_row, more)
            f.end_loop(across)
        f.end_loop(down)


def _twos(f: Function, count: Value) -> list[tuple[int, Value, Value]]:
    """Bounds of pairs of tiles, and of the tile behind them: (tiles, first, end)."""
    tiles = f.op("udiv", f.add(count, i64(SIDE - 1)), i64(SIDE))
    end = f.mul(tiles, i64(SIDE))
    twos = f.mul(f.op("lshr", tiles, i64(1)), i64(2 * SIDE))
    return [(2, i64(0), twos), (1, twos, end)]


def _micro(module: Module, high: int, wide: int) -> str:
    name = f"tiles_{high}x{wide}"
    if not module.has(name):
        f = module.function(name, _TILES, internal=True)
        AmxMicro(f, "tdpbf16ps", high * SIDE, wide).emit()
    return name


class _Columns:
    def __init__(
        self, f: Function, tile: Tile, rows: int, vectors: int, element: Element, ahead: int
    ) -> None:
        self.f, self.tile, self.rows, self.vectors = f, tile, rows, vectors
        self.element, self.ahead = element, ahead

    def emit(self) -> None:
        f, rows = self.f, self.rows
        a, row, self.step, count, b, self.b_row, self.depth, c, c_row, more = f.params
        a_rows = [f.mul(row, i64(r)) for r in range(rows)]
        c_rows = [f.mul(c_row, i64(r)) for r in range(rows)]
        tiles = f.loop(i64(0), count, i64(rows), [a, c])
        a_tile, c_tile = tiles.values
        places = [
            f.gep(f.gep(c_tile, at), i64(v * self.tile.vector_bytes))
            for at in c_rows
            for v in range(self.vectors)
        ]
        sums = self._start(places, more)
        sums = self._along(sums, a_tile, a_rows, b)
        for value, place in zip(sums, places, strict=True):
            f.store(value, place, self.tile.itemsize)
        moved = [f.gep(a_tile, f.mul(row, i64(rows))), f.gep(c_tile, f.mul(c_row, i64(rows)))]
        f.end_loop(tiles, moved)
        f.ret()

    def _start(self, places: list[Value], more: Value) -> list[Value]:
        f, type = self.f, self.tile.type

        def old() -> list[Value]:
            return [f.load(p, type, self.tile.itemsize) for p in places]

        return f.changed(more, [const(type, 0)] * len(places), old)

    def _along(self, sums: list[Value], a: Value, a_rows: list[Value], b: Value) -> list[Value]:
        f, tile, element = self.f, self.tile, self.element
        pairs = element is PAIRS
        loop = f.loop(i64(0), self.depth, i64(1), [*sums, a, b])
        *sums, a, b = loop.values
        if self.ahead:
            further = f.gep(b, f.mul(self.b_row, i64(self.ahead)))
            for line in range(0, self.vectors * tile.lanes * element.size, 64):
                prefetch(f, f.gep(further, i64(line)), locality=2)
        right = [
            element.load_run(f, f.gep(b, i64(v * tile.lanes * element.size)), tile.lanes)[0]
            for v in range(self.vectors)
        ]
        for r, at in enumerate(a_rows):
            one = f.load(f.gep(a, at), "i32" if pairs else tile.element, tile.itemsize)
            left = f.splat(one, tile.lanes)
            for v, values in enumerate(right):
                n = r * self.vectors + v
                if pairs:
                    sums[n] = dot_pairs(f, left, values, sums[n])
                else:
                    sums[n] = multiply_add(f, left, values, sums[n], tile.fused)
        return f.end_loop(loop, [*sums, f.gep(a, self.step), f.gep(b, self.b_row)])[:-2]
