"""Operations on the bits of integers; on bool they are the logical ones."""

from __future__ import annotations

from typing import Any, ClassVar

from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.primitives.elementwise import Elementwise


class Bitwise(Elementwise):
    """A function of bits, without derivative."""

    cheap = True
    flat = True
    partials: ClassVar[tuple[None, ...]] = (None, None)


@dataclass(frozen=True)
class BitwiseAnd(Bitwise):
    """a & b."""

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.bit_and(a, b)


@dataclass(frozen=True)
class BitwiseOr(Bitwise):
    """a | b."""

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.bit_or(a, b)


@dataclass(frozen=True)
class BitwiseXor(Bitwise):
    """a ^ b."""

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.bit_xor(a, b)


@dataclass(frozen=True)
class BitwiseInvert(Bitwise):
    """~a."""

    partials = (None,)

    def scalar(self, emit: Any, a: Any) -> Any:
        return emit.bit_not(a)


@dataclass(frozen=True)
class LeftShift(Bitwise):
    """a << b; 0 once all bits have left."""

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.shift_left(a, b)


@dataclass(frozen=True)
class RightShift(Bitwise):
    """a >> b, which keeps the sign."""

    def scalar(self, emit: Any, a: Any, b: Any) -> Any:
        return emit.shift_right(a, b)


@dataclass(frozen=True)
class Bitcast(Elementwise):
    """The same bits as another dtype of the same size (not bool, not complex64)."""

    cheap = True
    flat = True
    partials = (None,)
    dtype: Dtype

    def result(self, dtype: Dtype) -> Dtype:
        return self.dtype

    def scalar(self, emit: Any, a: Any) -> Any:
        return emit.bitcast(a, self.dtype)
