"""The machine's own limits: memory bandwidth and arithmetic, on the same threads."""

from __future__ import annotations

import ctypes
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mlx.backend.llvm.target import host

from .limits import STREAMS, UNROLL, kernels, tile_configuration

BYTES = 96 << 20  # of each array, out of every cache
SECONDS = 0.02  # of arithmetic


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
    """By kernels of our own, one call of each a thread at a time."""
    library, work = kernels()
    size = BYTES // threads // 4096 * 4096
    blocks = [[aligned(size) for _ in range(3)] for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:

        def rate(name: str, steps: int, unit: float) -> float:
            """Units a second of all threads, `unit` of them a step."""
            function = prototype(library.address(name))
            arguments = [[x.ctypes.data for x in block] for block in blocks]

            def everywhere() -> None:
                list(pool.map(lambda at: function(*at, steps), arguments))

            return threads * steps * unit / lower_quartile(everywhere)

        step = UNROLL * host().vector_bytes
        found = {name: rate(name, size // step, step * count) for name, count in STREAMS.items()}
        for name, flops in work.items():
            for block in blocks:
                block[0][:64] = np.frombuffer(tile_configuration(), np.uint8)
            few = rate(name, 10_000, flops)
            found[name] = rate(name, int(few * SECONDS / threads / flops), flops)
    return Limits(**{"bf16": 0.0} | found)


prototype = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)


def aligned(size: int) -> np.ndarray:
    """Zeros at a multiple of 64 bytes, every page of them touched."""
    raw = np.empty(size + 64, np.uint8)
    raw.fill(0)
    start = -raw.ctypes.data % 64
    return raw[start : start + size]


def lower_quartile(work: Callable[[], object], repeats: int = 15) -> float:
    """Of the times: a limit is what the machine does undisturbed."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.quantiles(times, n=4)[0]


def processor() -> str:
    """The processor's name as the system has it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown processor"
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown processor")
