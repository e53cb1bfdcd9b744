"""Matrix times vector where the outputs are the fast axis of the matrix."""

from __future__ import annotations

from mlx.backend.llvm.gemm.elements import prefetch, whole_then_edge
from mlx.backend.llvm.gemm.vector_form import CHUNK, MAX_BLOCK, Form
from mlx.backend.llvm.values import Value, const, i64

_SPAN = 256  # columns whose sums stay in the first-level cache, for matrices of few rows


class Columns(Form):
    """The outputs are the fast axis of the matrix: a row of partial sums for each lane.

    The finished sums lie in a row before these, which a span of columns after another uses.
    """

    def product(self) -> None:
        f = self.f
        self.vectors = 2 if self.spec.splits else 1
        self.width = i64(self.vectors * self.lanes)
        few = f.icmp("slt", self.depth, i64(self.order))
        size = f.select(few, i64(_SPAN), i64(MAX_BLOCK))
        span = f.loop(i64(0), self.count, size)
        self.columns = f.min(f.sub(self.count, span.index), size)
        self.whole = f.sub(self.columns, f.op("urem", self.columns, self.width))
        self.here = f.gep(self.matrix, f.mul(span.index, i64(self.w.size)))
        self.partial = f.gep(self.sums, i64(self.spec.sums_pitch))
        self._span()
        self._fold(span.index)
        f.end_loop(span)

    def _span(self) -> None:
        """The sums of the lanes for the present columns."""
        f, order = self.f, i64(self.order)
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
        empty = f.loop(f.min(self.depth, i64(1)), i64(1), i64(1))
        col = f.loop(i64(0), self.columns, self.width)
        for address in self._addresses(self.partial, col.index):
            f.store(const(self.type, 0), address, self.size)
        f.end_loop(col)
        f.end_loop(empty)

    def _addresses(self, line: Value, col: Value, steps: int = 1) -> list[Value]:
        """Places in a row of sums for some steps along the columns, by vector or plane."""
        f = self.f
        at = f.gep(line, f.mul(col, i64(self.size)))
        bytes = self.lanes * self.size
        if self.planes == 1:
            return [f.gep(at, i64(n * bytes)) for n in range(steps * self.vectors)]
        return [
            f.gep(at, i64(plane * self.sums_plane + n * bytes))
            for n in range(steps) for plane in range(self.planes)
        ]  # fmt: skip

    def _fold(self, start: Value) -> None:
        """Finished sums of the columns from ``start`` on; behind the last ones what happens to
        be there."""
        f = self.f
        steps = 2 if self.planes == self.vectors == 1 else 1
        col = f.loop(i64(0), self.columns, f.mul(self.width, i64(steps)))
        totals = self._subtree(self._addresses(self.partial, col.index, steps), 0, 1)
        if self.vectors == 2:  # evens and odds
            mixed = [n // 2 + n % 2 * self.lanes for n in range(2 * self.lanes)]
            halves = (mixed[: self.lanes], mixed[self.lanes :])
            totals = [f.shuffle(totals[0], totals[1], half) for half in halves]
        places = self._addresses(self.sums, f.add(start, col.index), steps)
        for total, address in zip(totals, places, strict=True):
            f.store(total, address, self.size)
        f.end_loop(col)

    def _subtree(self, first: list[Value], lane: int, step: int) -> list[Value]:
        """The sums of lanes ``lane`` + multiples of ``step``, as folding halves leaves them.

        A lane that got no element counts as zero.  Nothing is added for it but to a lane that
        has one: a sum with +0 is never -0, and stays as it is if +0 is added again.
        """
        f = self.f
        if step == self.order:
            offset = i64(lane * self.spec.sums_pitch)
            return [f.load(f.gep(at, offset), self.type, self.size) for at in first]
        low = self._subtree(first, lane, 2 * step)

        def both() -> list[Value]:
            high = self._subtree(first, lane + step, 2 * step)
            return [f.add(a, b) for a, b in zip(low, high, strict=True)]

        def alone() -> list[Value]:
            is_leaf = 2 * step == self.order
            return [f.add(value, const(self.type, 0)) for value in low] if is_leaf else low

        return f.either(f.icmp("sgt", self.depth, i64(lane + step)), both, alone)

    def _accumulate(self, start: Value, lanes: Value, together: int) -> None:
        """Rows k, k + order, ... of the matrix, k from ``start``, onto the sums of its lane."""
        f = self.f
        lane = f.loop(i64(0), lanes, i64(1))
        fresh = f.icmp("slt", start, i64(self.order))
        rows = [f.add(f.add(start, lane.index), i64(n * self.order)) for n in range(together)]
        xs = [self._broadcast(row) for row in rows]
        matrices = [f.gep(self.here, f.mul(row, self.w_k)) for row in rows]
        line = f.gep(self.partial, f.mul(lane.index, i64(self.spec.sums_pitch)))

        def step(col: Value, left: Value | None) -> None:
            addresses = self._addresses(line, col)
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

        whole_then_edge(f, self.whole, self.columns, self.width, step)
        f.end_loop(lane)

    def _broadcast(self, k: Value) -> list[Value]:
        f = self.f
        at = f.gep(self.x, f.mul(k, i64(self.size)))
        places = [at, f.gep(at, i64(CHUNK * self.size))][: self.planes]
        return [f.splat(f.load(p, self.w.acc, self.size), self.lanes) for p in places]
