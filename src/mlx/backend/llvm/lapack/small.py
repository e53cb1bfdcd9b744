"""Small matrices of real numbers: factorizations and substitutions of our own.

For these a call of LAPACK costs more than the work.  Rows are padded to whole vectors, so that
vectors start at the same places in every step; what the padding holds is never read into a result.
"""

from __future__ import annotations

from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.lapack.moves import exchange
from mlx.backend.llvm.values import Value, bits_of, const, i64, lane_consts, vector

SMALL = 64
"""Most rows and columns."""
LANES = 16


def padded(n: int) -> int:
    """Elements of a row with its padding."""
    return -(-n // LANES) * LANES


class _Code:
    """A function of its own: ``result name(params)`` over elements of a scalar type."""

    def __init__(self, module: Module, name: str, scalar: str, params: list[str], result: str):
        self.f: Function = module.function(name, params, result, internal=True)
        self.scalar, self.type = scalar, vector(LANES, scalar)
        self.size = bits_of(scalar) // 8

    def at(self, start: Value, row: Value, lead: Value, column: Value) -> Value:
        f = self.f
        return f.gep(start, f.add(f.mul(row, lead), column), self.scalar)

    def load(self, address: Value) -> Value:
        return self.f.load(address, self.scalar, self.size)

    def vector(self, address: Value) -> Value:
        return self.f.load(address, self.type, self.size)

    def store(self, value: Value, address: Value) -> None:
        self.f.store(value, address, self.size)

    def behind(self, block: Value, after: Value) -> Value:
        """The lanes of a block whose index is larger than ``after``."""
        f = self.f
        narrow = f.cast("trunc", f.sub(after, block), "i32")
        ramp = lane_consts(vector(LANES, "i32"), range(LANES))
        return f.icmp("sgt", ramp, f.splat(narrow, LANES))

    def block_of(self, index: Value) -> Value:
        return self.f.op("and", index, i64(-LANES))


def lu_function(module: Module, scalar: str) -> str:
    """``i64 small_lu(a, m, n, lead, pivots)``: LAPACK's getrf; column j of a begins at j * lead."""
    name = f"small_lu_{scalar}"
    if not module.has(name):
        _LU(_Code(module, name, scalar, ["ptr", "i64", "i64", "i64", "ptr"], "i64")).emit()
    return name


class _LU:
    def __init__(self, code: _Code) -> None:
        self.c, self.f = code, code.f
        self.a, self.m, self.n, self.lead, self.pivots = code.f.params

    def emit(self) -> None:
        f, c = self.f, self.c
        loop = f.loop(i64(0), f.min(self.m, self.n), i64(1), [i64(0)])
        k = loop.index
        column = c.at(self.a, k, self.lead, i64(0))
        pivot = self._pivot(column, k)
        number = f.cast("trunc", f.add(pivot, i64(1)), "i32")
        f.store(number, f.gep(self.pivots, k, "i32"), 4)
        self._exchange(k, pivot)
        value = c.load(f.gep(column, k, c.scalar))
        zero = f.fcmp("oeq", value, const(c.scalar, 0))
        first = f.op("and", zero, f.icmp("eq", loop.values[0], i64(0)))
        info = f.select(first, f.add(k, i64(1)), loop.values[0])
        self._eliminate(column, k, f.select(zero, const(c.scalar, 1), value))
        f.ret(f.end_loop(loop, [info])[0])

    def _pivot(self, column: Value, k: Value) -> Value:
        """The row of the largest number from row k on; the first of equal ones."""
        f, c = self.f, self.c
        before = f.sub(k, i64(1))
        first = c.block_of(k)
        none = const(c.type, -1)

        def sizes(block: Value) -> Value:
            valid = c.behind(block, before)
            past = c.behind(block, f.sub(self.m, i64(1)))
            x = f.fabs(c.vector(f.gep(column, block, c.scalar)))
            return f.select(past, none, f.select(valid, x, none))

        loop = f.loop(first, self.m, i64(LANES), [none])
        (most,) = f.end_loop(loop, [f.intrinsic("maxnum", loop.values[0], sizes(loop.index))])
        largest = f.splat(f.intrinsic("vector.reduce.fmax", most, result=c.scalar), LANES)
        loop = f.loop(first, self.m, i64(LANES), [k, const("i1", 0)])
        found, done = loop.values
        equal = f.bitcast(f.fcmp("oeq", sizes(loop.index), largest), f"i{LANES}")
        bits = f.cast("zext", equal, "i32")
        f.module.declare("llvm.cttz.i32", "i32", ["i32", "i1"])
        lane = f.emit(f"call i32 @llvm.cttz.i32(i32 {bits.ref}, i1 false)", "i32")
        here = f.add(loop.index, f.cast("zext", lane, "i64"))
        hit = f.icmp("ne", bits, const("i32", 0))
        new = f.op("and", hit, f.op("xor", done, const("i1", 1)))
        return f.end_loop(loop, [f.select(new, here, found), f.op("or", done, hit)])[0]

    def _exchange(self, k: Value, pivot: Value) -> None:
        f, c = self.f, self.c
        stop = f.select(f.icmp("eq", k, pivot), i64(0), self.n)
        p, q = (f.gep(self.a, row, c.scalar) for row in (k, pivot))
        exchange(f, p, q, stop, f.mul(self.lead, i64(c.size)), c.scalar)

    def _eliminate(self, column: Value, k: Value, value: Value) -> None:
        """Divide what is below the diagonal, and take its multiples from later columns."""
        f, c = self.f, self.c
        first = c.block_of(f.add(k, i64(1)))
        rows = f.loop(first, self.m, i64(LANES))
        below = c.behind(rows.index, k)
        here = f.gep(column, rows.index, c.scalar)
        x = c.vector(here)
        x = f.select(below, f.fdiv(x, f.splat(value, LANES)), x)
        c.store(x, here)
        factor = f.neg(f.select(below, x, const(c.type, 0)))
        columns = f.loop(f.add(k, i64(1)), self.n, i64(1))
        top = c.load(c.at(self.a, columns.index, self.lead, k))
        there = c.at(self.a, columns.index, self.lead, rows.index)
        y = c.vector(there)
        y = f.select(below, f.fma(factor, f.splat(top, LANES), y), y)
        c.store(y, there)
        f.end_loop(columns)
        f.end_loop(rows)


def substitute_function(module: Module, scalar: str, upper: bool, unit: bool) -> str:
    """``void substitute(a, n, lead, y, k, lead of y)``: solve a x = y in place, by rows."""
    name = f"small_substitute_{scalar}_{upper:d}{unit:d}"
    if not module.has(name):
        params = ["ptr", "i64", "i64", "ptr", "i64", "i64"]
        _substitute(_Code(module, name, scalar, params, "void"), upper, unit)
    return name


def _substitute(c: _Code, upper: bool, unit: bool) -> None:
    f = c.f
    a, n, lead, y, k, lead_y = f.params
    blocks = f.loop(i64(0), k, i64(LANES))
    rows = f.loop(i64(0), n, i64(1))
    i = f.sub(f.sub(n, i64(1)), rows.index) if upper else rows.index
    here = c.at(y, i, lead_y, blocks.index)
    start, stop = (f.add(i, i64(1)), n) if upper else (i64(0), i)
    loop = f.loop(start, stop, i64(1), [c.vector(here)])
    factor = f.splat(f.neg(c.load(c.at(a, i, lead, loop.index))), LANES)
    other = c.vector(c.at(y, loop.index, lead_y, blocks.index))
    (x,) = f.end_loop(loop, [f.fma(factor, other, loop.values[0])])
    if not unit:
        x = f.fdiv(x, f.splat(c.load(c.at(a, i, lead, i)), LANES))
    c.store(x, here)
    f.end_loop(rows)
    f.end_loop(blocks)
    f.ret()


def cholesky_function(module: Module, scalar: str) -> str:
    """``i64 small_cholesky(a, n, lead)``: the upper factor by rows, in place; LAPACK's info."""
    name = f"small_cholesky_{scalar}"
    if not module.has(name):
        _cholesky(_Code(module, name, scalar, ["ptr", "i64", "i64"], "i64"))
    return name


def _cholesky(c: _Code) -> None:
    f = c.f
    a, n, lead = f.params
    loop = f.loop(i64(0), n, i64(1), [i64(0)])
    k = loop.index
    pivot = c.load(c.at(a, k, lead, k))
    good = f.fcmp("ogt", pivot, const(c.scalar, 0))
    bad = f.op("and", f.op("xor", good, const("i1", 1)), f.icmp("eq", loop.values[0], i64(0)))
    info = f.select(bad, f.add(k, i64(1)), loop.values[0])
    root = f.sqrt(f.select(good, pivot, const(c.scalar, 1)))
    blocks = f.loop(c.block_of(k), n, i64(LANES))
    here = c.at(a, k, lead, blocks.index)
    row = f.fdiv(c.vector(here), f.splat(root, LANES))
    c.store(row, here)
    f.end_loop(blocks)
    rows = f.loop(f.add(k, i64(1)), n, i64(1))
    i = rows.index
    factor = f.splat(f.neg(c.load(c.at(a, k, lead, i))), LANES)
    blocks = f.loop(c.block_of(i), n, i64(LANES))
    row = c.vector(c.at(a, k, lead, blocks.index))
    there = c.at(a, i, lead, blocks.index)
    c.store(f.fma(factor, row, c.vector(there)), there)
    f.end_loop(blocks)
    f.end_loop(rows)
    f.ret(f.end_loop(loop, [info])[0])
