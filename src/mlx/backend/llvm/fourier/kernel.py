"""The kernel of Fourier transforms: 16 at once, in scratch, one radix after the other.

Passes are those of Stockham's algorithm, which needs no reordering: of n elements, members of
group p, m apart, are combined, multiplied by powers of a root and written side by side.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm import memory
from mlx.backend.llvm.abi import Kernel
from mlx.backend.llvm.along import RowCode
from mlx.backend.llvm.fourier.blocks import Block
from mlx.backend.llvm.fourier.butterflies import BUTTERFLIES, Pair
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.values import Value, i64, lane_consts, vector

LANES = 16
NUMBER = 2 * LANES * 4
"""Bytes of one element of 16 transforms: real parts, then imaginary parts."""
BASE = 32
"""Powers of roots that are looked up one by one; all others are products of two."""


def scratch_bytes(n: int) -> int:
    """Of one worker: elements before and after a pass, and powers of roots."""
    return NUMBER * (2 * (n + 8) + BASE)


@dataclass(frozen=True)
class FourierSpec:
    """Consts: transforms in lanes, blocks of them, size, passes; base, offset and bytes a worker
    of scratch; bits of the lower part of a power; strides of x and of the result along the lanes;
    elements to keep, and transforms whose last one to keep; both along the axis; (radix, groups,
    stride) of each pass; roots of order n; with ``turns``, the roots that also multiply the
    result, lower and upper parts of their powers.
    """

    inverse: bool
    depth: int
    ways: tuple[str, str]
    """How lanes lie in x and in the result: ``unit``, ``rows`` (far apart, but the transforms'
    own elements side by side) or ``strided``."""
    turns: bool
    real: bool
    """Whether x has no imaginary parts."""

    @property
    def key(self) -> str:
        kind = f"{self.inverse:d}{self.turns:d}{self.real:d}"
        return f"fourier {kind} {self.depth} {','.join(self.ways)}"

    def emit(self, module: Module, name: str) -> None:
        _Fourier(self, Kernel(module, name)).emit()


class _Fourier:
    def __init__(self, spec: FourierSpec, k: Kernel) -> None:
        self.spec, self.k, self.f = spec, k, k.f
        self.type = vector(LANES, "float")

    def emit(self) -> None:
        k, f, spec = self.k, self.f, self.spec
        count, blocks, self.n, passes = (k.const(i) for i in range(4))
        self.shift = k.const(7)
        code = RowCode(k, 12, spec.depth, 2)
        area = f.gep(k.pointer(4), f.mul(k.worker, k.const(6)))
        half = f.mul(f.add(self.n, i64(8)), i64(NUMBER))
        first, second = area, f.gep(area, half)
        self.powers = f.gep(second, half)
        table = 12 + code.count
        self.passes = f.gep(k.consts, i64(table), "i64")
        self.roots = f.gep(self.passes, f.mul(passes, i64(3)), "i64")
        self.turns = f.gep(self.roots, self.n, "i64")
        row = f.op("udiv", k.task, blocks)
        self.lane0 = f.mul(f.sub(k.task, f.mul(row, blocks)), i64(LANES))
        left = f.min(f.sub(count, self.lane0), i64(LANES))
        source, target = (
            f.gep(p, f.mul(self.lane0, k.const(8 + i))) for i, p in enumerate(code.row(row))
        )
        block = Block(f, spec.ways[0], source, k.const(8), code.steps[0], left, spec.real)
        block.load(self.n, first)
        loop = f.loop(i64(0), passes, i64(1), [first, second])
        before, after = loop.values
        self._pass(loop.index, before, after)
        result, _ = f.end_loop(loop, [after, before])
        if spec.turns:
            self._turn(result)
        block = Block(f, spec.ways[1], target, k.const(9), code.steps[1], left)
        block.store(k.const(10), f.sub(k.const(11), self.lane0), result)
        f.ret()

    # -- numbers -----------------------------------------------------------------------

    def _at(self, base: Value, index: Value) -> Value:
        return self.f.gep(base, self.f.mul(index, i64(NUMBER)))

    def _load(self, base: Value, index: Value) -> Pair:
        f, here = self.f, self._at(base, index)
        re = f.load(here, self.type, 64)
        return Pair(f, re, f.load(f.gep(here, i64(NUMBER // 2)), self.type, 64))

    def _store(self, x: Pair, base: Value, index: Value) -> None:
        f, here = self.f, self._at(base, index)
        f.store(x.re, here, 64)
        f.store(x.im, f.gep(here, i64(NUMBER // 2)), 64)

    def _root(self, power: Value) -> Pair:
        """A root's power in all lanes."""
        f, here = self.f, self.f.gep(self.roots, power, "i64")
        re, im = f.load(here, "float", 4), f.load(f.gep(here, i64(4)), "float", 4)
        return Pair(f, f.splat(re, LANES), f.splat(im, LANES))

    # -- passes ------------------------------------------------------------------------

    def _pass(self, number: Value, source: Value, target: Value) -> None:
        f = self.f
        here = f.gep(self.passes, f.mul(number, i64(3)), "i64")
        radix, groups, stride = (f.load(f.gep(here, i64(8 * i)), "i64", 8) for i in range(3))
        done = f.label("passed")
        for size in BUTTERFLIES:
            take, other = f.label("radix"), f.label("other")
            f.branch_if(f.icmp("eq", radix, i64(size)), take, other)
            f.start(take)
            self._combine(size, groups, stride, source, target)
            f.branch(done)
            f.start(other)
        f.branch(done)
        f.start(done)

    def _combine(
        self, radix: int, groups: Value, stride: Value, source: Value, target: Value
    ) -> None:
        """y[q + s (r p + k)] = w^(p k s) sum over j of x[q + s (p + m j)] v^(j k)."""
        f = self.f
        apart = f.mul(groups, stride)
        group = f.loop(i64(0), groups, i64(1))
        from_, to = f.mul(group.index, stride), f.mul(f.mul(group.index, i64(radix)), stride)
        roots = [self._root(f.mul(from_, i64(k))) for k in range(1, radix)]
        member = f.loop(i64(0), stride, i64(1))
        read, write = f.add(from_, member.index), f.add(to, member.index)
        x = [self._load(source, f.add(read, f.mul(apart, i64(j)))) for j in range(radix)]
        y = BUTTERFLIES[radix](x, self.spec.inverse)
        self._store(y[0], target, write)
        for k, root in enumerate(roots, 1):
            self._store(y[k] * root, target, f.add(write, f.mul(stride, i64(k))))
        f.end_loop(member)
        f.end_loop(group)

    # -- between two transforms that make up a longer one ---------------------------------

    def _turn(self, result: Value) -> None:
        """Multiply element k of the transform in lane j by the root's power j k."""
        f = self.f
        ramp = lane_consts(vector(LANES, "i64"), range(LANES))
        lane = f.add(f.splat(self.lane0, LANES), ramp)
        low = f.loop(i64(0), f.min(self.n, i64(BASE)), i64(1))
        self._store(self._power(lane, low.index), self.powers, low.index)
        f.end_loop(low)
        high = f.loop(i64(0), self.n, i64(BASE))
        factor = self._power(lane, high.index)
        rest = f.min(f.sub(self.n, high.index), i64(BASE))
        each = f.loop(i64(0), rest, i64(1))
        at = f.add(high.index, each.index)
        power = factor * self._load(self.powers, each.index)
        self._store(self._load(result, at) * power, result, at)
        f.end_loop(each)
        f.end_loop(high)

    def _power(self, lane: Value, k: Value) -> Pair:
        """The root to the power of lane times k."""
        f = self.f
        power = f.mul(lane, f.splat(k, LANES))
        shift = f.splat(self.shift, LANES)
        upper = f.op("lshr", power, shift)
        lower = f.sub(power, f.op("shl", upper, shift))
        size = f.op("shl", i64(1), self.shift)
        uppers = f.gep(self.turns, size, "i64")
        return self._looked_up(self.turns, lower) * self._looked_up(uppers, upper)

    def _looked_up(self, base: Value, indices: Value) -> Pair:
        f = self.f
        addresses = f.emit(
            f"getelementptr i64, ptr {base.ref}, {indices.type} {indices.ref}",
            vector(LANES, "ptr"),
        )
        raw = f.gather(addresses, indices.type, memory.full_mask(LANES), 8)
        floats = f.bitcast(raw, vector(2 * LANES, "float"))
        re = f.shuffle(floats, None, range(0, 2 * LANES, 2))
        return Pair(f, re, f.shuffle(floats, None, range(1, 2 * LANES, 2)))
