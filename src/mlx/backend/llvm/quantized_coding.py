"""How a matrix is quantized: where its codes lie, and what codes and scales stand for.

Mode ``affine`` has whole numbers with a scale and a bias; the others have small floats: E2M1
(``mxfp4``, ``nvfp4``) or E4M3 (``mxfp8``), with a power of two as a scale or, ``nvfp4``, E4M3.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from math import gcd

from mlx.backend.llvm.gemm.elements import Element
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.values import Value, const, with_element

AFFINE = "affine"
_MODES = {"mxfp4": ((2, 1), "power"), "nvfp4": ((2, 1), "float"), "mxfp8": ((4, 3), "power")}
"""Bits of exponent and fraction, and what a scale is."""


@dataclass(frozen=True)
class Coding:
    """Bits of a code, codes of a group, dtype of scales and biases, mode.

    ``outputs``: a row of words is a column of B.  ``unit``: words have unit stride along it.
    """

    bits: int
    group: int
    scales: str
    outputs: bool
    unit: bool
    mode: str = AFFINE

    @property
    def key(self) -> str:
        form = "n" if self.outputs else "k"
        return f"{self.mode}_{self.bits}_{self.group}_{self.scales}_{form}_{int(self.unit)}"

    @property
    def words(self) -> int:
        """Words of a unit: the fewest whole words that hold whole codes."""
        return self.bits // gcd(self.bits, 32)

    @property
    def codes(self) -> int:
        """Codes of a unit."""
        return 32 * self.words // self.bits

    @property
    def biased(self) -> bool:
        return self.mode == AFFINE

    @property
    def scale(self) -> Element:
        """How scales, and biases, are loaded."""
        if self.biased:
            return Element(self.scales, "float32")
        kind = _Power if _MODES[self.mode][1] == "power" else _Float
        return kind(self.scales, "float32")

    def code(self, f: Function, words: list[Value], j: int, clean: bool = True) -> Value:
        """Code j of a unit; unless ``clean`` there may be other bits above it."""
        word, shift = divmod(j * self.bits, 32)
        value = words[word]
        if shift:
            value = f.op("lshr", value, const(value.type, shift))
        if shift + self.bits > 32:
            rest = f.op("shl", words[word + 1], const(value.type, 32 - shift))
            value = f.op("or", value, rest)
        if shift + self.bits == 32 or not clean:
            return value
        return f.op("and", value, const(value.type, 2**self.bits - 1))

    def number(self, f: Function, code: Value) -> Value:
        """What codes stand for, before their scale."""
        if self.biased:
            return f.cast("sitofp", code, "float")
        return _small_float(f, code, *_MODES[self.mode][0])

    @property
    def bytes_of_table(self) -> tuple[bytes, bytes]:
        """High and low bytes of the bfloat16 numbers that E4M3 codes without sign stand for."""
        exponent, fraction = _MODES[self.mode][0]
        smallest = 2.0 ** (2 - 2 ** (exponent - 1) - fraction)
        numbers = [smallest * code for code in range(2**fraction)]
        for e in range(2**exponent - 1):
            numbers += [smallest * 2**e * (2**fraction + n) for n in range(2**fraction)]
        words = [struct.pack(">f", number) for number in [*numbers[:-1], math.nan]]
        return bytes(word[0] for word in words), bytes(word[1] for word in words)

    @property
    def table(self) -> list[float]:
        """What codes of at most 4 bits stand for, repeated to 16 entries."""
        if self.biased:
            return [float(code % 2**self.bits) for code in range(16)]
        sizes = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
        return [*sizes, *[-size for size in sizes]]


def _small_float(f: Function, code: Value, exponent: int, fraction: int) -> Value:
    """Floats of few bits, the sign above them, as float32.

    Those with exponent zero are multiples of the smallest number; the last code of E4M3 is NaN.
    """
    bits, bias = exponent + fraction, 2 ** (exponent - 1) - 1
    size = f.op("and", code, const(code.type, 2**bits - 1))
    shifted = f.op("shl", size, const(code.type, 23 - fraction))
    normal = f.add(shifted, const(code.type, (127 - bias) << 23))
    whole = f.cast("sitofp", size, "float")
    below = f.mul(whole, const(whole.type, 2.0 ** (1 - bias - fraction)))
    below = f.cast("bitcast", below, "i32")
    value = f.select(f.icmp("slt", size, const(code.type, 2**fraction)), below, normal)
    if exponent == 4:
        last = f.icmp("eq", size, const(code.type, 2**bits - 1))
        value = f.select(last, const(code.type, 0x7FC00000), value)
    sign = f.op("shl", f.op("lshr", code, const(code.type, bits)), const(code.type, 31))
    return f.cast("bitcast", f.op("or", value, sign), "float")


class _Power(Element):
    """Scales that are powers of two: their exponent plus 127."""

    __slots__ = ()

    def widen(self, f: Function, value: Value) -> Value:
        wide = f.cast("zext", value, "i32")
        bits = f.op("shl", wide, const(wide.type, 23))
        lowest = f.icmp("eq", wide, const(wide.type, 0))
        bits = f.select(lowest, const(wide.type, 1 << 22), bits)
        return f.bitcast(bits, with_element(bits.type, "float"))


class _Float(Element):
    """Scales in E4M3."""

    __slots__ = ()

    def widen(self, f: Function, value: Value) -> Value:
        return _small_float(f, f.cast("zext", value, "i32"), 4, 3)
