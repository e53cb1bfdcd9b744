"""Matrix times vector where k is the fast axis of the matrix, or neither axis is."""

from __future__ import annotations

from mlx.backend.llvm.gemm.elements import Element, first_lanes
from mlx.backend.llvm.gemm.tile import UNIT_COL
from mlx.backend.llvm.gemm.vector_form import CHUNK, Form
from mlx.backend.llvm.values import Value, const, i64, lanes_of


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
        before, part, ready = f.block, f.label("part"), f.label("ready")
        left = f.sub(self.depth, whole)
        f.branch_if(f.icmp("sgt", left, i64(0)), part, ready)
        f.start(part)
        ended = self._step(matrices, whole, sums, left)
        part = f.block
        f.branch(ready)
        f.start(ready)
        sums = [
            f.phi(self.type, [(a, before), (b, part)]) for a, b in zip(sums, ended, strict=True)
        ]
        rows = [sums[n : n + per_row] for n in range(0, len(sums), per_row)]
        return [self._fold([row[p :: self.planes] for row in rows]) for p in range(self.planes)]

    def _step(
        self, matrices: list[Value], k: Value, sums: list[Value], left: Value | None
    ) -> list[Value]:
        """One round of lanes; only the first ``left`` where given."""
        f = self.f
        out = []
        xs, masks = [], []
        for v in range(self.order // self.lanes):
            at = f.gep(self.x, f.mul(f.add(k, i64(v * self.lanes)), i64(self.size)))
            remaining = None if left is None else f.sub(left, i64(v * self.lanes))
            xs.append(self._load_x(at, remaining))
            masks.append(remaining)
        position = 0
        for matrix in matrices:
            for v, remaining in enumerate(masks):
                here = f.gep(matrix, f.mul(f.add(k, i64(v * self.lanes)), self.w_k))
                old = sums[position : position + self.planes]
                new = self.multiply(xs[v], self._load_w(here, remaining), old)
                if remaining is not None:
                    mask = first_lanes(f, remaining, self.lanes)
                    new = [f.select(mask, n, o) for n, o in zip(new, old, strict=True)]
                out += new
                position += self.planes
        return out

    def _load_x(self, address: Value, count: Value | None) -> list[Value]:
        element = Element(self._plane_dtype, self._plane_dtype)
        plane = i64(CHUNK * self.size)
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
        """For each row, upper half of its lanes onto the lower half until one is left."""
        f = self.f
        vectors = []
        for sums in rows:
            while len(sums) > 1:
                half = len(sums) // 2
                sums = [f.add(sums[n], sums[n + half]) for n in range(half)]
            vectors.append(sums[0])
        width = self.lanes
        while width > 1:
            width //= 2
            vectors = [
                self._fold_pair(vectors[n], vectors[n + 1 : n + 2], width)
                for n in range(0, len(vectors), 2)
            ]
        return vectors[0]

    def _fold_pair(self, first: Value, second: list[Value], width: int) -> Value:
        """Fold segments of 2 * width lanes, of one vector or of two into one."""
        f, lanes = self.f, lanes_of(first.type)
        other = second[0] if second else None
        total = lanes * (1 + len(second))
        low = [i for i in range(total) if i % (2 * width) < width]
        high = [i + width for i in low]
        return f.add(f.shuffle(first, other, low), f.shuffle(first, other, high))
