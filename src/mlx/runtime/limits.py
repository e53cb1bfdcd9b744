"""The limits of this machine, measured when somebody first asks: bandwidth and arithmetic."""

from __future__ import annotations

import time
from functools import cache
from typing import Any

from mlx.base.frozen import dataclass
from mlx.base.lazy import LazyModule
from mlx.base.lazy import numpy as np
from mlx.runtime import team

kernels = LazyModule("mlx.backend.llvm.limits")
programs = LazyModule("mlx.backend.llvm.programs")
target = LazyModule("mlx.backend.llvm.target")

_COPIED = 1 << 27  # bytes: out of the caches of most machines
_PART = 1 << 20
_LENGTH = 20_000
_REPEATS = 7


@dataclass(frozen=True)
class Limits:
    """Bytes a second (of a copy: read and written) and float32 operations a second."""

    copy: float
    flops: float

    def __str__(self) -> str:
        return f"{self.copy / 1e9:.1f} GB/s, {self.flops / 1e9:.0f} GFLOP/s"

    def share(self, seconds: float, bytes: int, flops: int) -> float:
        """The part of ``seconds`` that the machine needs at the least; above 1 where operands
        come from caches, or products have instructions faster than float32's."""
        least = max(bytes / self.copy, flops / self.flops)
        return least / seconds if seconds else 0.0


def limits() -> Limits:
    """Those of as many threads as programs use now."""
    return _limits(team.num_threads())


@cache
def _limits(threads: int) -> Limits:
    source, into = (_aligned(_COPIED) for _ in range(2))
    bases = [0, source.ctypes.data, into.ctypes.data]
    copy = _best(kernels.CopySpec(), [1, 0, 2, 0, _PART], _COPIED // _PART, bases)
    tasks = 4 * threads
    results = np.zeros(tasks * 16, np.float32)
    sums = _best(kernels.MultiplyAddSpec(), [1, 0, _LENGTH], tasks, [0, results.ctypes.data])
    lanes = target.host().vector_bytes // 4
    return Limits(2 * _COPIED / copy, 2 * lanes * kernels.CHAINS * _LENGTH * tasks / sums)


def _aligned(nbytes: int) -> np.ndarray:
    raw = np.ones(nbytes + 64, np.uint8)  # written: untouched pages would all be one of zeros
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


def _best(spec: Any, consts: list[int], tasks: int, bases: list[int]) -> float:
    """Seconds; the best of a few runs is what the machine does undisturbed."""
    library = programs.kernel(spec)
    program = team.Program([(library.address("kernel"), consts, tasks)], keep=library)
    found = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        team.run(program, list(bases))
        found.append(time.perf_counter() - start)
    return min(found)
