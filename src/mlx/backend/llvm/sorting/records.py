"""What is sorted: records of unsigned keys whose order is that of the elements.

A key is made of an element's bits: the sign bit is flipped, of negative floats all bits, -0
becomes 0, and NaN is the largest key (Herf, "Radix tricks", 2001).  complex64 orders by the
real part, then the imaginary one; with a NaN in either it is the largest.  An arg-sort carries
the index behind the key, so that equal elements keep their order.
"""

from __future__ import annotations

from collections.abc import Sequence

from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, bits_of, const, element_of, i64
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass

_INFINITY = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F800000, "float64": 0x7FF << 52}


@dataclass(frozen=True)
class Record:
    """How elements of a dtype are sorted.

    ``output``: ``value`` turns keys back into elements; ``index`` gives uint32 indices;
    ``gather`` fetches elements by their indices, where keys don't determine them.
    """

    dtype: Dtype
    output: str

    @property
    def text(self) -> str:
        return f"{self.dtype.name} {self.output}"

    @property
    def key_bits(self) -> int:
        return 8 * self.dtype.size

    @property
    def word(self) -> str:
        """The element's bits."""
        return f"i{self.key_bits}"

    @property
    def indexed(self) -> bool:
        return self.output != "value"

    @property
    def wide(self) -> bool:
        """Whether key and index take a word of 64 bits each."""
        return self.indexed and self.key_bits > 32

    @property
    def type(self) -> str:
        """The type of a stored record."""
        if self.wide:
            return "<2 x i64>"
        return "i64" if self.indexed else self.word

    @property
    def size(self) -> int:
        """Bytes of a record."""
        if self.wide:
            return 16
        return 8 if self.indexed else self.dtype.size

    @property
    def result_size(self) -> int:
        """Bytes of a result's element."""
        return 4 if self.output == "index" else self.dtype.size

    # -- emission ----------------------------------------------------------------------

    def key(self, f: Function, bits: Value) -> Value:
        """The key of an element's bits (a scalar or a vector)."""
        if self.dtype.is_complex:
            return self._complex_key(f, bits)
        if self.dtype.is_float:
            return _float_key(f, bits, _INFINITY[self.dtype.name])
        if self.dtype.is_signed:
            return f.op("xor", bits, const(bits.type, -(1 << (self.key_bits - 1))))
        return bits

    def _complex_key(self, f: Function, bits: Value) -> Value:
        infinity = _INFINITY["float32"]
        parts = []
        for shift in (0, 32):
            part = f.op("lshr", bits, const(bits.type, shift))
            key = _float_key(f, f.cast("trunc", part, "i32"), infinity)
            parts.append(f.cast("zext", key, "i64"))
        real, imaginary = parts
        last = const(bits.type, 0xFFFFFFFF)
        nan = f.op("or", f.icmp("eq", real, last), f.icmp("eq", imaginary, last))
        both = f.op("or", f.op("shl", real, const(bits.type, 32)), imaginary)
        return f.select(nan, const(bits.type, -1), both)

    def element(self, f: Function, key: Value) -> Value:
        """The bits of the element that a key stands for."""
        top = const(key.type, -(1 << (self.key_bits - 1)))
        if self.dtype.is_float:
            positive = f.icmp("slt", key, const(key.type, 0))
            return f.op("xor", key, f.select(positive, top, const(key.type, -1)))
        return f.op("xor", key, top) if self.dtype.is_signed else key

    def make(self, f: Function, bits: Value, index: Value) -> Value:
        """The record of an element (scalars)."""
        key = self.key(f, bits)
        if self.wide:
            pair = f.insert(const("<2 x i64>", 0), key, 0)
            return f.insert(pair, index, 1)
        if not self.indexed:
            return key
        return self.packed(f, key, index)

    def packed(self, f: Function, key: Value, index: Value) -> Value:
        """A key of at most 32 bits above an index."""
        wide = f.cast("zext", key, "i64")
        return f.op("or", f.op("shl", wide, const(wide.type, 32)), index)

    def digit(self, f: Function, record: Value, shift: Value, bits: int) -> Value:
        """Digit of the key, ``shift`` bits up (an i64), as an index."""
        if self.wide:
            word = f.extract(record, 0)
        elif self.indexed:
            word = f.op("lshr", record, i64(32))
        else:
            word = record if record.type == "i64" else f.cast("zext", record, "i64")
        return f.op("and", f.op("lshr", word, shift), i64((1 << bits) - 1))

    def index(self, f: Function, record: Value) -> Value:
        """The index, as i64."""
        if self.wide:
            return f.extract(record, 1)
        return f.op("and", record, const(record.type, 0xFFFFFFFF))

    def store(self, f: Function, record: Value, source: Value, step: Value, target: Value) -> None:
        """Write the result of a record; ``source`` is the row that it comes from."""
        if self.output == "value":
            f.store(self.element(f, record), target, self.dtype.size)
            return
        index = self.index(f, record)
        if self.output == "index":
            f.store(f.emit(f"trunc i64 {index.ref} to i32", "i32"), target, 4)
            return
        align = 4 if self.dtype.is_complex else self.dtype.size
        f.store(f.load(f.gep(source, f.mul(index, step)), self.word, align), target, align)

    @property
    def loses_sign(self) -> bool:
        """Whether the keys forget which zeros were negative."""
        return self.output == "value" and self.dtype.is_float

    def is_negative_zero(self, f: Function, bits: Value) -> Value:
        return f.icmp("eq", bits, const(bits.type, -(1 << (self.key_bits - 1))))

    def restore_zeros(
        self,
        f: Function,
        n: Value,
        source: Value,
        step: Value,
        target: Value,
        target_step: Value,
        part: tuple[Value, Value],
    ) -> None:
        """Give the zeros of a sorted row's part their signs in the order of the source."""
        sign = const(self.word, -(1 << (self.key_bits - 1)))
        infinity = const(self.word, _INFINITY[self.dtype.name])

        def load(i: Value) -> tuple[Value, Value]:
            bits = f.load(f.gep(source, f.mul(i, step)), self.word, self.dtype.size)
            return bits, f.op("xor", bits, sign)

        loop = f.loop(i64(0), n, i64(1), [i64(0)])
        _, flipped = load(loop.index)
        one = f.sub(flipped, const(self.word, 1))
        below = f.icmp("ult", one, infinity)
        (less,) = f.end_loop(loop, [f.add(loop.values[0], f.cast("zext", below, "i64"))])
        loop = f.loop(i64(0), n, i64(1), [less])
        bits, flipped = load(loop.index)
        either = f.op(
            "or",
            f.icmp("eq", bits, const(self.word, 0)),
            f.icmp("eq", flipped, const(self.word, 0)),
        )
        place, (first, last) = loop.values[0], part
        inside = f.op("and", f.icmp("sge", place, first), f.icmp("slt", place, last))
        there = f.gep(target, f.mul(f.sub(place, first), target_step))
        f.where(f.op("and", either, inside), lambda: f.store(bits, there, self.dtype.size))
        f.end_loop(loop, [f.add(loop.values[0], f.cast("zext", either, "i64"))])


def _float_key(f: Function, bits: Value, infinity: int) -> Value:
    type = bits.type
    width = bits_of(element_of(type))
    top = -(1 << (width - 1))
    magnitude = f.op("and", bits, const(type, ~top))
    zero = f.icmp("eq", magnitude, const(type, 0))
    bits = f.select(zero, magnitude, bits)
    flip = f.op("or", f.op("ashr", bits, const(type, width - 1)), const(type, top))
    nan = f.icmp("ugt", magnitude, const(type, infinity))
    return f.select(nan, const(type, -1), f.op("xor", bits, flip))


def restore_where(
    f: Function,
    seen: Value,
    record: Record,
    n: Value,
    steps: Sequence[Value],
    source: Value,
    target: Value,
    part: tuple[Value, Value] | None = None,
) -> None:
    """Restore the signs of a row's zeros under a condition; of a part's, which the target has."""
    part = part or (i64(0), n)
    f.where(seen, lambda: record.restore_zeros(f, n, source, steps[0], target, steps[1], part))
