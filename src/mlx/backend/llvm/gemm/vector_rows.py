"""Matrix times vector where k is the fast axis of the matrix, or neither axis is."""

from __future__ import annotations

from functools import partial

from mlx.backend.llvm.gemm.elements import Element, bytes_ahead, first_lanes, prefetch
from mlx.backend.llvm.gemm.tile import UNIT_COL
from mlx.backend.llvm.gemm.vector_form import CHUNK, Form
from mlx.backend.llvm.values import Value, const, i64, lanes_of

_AHEAD = 2048  # bytes along a row that are asked for ahead of their use


class Rows(Form):
    """k is the fast axis of the matrix (or neither is): lanes lie in registers."""

    def product(self) -> None:
        f = self.f
        together = 4 if self.tile.vector_bytes == 64 else 2
        whole = f.sub(self.count, f.op("urem", self.count, i64(together)))
        for start, stop, rows in ((i64(0), whole, together), (whole, self.count, 1)):
            loop = f.loop(start, stop, i64(rows))
            matrices = [
                f.gep(self.matrix, f.mul(f.add(loop.index, i64(r)), self.w_out))
                for r in range(rows)
            ]
            addresses = self._sum_addresses(loop.index)
            for value, at in zip(self._dot(matrices), addresses, strict=True):
                f.store(value, at, self.size)
            f.end_loop(loop)

    def _dot(self, matrices: list[Value]) -> list[Value]:
        """For each plane, the vector of sums of some rows of the matrix, each times x."""
        f = self.f
        per_row = self.order // self.lanes * self.planes
        zeros = [const(self.type, 0)] * (per_row * len(matrices))
        whole = f.sub(self.depth, f.op("urem", self.depth, i64(self.order)))
        loop = f.loop(i64(0), whole, i64(self.order), zeros)
        sums = f.end_loop(loop, self._step(matrices, loop.index, loop.values, None))
        left = f.sub(self.depth, whole)
        rest = partial(self._step, matrices, whole, sums, left)
        sums = f.changed(f.icmp("sgt", left, i64(0)), sums, rest)
        rows = [sums[n : n + per_row] for n in range(0, len(sums), per_row)]
        return [self._fold([row[p :: self.planes] for row in rows]) for p in range(self.planes)]

    def _step(
        self, matrices: list[Value], k: Value, sums: list[Value], left: Value | None
    ) -> list[Value]:
        """One round of lanes; only the first ``left`` where given."""
        f = self.f
        counts = self._counts(left)
        xs = [self._load_x(k, v, count) for v, count in enumerate(counts)]
        masks = [None if c is None else first_lanes(f, c, self.lanes) for c in counts]
        out: list[Value] = []
        place, jump = f.mul(k, self.w_k), f.mul(self.w_out, i64(len(matrices)))
        ahead = bytes_ahead(f, place, f.mul(self.depth, self.w_k), _AHEAD, jump)
        for matrix in matrices:
            here = f.gep(matrix, place)
            if self.spec.w_layout == UNIT_COL and left is None:
                following = f.gep(here, ahead)
                for line in range(0, self.order * self.w.size, 64):
                    prefetch(f, f.gep(following, i64(line)), locality=2)
            for x, w, mask in zip(xs, self._load_ws(here, left), masks, strict=True):
                old = sums[len(out) : len(out) + self.planes]
                new = self.multiply(x, w, old)
                if mask is not None:
                    new = [f.select(mask, n, o) for n, o in zip(new, old, strict=True)]
                out += new
        return out

    def _counts(self, left: Value | None) -> list[Value | None]:
        """How many elements of each vector of a round there are; None: all."""
        f, lanes, vectors = self.f, self.lanes, self.order // self.lanes
        if left is None:
            return [None] * vectors
        if not self.spec.splits_x:
            return [f.sub(left, i64(v * lanes)) for v in range(vectors)]
        pairs = [f.sub(left, i64(v * lanes)) for v in range(0, vectors, 2)]
        return [f.op("ashr", f.add(p, i64(1 - odd)), i64(1)) for p in pairs for odd in (0, 1)]

    def _load_ws(self, here: Value, left: Value | None) -> list[list[Value]]:
        """A round of elements of one row of the matrix, by vectors."""
        f, lanes = self.f, self.lanes
        loaded: list[list[Value]] = []
        together = 2 if self.spec.splits_x else 1
        for start in range(0, self.order, together * lanes):
            at = f.gep(here, f.mul(self.w_k, i64(start)))
            count = None if left is None else f.sub(left, i64(start))
            if together == 2:
                loaded += self.w.load_split(f, at, lanes, count)
            else:
                loaded.append(self._load_w(at, count))
        return loaded

    def _load_x(self, k: Value, v: int, count: Value | None) -> list[Value]:
        element = Element(self._plane_dtype, self._plane_dtype)
        plane = i64(CHUNK * self.size)
        start = self.f.add(k, i64(v * self.lanes))
        address = self.f.gep(self.x, self.f.mul(start, i64(self.size)))
        return [
            element.load_run(self.f, at, self.lanes, count)[0]
            for at in [address, self.f.gep(address, plane)][: self.planes]
        ]

    @property
    def _plane_dtype(self) -> str:
        return "float32" if self.planes == 2 else self.spec.accumulate

    def _load_w(self, address: Value, count: Value | None) -> list[Value]:
        if self.spec.w_layout == UNIT_COL:
            return self.w.load_run(self.f, address, self.lanes, count)
        every = count if count is not None else i64(self.lanes)
        return self.w.load_strided(self.f, address, self.w_k, self.lanes, every)

    def _fold(self, rows: list[list[Value]]) -> Value:
        """For each row, upper half of its lanes onto the lower half until one is left.

        Evens and odds are folded apart: their sums are the last two lanes.
        """
        f = self.f
        vectors = []
        last = 2 if self.spec.splits_x else 1
        for sums in rows:
            while len(sums) > last:
                half = len(sums) // 2
                sums = [f.add(sums[n], sums[n + half]) for n in range(half)]
            vectors += sums
        width = self.lanes
        while width > 1:
            width //= 2
            vectors = [
                self._fold_pair(vectors[n], vectors[n + 1 : n + 2], width)
                for n in range(0, len(vectors), 2)
            ]
        (folded,) = vectors
        if last == 1:
            return folded
        evens, odds = (f.shuffle(folded, None, range(n, lanes_of(folded.type), 2)) for n in (0, 1))
        return f.add(evens, odds)

    def _fold_pair(self, first: Value, second: list[Value], width: int) -> Value:
        """Fold segments of 2 * width lanes, of one vector or of two into one."""
        f, lanes = self.f, lanes_of(first.type)
        other = second[0] if second else None
        total = lanes * (1 + len(second))
        low = [i for i in range(total) if i % (2 * width) < width]
        high = [i + width for i in low]
        return f.add(f.shuffle(first, other, low), f.shuffle(first, other, high))
