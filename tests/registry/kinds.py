"""What a sample is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.node import Node
from mlx.primitives.base import Primitive, picks
from tests.reference.evaluate import leaf


@dataclass(frozen=True, eq=False)
class Sample:
    """A primitive with operands.

    ``smooth``: whether the value is differentiable at the operands.  ``record`` replaces the
    plain application, for primitives that aren't applied (sources) or need more.
    """

    primitive: Primitive
    operands: tuple[np.ndarray, ...]
    smooth: bool = True
    record: Any = None

    def inputs(self) -> list[Node]:
        return [leaf(x) for x in self.operands]

    def outputs(self, inputs: list[Node]) -> list[Node]:
        if self.record is not None:
            return self.record(*inputs)
        return picks(self.primitive(*inputs))

    def __repr__(self) -> str:
        operands = ", ".join(f"{x.dtype}{x.shape}" for x in self.operands)
        return f"{self.primitive}({operands})"


def draw(rng: Any, shape: tuple[int, ...], dtype: Dtype, low: float, high: float) -> np.ndarray:
    """Random numbers of a range; several integers in it for integer dtypes."""
    if dtype is dt.bool_:
        return np.asarray(rng.integers(0, 2, shape)).astype(np.bool_)
    if dtype.is_integer:
        least = max(int(low), 0) if not dtype.is_signed else int(low)
        return np.asarray(rng.integers(least, int(high) + 1, shape)).astype(dtype.numpy)
    x = rng.uniform(low, high, shape)
    if dtype.is_complex:
        x = x + 1j * rng.uniform(-1, 1, shape)
    return np.asarray(x).astype(dtype.numpy)
