"""Operands of LLVM IR: values, constants, and the text of types."""

from __future__ import annotations

import struct
from collections.abc import Sequence


class Value:
    """An SSA operand: ``ref`` is a register or a literal, ``type`` its LLVM type."""

    __slots__ = ("ref", "type")

    def __init__(self, ref: str, type: str) -> None:
        self.ref = ref
        self.type = type

    def __repr__(self) -> str:
        return f"{self.type} {self.ref}"


def vector(lanes: int, element: str) -> str:
    return f"<{lanes} x {element}>"


def lanes_of(type: str) -> int:
    """Number of lanes of a vector type; 0 for a scalar."""
    return int(type[1 : type.index(" ")]) if type[0] == "<" else 0


def element_of(type: str) -> str:
    return type[type.index("x ") + 2 : -1] if type[0] == "<" else type


def with_element(type: str, element: str) -> str:
    """The type with as many lanes as ``type`` and another element."""
    lanes = lanes_of(type)
    return f"<{lanes} x {element}>" if lanes else element


_FLOAT_SIZES = {"half": 2, "bfloat": 2, "float": 4, "double": 8}
INT_OF = {"half": "i16", "bfloat": "i16", "float": "i32", "double": "i64"}


def is_float(element: str) -> bool:
    return element in _FLOAT_SIZES


def bits_of(element: str) -> int:
    return _FLOAT_SIZES[element] * 8 if element in _FLOAT_SIZES else int(element[1:])


def literal(element: str, number: float) -> str:
    """The text of a scalar constant; floats are written as bits, hence exact."""
    if element == "double" or element == "float":
        if element == "float":
            number = _round_float(number)
        return f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    if element == "half":
        return f"0xH{struct.unpack('<H', struct.pack('<e', number))[0]:04X}"
    if element == "i1":
        return "true" if number else "false"
    return str(int(number))


def _round_float(number: float) -> float:
    if number != number or number in (float("inf"), float("-inf")):
        return number
    try:
        return struct.unpack("<f", struct.pack("<f", number))[0]
    except OverflowError:
        return float("inf") if number > 0 else float("-inf")


def const(type: str, number: float) -> Value:
    """A constant of a scalar type, or the same number in every lane of a vector type."""
    if type[0] != "<":
        return Value(literal(type, number), type)
    element = element_of(type)
    text = literal(element, number)
    if number == 0 and text in ("0", "false", "0x0000000000000000", "0xH0000"):
        return Value("zeroinitializer", type)
    return Value(f"splat ({element} {text})", type)


def lane_consts(type: str, numbers: Sequence[float]) -> Value:
    """A constant vector, one number a lane."""
    element = element_of(type)
    return Value("<" + ", ".join(f"{element} {literal(element, n)}" for n in numbers) + ">", type)


def float_bits(number: float) -> int:
    """A float64 as the integer with its bits."""
    return int(struct.unpack("<q", struct.pack("<d", number))[0])


def i64(number: int) -> Value:
    return Value(str(number), "i64")


def mangle(type: str) -> str:
    """The suffix LLVM gives to an intrinsic overloaded on this type."""
    lanes, element = lanes_of(type), element_of(type)
    short = {"half": "f16", "bfloat": "bf16", "float": "f32", "double": "f64", "ptr": "p0"}
    name = short.get(element, element)
    return f"v{lanes}{name}" if lanes else name
