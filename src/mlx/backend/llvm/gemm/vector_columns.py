"""Matrix times vector where the outputs are the fast axis of the matrix."""

from __future__ import annotations

from mlx.backend.llvm.gemm.vector_form import CHUNK, MAX_BLOCK, Form
from mlx.backend.llvm.values import Value, const, i64


class Columns(Form):
    """The outputs are the fast axis of the matrix: a row of partial sums for each lane."""

    def product(self) -> None:
        f, order = self.f, i64(self.order)
        self.whole = f.sub(self.count, f.op("urem", self.count, i64(self.lanes)))
        done = i64(0)
        for together in (8, 4, 2, 1):
            period = i64(together * self.order)
            left = f.sub(self.depth, done)
            stop = f.add(done, f.sub(left, f.op("urem", left, period)))
            block = f.loop(done, stop, period)
            self._accumulate(block.index, order, together)
            f.end_loop(block)
            done = stop
        self._accumulate(done, f.sub(self.depth, done), 1)
        self._clear(f.min(self.depth, order))
        self._fold()

    def _address(self, row: Value, col: Value, plane: int = 0) -> Value:
        f = self.f
        offset = f.add(f.mul(row, i64(MAX_BLOCK * self.planes)), col)
        at = f.gep(self.sums, f.mul(offset, i64(self.size)))
        return f.gep(at, i64(plane * self.sums_plane))

    def _clear(self, start: Value) -> None:
        """Lanes from ``start`` on got no element."""
        f = self.f
        row = f.loop(start, i64(self.order), i64(1))
        col = f.loop(i64(0), self.count, i64(self.lanes))
        for plane in range(self.planes):
            f.store(const(self.type, 0), self._address(row.index, col.index, plane), self.size)
        f.end_loop(col)
        f.end_loop(row)

    def _fold(self) -> None:
        f = self.f
        col = f.loop(i64(0), self.count, i64(self.lanes))
        for plane in range(self.planes):
            total = self._subtree(col.index, plane, 0, 1)
            f.store(total, self._address(i64(0), col.index, plane), self.size)
        f.end_loop(col)

    def _subtree(self, col: Value, plane: int, lane: int, step: int) -> Value:
        """The sum of lanes ``lane`` + multiples of ``step``, as folding halves leaves it."""
        if step == self.order:
            return self.f.load(self._address(i64(lane), col, plane), self.type, self.size)
        low = self._subtree(col, plane, lane, 2 * step)
        return self.f.add(low, self._subtree(col, plane, lane + step, 2 * step))

    def _accumulate(self, start: Value, lanes: Value, together: int) -> None:
        """Rows k, k + order, ... of the matrix, k from ``start``, onto the sums of its lane."""
        f = self.f
        lane = f.loop(i64(0), lanes, i64(1))
        fresh = f.icmp("slt", start, i64(self.order))
        rows = [f.add(f.add(start, lane.index), i64(n * self.order)) for n in range(together)]
        xs = [self._broadcast(row) for row in rows]
        matrices = [f.gep(self.matrix, f.mul(row, self.w_k)) for row in rows]

        def step(col: Value, left: Value | None) -> None:
            addresses = [self._address(lane.index, col, p) for p in range(self.planes)]
            zero = const(self.type, 0)
            sums = [f.select(fresh, zero, f.load(at, self.type, self.size)) for at in addresses]
            for x, matrix in zip(xs, matrices, strict=True):
                here = f.gep(matrix, f.mul(col, i64(self.w.size)))
                sums = self.multiply(x, self.w.load_run(f, here, self.lanes, left), sums)
            for at, value in zip(addresses, sums, strict=True):
                f.store(value, at, self.size)

        col = f.loop(i64(0), self.whole, i64(self.lanes))
        step(col.index, None)
        f.end_loop(col)
        edge, after = f.label("edge"), f.label("after")
        left = f.sub(self.count, self.whole)
        f.branch_if(f.icmp("sgt", left, i64(0)), edge, after)
        f.start(edge)
        step(self.whole, left)
        f.branch(after)
        f.start(after)
        f.end_loop(lane)

    def _broadcast(self, k: Value) -> list[Value]:
        f = self.f
        at = f.gep(self.x, f.mul(k, i64(self.size)))
        places = [at, f.gep(at, i64(CHUNK * self.size))][: self.planes]
        return [f.splat(f.load(p, self.w.acc, self.size), self.lanes) for p in places]
