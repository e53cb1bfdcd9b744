"""Matrix times vector where the outputs are the fast axis of the matrix."""

from __future__ import annotations

from mlx.backend.llvm.gemm.elements import prefetch, whole_then_edge
from mlx.backend.llvm.gemm.vector_form import CHUNK, Form
from mlx.backend.llvm.values import Value, const, i64


class Columns(Form):
    """The outputs are the fast axis of the matrix: a row of partial sums for each lane."""

    def product(self) -> None:
        f, order = self.f, i64(self.order)
        self.vectors = 2 if self.spec.splits else 1
        self.width = i64(self.vectors * self.lanes)
        self.whole = f.sub(self.count, f.op("urem", self.count, self.width))
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

    def _addresses(self, row: Value, col: Value) -> list[Value]:
        """Where the sums of a lane lie for one step along the columns, by vector or plane."""
        f = self.f
        lane = f.gep(self.sums, f.mul(row, i64(self.spec.sums_pitch)))
        at = f.gep(lane, f.mul(col, i64(self.size)))
        if self.vectors == 2:
            return [at, f.gep(at, i64(self.lanes * self.size))]
        return [f.gep(at, i64(plane * self.sums_plane)) for plane in range(self.planes)]

    def _clear(self, start: Value) -> None:
        """Lanes from ``start`` on got no element."""
        f = self.f
        row = f.loop(start, i64(self.order), i64(1))
        col = f.loop(i64(0), self.count, self.width)
        for address in self._addresses(row.index, col.index):
            f.store(const(self.type, 0), address, self.size)
        f.end_loop(col)
        f.end_loop(row)

    def _fold(self) -> None:
        f = self.f
        col = f.loop(i64(0), self.count, self.width)
        addresses = self._addresses(i64(0), col.index)
        totals = [self._subtree(address, 0, 1) for address in addresses]
        if self.vectors == 2:  # evens and odds
            mixed = [n // 2 + n % 2 * self.lanes for n in range(2 * self.lanes)]
            halves = (mixed[: self.lanes], mixed[self.lanes :])
            totals = [f.shuffle(totals[0], totals[1], half) for half in halves]
        for total, address in zip(totals, addresses, strict=True):
            f.store(total, address, self.size)
        f.end_loop(col)

    def _subtree(self, first: Value, lane: int, step: int) -> Value:
        """The sum of lanes ``lane`` + multiples of ``step``, as folding halves leaves it."""
        if step == self.order:
            offset = i64(lane * self.spec.sums_pitch)
            return self.f.load(self.f.gep(first, offset), self.type, self.size)
        low = self._subtree(first, lane, 2 * step)
        return self.f.add(low, self._subtree(first, lane + step, 2 * step))

    def _accumulate(self, start: Value, lanes: Value, together: int) -> None:
        """Rows k, k + order, ... of the matrix, k from ``start``, onto the sums of its lane."""
        f = self.f
        lane = f.loop(i64(0), lanes, i64(1))
        fresh = f.icmp("slt", start, i64(self.order))
        rows = [f.add(f.add(start, lane.index), i64(n * self.order)) for n in range(together)]
        xs = [self._broadcast(row) for row in rows]
        matrices = [f.gep(self.matrix, f.mul(row, self.w_k)) for row in rows]

        def step(col: Value, left: Value | None) -> None:
            addresses = self._addresses(lane.index, col)
            zero = const(self.type, 0)
            sums = [f.select(fresh, zero, f.load(at, self.type, self.size)) for at in addresses]
            for x, matrix in zip(xs, matrices, strict=True):
                here = f.gep(matrix, f.mul(col, i64(self.w.size)))
                prefetch(f, f.gep(here, self.w_k), locality=2)  # for the next lane
                if self.vectors == 2:
                    both = zip(self.w.load_split(f, here, self.lanes, left), sums, strict=True)
                    sums = [self.multiply(x, w, [old])[0] for w, old in both]
                else:
                    sums = self.multiply(x, self.w.load_run(f, here, self.lanes, left), sums)
            for at, value in zip(addresses, sums, strict=True):
                f.store(value, at, self.size)

        whole_then_edge(f, self.whole, self.count, self.width, step)
        f.end_loop(lane)

    def _broadcast(self, k: Value) -> list[Value]:
        f = self.f
        at = f.gep(self.x, f.mul(k, i64(self.size)))
        places = [at, f.gep(at, i64(CHUNK * self.size))][: self.planes]
        return [f.splat(f.load(p, self.w.acc, self.size), self.lanes) for p in places]
