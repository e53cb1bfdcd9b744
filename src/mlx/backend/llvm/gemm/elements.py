"""Elements of an operand: how runs of them are loaded and widened to the accumulator type.

A complex number is two *planes* (real, imaginary); every other dtype is one.  All loaders
return one vector of the accumulator type per plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlx.backend.llvm.half import widen_half
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import (
    Value,
    bits_of,
    const,
    i64,
    is_float,
    lane_consts,
    lanes_of,
    vector,
)

SIZES = {
    "bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4,
    "int64": 8, "uint64": 8, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8,
    "complex64": 8,
}  # fmt: skip
_FLOATS = {"float16": "half", "bfloat16": "bfloat", "float32": "float", "float64": "double"}


def llvm_type(dtype: str) -> str:
    """The LLVM type of one element in memory (of one plane, for complex)."""
    if dtype == "complex64":
        return "float"
    return _FLOATS.get(dtype) or f"i{SIZES[dtype] * 8}"


def accumulator_of(dtype: str) -> str:
    """The dtype in which products of this dtype are summed."""
    if dtype in ("float64", "complex64"):
        return dtype
    if dtype in _FLOATS:
        return "float32"
    return "int64" if SIZES[dtype] == 8 else "int32"


@dataclass(frozen=True, slots=True)
class Element:
    """Memory dtype and accumulator dtype of an operand."""

    dtype: str
    accumulate: str

    @property
    def name(self) -> str:
        """Names all that loading depends on."""
        return f"{self.dtype}_{self.accumulate}"

    @property
    def size(self) -> int:
        return SIZES[self.dtype]

    @property
    def planes(self) -> int:
        return 2 if self.accumulate == "complex64" else 1

    @property
    def acc(self) -> str:
        """LLVM type of one accumulator (of one plane)."""
        return llvm_type(self.accumulate)

    def widen(self, f: Function, value: Value) -> Value:
        """Elements as they lie in memory -> accumulator type."""
        source = llvm_type(self.dtype)
        if source == self.acc:
            return value
        if source == "bfloat":
            wide = f.cast("zext", value, "i32")
            bits = f.op("shl", wide, const(wide.type, 16))
            return f.cast("bitcast", bits, "float")
        if source == "half" and self.acc == "float":
            return widen_half(f, value)
        if is_float(source):
            return f.cast("fpext", value, self.acc)
        if is_float(self.acc):
            return f.cast("uitofp" if self._unsigned else "sitofp", value, self.acc)
        if bits_of(source) > bits_of(self.acc):
            return f.cast("trunc", value, self.acc)
        return f.cast("zext" if self._unsigned else "sext", value, self.acc)

    @property
    def _unsigned(self) -> bool:
        return self.dtype[0] in "ub"

    @property
    def memory(self) -> str:
        """LLVM type that loads use: bfloat travels as bits."""
        kind = llvm_type(self.dtype)
        return "i16" if kind == "bfloat" else kind

    @property
    def step(self) -> int:
        """Elements along k that make one element of a packed panel."""
        return 1

    @property
    def as_it_lies(self) -> bool:
        """Whether packing would copy a run along k and no more."""
        return self.dtype == self.accumulate != "complex64"

    def along(
        self, f: Function, address: Value, k_stride: Value, lanes: int, left: Value | None,
        unit: bool,
    ) -> list[Value]:  # fmt: skip
        """``lanes`` packed elements along k, or what the ``left`` elements there give."""
        if unit:
            return self.load_run(f, address, lanes, left)
        return self.load_strided(f, address, k_stride, lanes, left or i64(lanes))

    def across(
        self, f: Function, address: Value, stride: Value, k_stride: Value, lanes: int,
        count: Value | None, left: Value, unit: bool,
    ) -> list[Value]:  # fmt: skip
        """One packed element of ``lanes`` rows or columns, or of the first ``count``.

        ``left`` is how many elements there are along k, from here on.
        """
        if unit:
            return self.load_run(f, address, lanes, count)
        return self.load_strided(f, address, stride, lanes, count or i64(lanes))

    def load_bits(self, f: Function, address: Value, lanes: int, count: Value | None) -> Value:
        """A run of neighbours as they lie in memory; zeros behind the first ``count``."""
        type = vector(lanes, self.memory)
        align = bits_of(self.memory) // 8
        if count is None:
            return f.load(address, type, align)
        return f.masked_load(address, type, first_lanes(f, count, lanes), align, const(type, 0))

    def load_run(
        self, f: Function, address: Value, lanes: int, count: Value | None = None
    ) -> list[Value]:
        """``lanes`` neighbouring elements, or only the first ``count`` of them."""
        if self.dtype == "complex64":
            return self._load_complex_run(f, address, lanes, count)
        return self._real(f, self.load_bits(f, address, lanes, count))

    @property
    def splits(self) -> bool:
        """Whether neighbours widen fastest as evens and odds: the halves of 32 bits."""
        return (self.dtype, self.accumulate) == ("bfloat16", "float32")

    def load_split(
        self, f: Function, address: Value, lanes: int, count: Value | None
    ) -> list[list[Value]]:
        """The even and the odd ones of 2 * ``lanes`` neighbours; zeros behind ``count``."""
        both = f.bitcast(self.load_bits(f, address, 2 * lanes, count), vector(lanes, "i32"))
        evens = f.op("shl", both, const(both.type, 16))
        odds = f.op("and", both, const(both.type, -65536))
        return [[f.cast("bitcast", bits, "float")] for bits in (evens, odds)]

    def _real(self, f: Function, value: Value) -> list[Value]:
        wide = self.widen(f, value)
        return [wide, const(wide.type, 0)] if self.planes == 2 else [wide]

    def _load_complex_run(
        self, f: Function, address: Value, lanes: int, count: Value | None
    ) -> list[Value]:
        type = vector(2 * lanes, "float")
        if count is None:
            both = f.load(address, type, 4)
        else:
            mask = first_lanes(f, f.op("shl", count, i64(1)), 2 * lanes)
            both = f.masked_load(address, type, mask, 4, const(type, 0))
        return [f.shuffle(both, None, range(start, 2 * lanes, 2)) for start in (0, 1)]

    def gather_bits(
        self, f: Function, address: Value, stride: Value, lanes: int, count: Value
    ) -> Value:
        """Elements ``stride`` bytes apart, as they lie in memory; zeros behind ``count``."""
        index = lane_consts(vector(lanes, "i64"), range(lanes))
        offsets = f.mul(index, f.splat(stride, lanes))
        where = vector(lanes, "ptr")
        addresses = f.emit(
            f"getelementptr i8, ptr {address.ref}, {offsets.type} {offsets.ref}", where
        )
        mask = first_lanes(f, count, lanes)
        return f.gather(addresses, vector(lanes, self.memory), mask, bits_of(self.memory) // 8)

    def load_strided(
        self, f: Function, address: Value, stride: Value, lanes: int, count: Value
    ) -> list[Value]:
        """The first ``count`` of ``lanes`` elements that lie ``stride`` bytes apart."""
        first = self.gather_bits(f, address, stride, lanes, count)
        if self.dtype != "complex64":
            return self._real(f, first)
        return [first, self.gather_bits(f, f.gep(address, i64(4)), stride, lanes, count)]


def first_lanes(f: Function, count: Value, lanes: int) -> Value:
    """A mask of the first ``count`` lanes; any count from below 0 to above ``lanes``."""
    index = lane_consts(vector(lanes, "i64"), range(lanes))
    return f.icmp("slt", index, f.splat(count, lanes))


def whole_then_edge(
    f: Function, whole: Value, count: Value, width: Value,
    step: Callable[[Value, Value | None], None],
) -> None:  # fmt: skip
    """``step(start, None)`` for each run of ``width`` below ``whole``, then ``step(whole, rest)``
    for the rest of ``count``, if there is any."""
    run = f.loop(i64(0), whole, width)
    step(run.index, None)
    f.end_loop(run)
    rest = f.sub(count, whole)
    f.where(f.icmp("sgt", rest, i64(0)), lambda: step(whole, rest))


def multiply_add(f: Function, a: Value, b: Value, c: Value, fused: bool) -> Value:
    """a * b + c: one rounding for floats where the target has FMA, wraparound for integers."""
    if fused and a.type.rstrip(">").endswith(("float", "double")):
        return f.fma(a, b, c)
    return f.add(f.mul(a, b), c)


def transpose(f: Function, rows: list[Value]) -> list[Value]:
    """n vectors of n lanes -> their n columns, by log2(n) exchanges of ever larger blocks."""
    n = len(rows)
    assert lanes_of(rows[0].type) == n
    rows = list(rows)
    distance = 1
    while distance < n:
        low = [i if not i & distance else n + i - distance for i in range(n)]
        high = [i + distance if not i & distance else n + i for i in range(n)]
        for i in range(n):
            if not i & distance:
                a, b = rows[i], rows[i + distance]
                rows[i], rows[i + distance] = f.shuffle(a, b, low), f.shuffle(a, b, high)
        distance *= 2
    return rows


def folded(f: Function, sums: list[Value], distance: int) -> Value:
    """Add lanes ``distance`` apart, then twice as far and so on, until one vector is left: those
    of a vector are where the bits of its number, times ``distance``, are set in the lane's."""
    lanes = lanes_of(sums[0].type)
    while len(sums) > 1:
        low = [i if not i & distance else lanes + i - distance for i in range(lanes)]
        high = [i + distance if not i & distance else lanes + i for i in range(lanes)]
        pairs = zip(sums[::2], sums[1::2], strict=True)
        sums = [f.add(f.shuffle(a, b, low), f.shuffle(a, b, high)) for a, b in pairs]
        distance *= 2
    return sums[0]


def prefetch(f: Function, address: Value, write: bool = False, locality: int = 3) -> None:
    """Ask for a cache line that will be read or written soon; any address will do.

    ``locality`` 3 brings it to the first level of caches, 2 to the second.
    """
    f.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32 immarg", "i32 immarg", "i32 immarg"])
    f.do(f"call void @llvm.prefetch.p0(ptr {address.ref}, i32 {int(write)}, i32 {locality}, i32 1)")


def bytes_ahead(f: Function, place: Value, length: Value, most: int, jump: Value) -> Value:
    """How far ahead of ``place`` in a line to ask: ``most`` bytes; what would lie behind the
    line's end, as far from the start of the line ``jump`` bytes on, which is read next."""
    distance = f.min(i64(most), length)
    over = f.icmp("sge", f.add(place, distance), length)
    return f.select(over, f.add(f.sub(distance, length), jump), distance)
