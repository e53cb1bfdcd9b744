"""Parts of complex numbers.  As maps of the real plane these are linear, not holomorphic."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.frozen import dataclass
from mlx.graph.node import Node
from mlx.primitives.base import full_like
from mlx.primitives.elementwise import Elementwise


@dataclass(frozen=True)
class Real(Elementwise):
    """The real part of complex64."""

    cheap = True

    def result(self, dtype: Dtype) -> Dtype:
        return dt.float32

    def scalar(self, emit: Any, z: Any) -> Any:
        return emit.real(z)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (cotangent,) = cotangents
        return [Complex()(cotangent, full_like(cotangent, 0))]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]


@dataclass(frozen=True)
class Imag(Elementwise):
    """The imaginary part of complex64."""

    cheap = True

    def result(self, dtype: Dtype) -> Dtype:
        return dt.float32

    def scalar(self, emit: Any, z: Any) -> Any:
        return emit.imag(z)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (cotangent,) = cotangents
        return [Complex()(full_like(cotangent, 0), cotangent)]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        return [self(tangents[0])]


@dataclass(frozen=True)
class Complex(Elementwise):
    """complex64 of a real and an imaginary part in float32."""

    cheap = True

    def result(self, dtype: Dtype) -> Dtype:
        return dt.complex64

    def scalar(self, emit: Any, re: Any, im: Any) -> Any:
        return emit.complex(re, im)

    def vjp(self, node: Node, cotangents: Any, wanted: Any) -> Sequence[Node | None]:
        (cotangent,) = cotangents
        return [Real()(cotangent) if wanted[0] else None, Imag()(cotangent) if wanted[1] else None]

    def jvp(self, node: Node, tangents: Any) -> Sequence[Node | None]:
        re, im = (
            full_like(x, 0) if t is None else t for t, x in zip(tangents, node.inputs, strict=True)
        )
        return [self(re, im)]
