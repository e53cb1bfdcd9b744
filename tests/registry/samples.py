"""Samples of every primitive: the data that the generated tests run over.

``samples(cls)`` gives the samples of a primitive class.  Elementwise ones follow from a row of
``ELEMENTWISE``: the range of each operand and the kinds of dtype (b bool, i integers, f floats,
c complex); all others are written out in ``structured.py``.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.primitives import base
from tests.registry import (
    attending,
    choosing,
    convolving,
    factoring,
    quantized,
    resampling,
    scanning,
    selecting,
    structured,
)
from tests.registry.kinds import Sample, draw

R = (-2.0, 2.0)
POSITIVE = (0.2, 3.0)
UNIT = (-0.9, 0.9)
ABOVE_ONE = (1.2, 3.0)
WIDE = (-20.0, 20.0)

ELEMENTWISE: dict[str, tuple[tuple[tuple[float, float], ...], str]] = {
    "Add": ((R, R), "bifc"),
    "Subtract": ((R, R), "ifc"),
    "Multiply": ((R, R), "bifc"),
    "Divide": ((R, POSITIVE), "fc"),
    "Negative": ((R,), "ifc"),
    "Conjugate": ((R,), "c"),
    "Equal": ((R, R), "bifc"),
    "NotEqual": ((R, R), "bifc"),
    "Less": ((R, R), "bif"),
    "LessEqual": ((R, R), "bif"),
    "Greater": ((R, R), "bif"),
    "GreaterEqual": ((R, R), "bif"),
    "Absolute": ((R,), "ifc"),
    "Sign": ((R,), "ifc"),
    "Floor": ((WIDE,), "f"),
    "Ceil": ((WIDE,), "f"),
    "Trunc": ((WIDE,), "f"),
    "Round": ((WIDE,), "fc"),
    "FloorDivide": ((WIDE, ABOVE_ONE), "if"),
    "Remainder": ((WIDE, ABOVE_ONE), "if"),
    "Maximum": ((R, R), "bif"),
    "Minimum": ((R, R), "bif"),
    "Power": ((POSITIVE, R), "ifc"),
    "BitwiseAnd": ((WIDE, WIDE), "bi"),
    "BitwiseOr": ((WIDE, WIDE), "bi"),
    "BitwiseXor": ((WIDE, WIDE), "bi"),
    "BitwiseInvert": ((WIDE,), "bi"),
    "LeftShift": ((WIDE, (0, 9)), "i"),
    "RightShift": ((WIDE, (0, 9)), "i"),
    "Real": ((R,), "c"),
    "Imag": ((R,), "c"),
    "Complex": ((R, R), "s"),
    "Exp": ((R,), "fc"),
    "Expm1": ((R,), "f"),
    "Log": ((POSITIVE,), "fc"),
    "Log2": ((POSITIVE,), "fc"),
    "Log10": ((POSITIVE,), "fc"),
    "Log1p": ((POSITIVE,), "f"),
    "Sin": ((R,), "fc"),
    "Cos": ((R,), "fc"),
    "Tan": (((-1.0, 1.0),), "fc"),
    "ArcSin": ((UNIT,), "f"),
    "ArcCos": ((UNIT,), "f"),
    "ArcTan": ((R,), "f"),
    "ArcTan2": ((R, POSITIVE), "f"),
    "Sinh": ((R,), "fc"),
    "Cosh": ((R,), "fc"),
    "Tanh": ((R,), "fc"),
    "ArcSinh": ((R,), "f"),
    "ArcCosh": ((ABOVE_ONE,), "f"),
    "ArcTanh": ((UNIT,), "f"),
    "Erf": ((R,), "f"),
    "ErfInv": ((UNIT,), "f"),
    "Sigmoid": ((R,), "fc"),
    "Sqrt": ((POSITIVE,), "fc"),
    "Rsqrt": ((POSITIVE,), "fc"),
    "LogAddExp": ((R, R), "f"),
}

_ = (
    attending,
    choosing,
    convolving,
    factoring,
    quantized,
    resampling,
    scanning,
    selecting,
)  # they register their samples

KINDS: dict[str, tuple[Dtype, ...]] = {
    "b": (dt.bool_,),
    "i": (dt.uint8, dt.uint16, dt.uint32, dt.uint64, dt.int8, dt.int16, dt.int32, dt.int64),
    "f": (dt.float32, dt.float64, dt.float16, dt.bfloat16),
    "c": (dt.complex64,),
    "s": (dt.float32,),
}
EXACT = frozenset(
    {
        "Add", "Subtract", "Multiply", "Divide", "Negative", "Conjugate", "Select", "Cast",
        "Sign", "Floor", "Ceil", "Trunc", "Round", "Maximum", "Minimum", "Real", "Imag",
        "Complex", "Sqrt", "Bitcast", "Full", "Iota", "Reshape", "Transpose", "Broadcast",
        "Slice", "AsStrided", "Embed", "Concatenate", "Max", "Min", "CumMax", "CumMin", "Identity",
        "StopGradient", "Barrier", "Custom", "Pick", "Gather", "Sort", "SortPart", "CompiledCall",
        "SliceUpdate", "SliceAdd",
    }
)  # fmt: skip
"""Computed exactly, or rounded once: equal bits are required."""


def samples(cls: type[base.Primitive]) -> list[Sample]:
    """The samples of a primitive class; none for a hole."""
    written: Callable[[], list[Sample]] | None = structured.SAMPLES.get(cls.__name__)
    if written is not None:
        return written()
    if cls.__name__ in ELEMENTWISE:
        return _elementwise(cls, *ELEMENTWISE[cls.__name__])
    return []


def _elementwise(cls: Any, ranges: tuple, kinds: str) -> list[Sample]:
    rng = np.random.default_rng(zlib.crc32(cls.__name__.encode()))
    out = []
    for dtype in (d for kind in kinds for d in KINDS[kind]):
        for shape in ((2, 19), (), (0, 3)) if dtype in (dt.float32, dt.complex64) else ((37,),):
            operands = tuple(draw(rng, shape, dtype, *r) for r in ranges)
            out.append(Sample(cls(), operands))
    return out


_TOLERANCES = {
    dt.float16: 2e-3,
    dt.bfloat16: 1.6e-2,
    dt.float32: 3e-6,
    dt.float64: 1e-13,
    dt.complex64: 5e-6,
}


def tolerance(name: str, dtype: Dtype) -> float:
    """Allowed error relative to the magnitude; 0 asks for equal bits."""
    exact = name in EXACT and not (
        name in ("Multiply", "Divide", "Sign", "Sqrt") and dtype.is_complex
    )
    return 0.0 if exact or not dtype.is_inexact else _TOLERANCES[dtype]
