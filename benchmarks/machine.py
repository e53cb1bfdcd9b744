"""The machine's own limits: memory bandwidth and arithmetic, on the same threads."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mlx.backend.llvm.limits import CHAINS, CopySpec, MultiplyAddSpec
from mlx.backend.llvm.programs import kernel
from mlx.backend.llvm.target import host
from mlx.runtime import team

from .limits import CHAINS as DOT_CHAINS
from .limits import (
    DOT_FLOPS,
    TILE_FLOPS,
    DotSpec,
    ReadSpec,
    TileSpec,
    TriadSpec,
    has_dot,
    tile_configuration,
    tiles_permitted,
)

BYTES = 96 << 20  # of each array, out of every cache
PART = 1 << 20  # of a task
LENGTH = 100_000  # of a chain of arithmetic
REPEATS = 15
STREAMS = ("read", "copy", "triad")


@dataclass(frozen=True)
class Limits:
    """Bytes a second (all that is read and written counts) and operations a second.

    `bf16` is 0 where the machine has no instruction for it.
    """

    read: float
    copy: float
    triad: float
    f32: float
    bf16: float

    def or_better(self, other: Limits) -> Limits:
        """The larger of each: what disturbed one measurement says nothing of the machine."""
        return Limits(*map(max, vars(self).values(), vars(other).values()))

    def flops(self, dtype: str) -> float:
        return (dtype == "bf16" and self.bf16) or self.f32

    def __str__(self) -> str:
        gigabytes = ", ".join(f"{n} {getattr(self, n) / 1e9:.1f} GB/s" for n in STREAMS)
        bf16 = f", bf16 {self.bf16 / 1e9:.0f} GFLOP/s" if self.bf16 else ", no bf16 instructions"
        return f"{gigabytes}; from registers f32 {self.f32 / 1e9:.0f} GFLOP/s{bf16}"


def measure_limits(threads: int) -> Limits:
    """By kernels of our own on our threads."""
    with team.threads(threads):
        target, source, more = (aligned(BYTES) for _ in range(3))
        found = {
            "read": read_rate(target, source),
            "copy": copy_rate(source, target),
            "triad": rate(TriadSpec(), [target, source, more], [PART], BYTES // PART, 3 * PART),
        }
        work = 2.0 * CHAINS * host().lanes * LENGTH
        found["f32"] = rate(MultiplyAddSpec(), [target], [LENGTH], 4 * threads, work)
        found["bf16"] = bf16_rate(threads, target, source)
    return Limits(**found)


def stream_rate(reads: bool, threads: int) -> float:
    """What the machine reads, or copies, a second at this moment."""
    with team.threads(threads):
        target, source = aligned(BYTES), aligned(BYTES)
        return read_rate(target, source) if reads else copy_rate(source, target)


def read_rate(target: np.ndarray, source: np.ndarray) -> float:
    return rate(ReadSpec(), [target, source], [PART], source.nbytes // PART, PART)


def copy_rate(source: np.ndarray, target: np.ndarray) -> float:
    return rate(CopySpec(), [source, target], [PART], source.nbytes // PART, 2 * PART)


def bf16_rate(threads: int, target: np.ndarray, source: np.ndarray) -> float:
    """By tiles, or by dot products of pairs; 0 where the machine has neither."""
    if tiles_permitted():
        target[:64] = np.frombuffer(tile_configuration(), np.uint8)
        work = 4.0 * TILE_FLOPS * LENGTH
        return rate(TileSpec(), [target, source], [LENGTH], 4 * threads, work)
    if has_dot():
        work = 1.0 * DOT_CHAINS * DOT_FLOPS * LENGTH
        return rate(DotSpec(), [target], [LENGTH], 4 * threads, work)
    return 0.0


def rate(spec: Any, arrays: list[np.ndarray], sizes: list[int], tasks: int, unit: float) -> float:
    """Units a second, `unit` of them a task; a limit is what the machine does undisturbed, so the
    lower quartile of the times counts."""
    library = kernel(spec)
    consts = [number for slot in range(len(arrays)) for number in (slot + 1, 0)]
    entry = (library.address("kernel"), [*consts, *sizes], tasks)
    program = team.Program([entry], keep=library)
    bases = [0, *(array.ctypes.data for array in arrays)]
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        team.run(program, list(bases))
        times.append(time.perf_counter() - start)
    return tasks * unit / statistics.quantiles(times, n=4)[0]


def aligned(size: int) -> np.ndarray:
    """Zeros at a multiple of 64 bytes, every page of them touched."""
    raw = np.empty(size + 64, np.uint8)
    raw.fill(0)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def processor() -> str:
    """The processor's name as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")
