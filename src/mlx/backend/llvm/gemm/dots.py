"""Integers of 8 and 16 bits in runs along k, as the dot-product instructions take them.

A run is one 32-bit element of a panel, the lowest k in its lowest bits; what is missing at the
end is zero in A.  Sums are int32 and wrap around.  Instructions for runs of four (8 bits) want
certain signs of their operands, but for those of tile registers.  Where the signs are others, the
top bits of B are flipped, which adds or takes 128 from each number, and 128 times the sum of a
row of A makes up for it: packing leaves that number behind the row, and the micro-kernel starts
from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from mlx.backend.llvm.gemm.elements import Element
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.target import Target
from mlx.backend.llvm.values import Value, const, i64, lanes_of, vector

_BYTES = ("int8", "uint8")
_WORDS = (*_BYTES, "int16")
_MADD = {"<16 x i32>": "avx512.pmaddw.d.512", "<8 x i32>": "avx2.pmadd.wd",
         "<4 x i32>": "sse2.pmadd.wd"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Dots:
    """How a processor sums products of runs: ``together`` numbers, by which instruction.

    ``signed``: the left numbers are; of the right ones, packed, VNNI wants the other kind in
    runs of four, NEON the same.
    ``correct``: what a row's sum is multiplied with, 0 where the signs are as they are wanted.
    """

    together: int
    form: str
    signed: bool = True
    correct: int = 0

    @property
    def tiles(self) -> bool:
        """Whether ``form`` is an instruction of tile registers (see ``amx``)."""
        return self.form.startswith("tdp")

    @property
    def name(self) -> str:
        sign = "s" if self.signed else "u"
        flipped = {0: "", 128: "p", -128: "m"}[self.correct]
        return f"{self.form}{self.together}{sign}{flipped}"


def dots_of(a_dtype: str, b_dtype: str, target: Target) -> Dots | None:
    """The dot products for operands of these dtypes, where the target has any."""
    if a_dtype not in _WORDS or b_dtype not in _WORDS:
        return None
    vnni = target.has("avx512vnni") if target.avx512 else target.has("avxvnni")
    signed = a_dtype == "int8"
    bytes_alone = a_dtype in _BYTES and b_dtype in _BYTES
    if bytes_alone and target.avx512 and target.has("amx-int8"):
        signs = "".join("s" if dtype == "int8" else "u" for dtype in (a_dtype, b_dtype))
        return Dots(4, f"tdpb{signs}d", signed)
    if bytes_alone and (vnni or target.has("dotprod")):
        as_wanted = (a_dtype == b_dtype) is not vnni
        flipped = 128 if b_dtype == "uint8" else -128
        return Dots(4, "vnni" if vnni else "neon", signed, 0 if as_wanted else flipped)
    if vnni:
        return Dots(2, "vnni")
    return Dots(2, "madd") if target.triple.startswith("x86") else None


@dataclass(frozen=True, slots=True)
class Runs(Element):
    """Loaders of packed runs, one vector of i32."""

    together: int = 4
    flip: bool = False

    @property
    def name(self) -> str:
        return f"{self.dtype}_{self.together}{'_flipped' if self.flip else ''}"

    @property
    def step(self) -> int:
        return self.together

    @property
    def as_it_lies(self) -> bool:
        return self.size * self.together == 4 and not self.flip

    def along(
        self, f: Function, address: Value, k_stride: Value, lanes: int, left: Value | None,
        unit: bool,
    ) -> list[Value]:  # fmt: skip
        n = self.together
        if unit:
            raw = self._signs(f, self.load_bits(f, address, n * lanes, left))
            return [f.bitcast(self._wide(f, raw), vector(lanes, "i32"))]
        count = f.min(left, i64(n * lanes)) if left is not None else i64(n * lanes)
        parts = []
        for r in range(n):
            here = f.op("sdiv", f.add(count, i64(n - 1 - r)), i64(n))
            start = f.gep(address, f.mul(k_stride, i64(r)))
            parts.append(self.gather_bits(f, start, f.mul(k_stride, i64(n)), lanes, here))
        return [self._join(f, parts)]

    def across(
        self, f: Function, address: Value, stride: Value, k_stride: Value, lanes: int,
        count: Value | None, left: Value, unit: bool,
    ) -> list[Value]:  # fmt: skip
        every = count if count is not None else i64(lanes)
        parts = []
        for r in range(self.together):
            here = f.select(f.icmp("sgt", left, i64(r)), every, i64(0))
            start = f.gep(address, f.mul(k_stride, i64(r)))
            if unit:
                parts.append(self.load_bits(f, start, lanes, count if r == 0 else here))
            else:
                parts.append(self.gather_bits(f, start, stride, lanes, here))
        return [self._join(f, parts)]

    def _signs(self, f: Function, raw: Value) -> Value:
        return f.op("xor", raw, const(raw.type, -128)) if self.flip else raw

    def _wide(self, f: Function, raw: Value) -> Value:
        """As wide as its part of a run is."""
        if self.size * self.together == 4:
            return raw
        return f.cast("zext" if self._unsigned else "sext", raw, f"i{32 // self.together}")

    def _join(self, f: Function, parts: list[Value]) -> Value:
        """Runs from the numbers of each place in them."""
        wide = [f.cast("zext", self._wide(f, self._signs(f, part)), "i32") for part in parts]
        run = wide[0]
        for r, part in enumerate(wide[1:], 1):
            run = f.op("or", run, f.op("shl", part, const(part.type, r * 32 // self.together)))
        return run


def dot_runs(f: Function, dots: Dots, a: Value, b: Value, c: Value) -> Value:
    """c + the products of each run of a and b."""
    if dots.form == "madd":
        return f.add(c, _call(f, _MADD[c.type], *_words(f, a, b), result=c.type))
    bits = 32 * lanes_of(c.type)
    if dots.form == "neon":
        numbers = [f.bitcast(v, vector(bits // 8, "i8")) for v in (a, b)]
        kind = "sdot" if dots.signed else "udot"
        return _call(f, f"aarch64.neon.{kind}.v4i32.v16i8", c, *numbers, result=c.type)
    if dots.together == 2:
        return _call(f, f"avx512.vpdpwssd.{bits}", c, a, b, result=c.type)
    first, second = (b, a) if dots.signed else (a, b)  # not signed by signed
    return _call(f, f"avx512.vpdpbusd.{bits}", c, first, second, result=c.type)


def _words(f: Function, *runs: Value) -> list[Value]:
    return [f.bitcast(v, vector(2 * lanes_of(v.type), "i16")) for v in runs]


def _call(f: Function, name: str, *args: Value, result: str) -> Value:
    place = "" if name.startswith("aarch64") else "x86."
    f.module.declare(f"llvm.{place}{name}", result, [a.type for a in args])
    return f.call(f"llvm.{place}{name}", result, *args)


def sum_row(f: Function, dots: Dots, row: Value, depth: Value, lanes: int) -> Value:
    """What makes up for flipped bits: ``dots.correct`` times the sum of a packed row."""
    type = vector(lanes, "i32")
    ones = const(type, 0x01010101)
    loop = f.loop(i64(0), depth, i64(lanes), [const(type, 0)])
    numbers = f.load(f.gep(row, f.mul(loop.index, i64(4))), type, 4)
    (total,) = f.end_loop(loop, [dot_runs(f, dots, numbers, ones, loop.values[0])])
    total = f.intrinsic("vector.reduce.add", total, result="i32")
    return f.mul(total, const("i32", dots.correct))
