"""What a routine declares."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from mlx.backend.llvm.lapack.frame import Frame
from mlx.backend.llvm.lapack.moves import Matrix
from mlx.backend.llvm.values import Value, i64
from mlx.base.dtype import Dtype

BLOCK = 64
"""Columns of a panel that workspaces allow for."""
LETTERS = {"float32": "s", "float64": "d", "complex64": "c"}
Sizes = tuple[list[int], list[int]]


class Routine:
    """``calls``: routines without their first letter; ``failure``: what a positive info means."""

    calls: ClassVar[tuple[str, ...]] = ()
    regions: ClassVar[int] = 1
    numbers: ClassVar[int] = 0
    failure: ClassVar[str] = ""

    @property
    def text(self) -> str:
        """What its code depends on, with its name."""
        return type(self).__name__

    def spelled(self, name: str, dtype: Dtype) -> str:
        """A routine's name for a dtype."""
        return LETTERS[dtype.name] + (_COMPLEX.get(name, name) if dtype.is_complex else name)

    def sizes(self, m: int, n: int, k: int, dtype: Dtype) -> Sizes:
        """Bytes of each region, and the numbers."""
        raise TypeError(f"[{self.text}] declares no sizes.")

    def work(self, m: int, n: int, k: int) -> int:
        """Operations for one matrix, about."""
        raise TypeError(f"[{self.text}] declares no work.")

    def emit(self, c: Frame, operands: list[Matrix]) -> None:
        raise TypeError(f"[{self.text}] declares no code.")


_COMPLEX = {"orgqr": "ungqr", "syevd": "heevd"}


def finish(c: Frame, info: Value, store: Callable[[], object]) -> None:
    """Store the results, or note a failure."""
    c.note(info)
    c.f.where(c.f.icmp("eq", info, i64(0)), store)
