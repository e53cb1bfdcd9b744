"""The machine's own limits: memory bandwidth and f32 arithmetic, on the same threads."""

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

SIZE = 24_000_000  # f32 numbers: about 96 MB, out of every cache


@dataclass(frozen=True)
class Limits:
    """Bytes a second (a copy counts what it reads and what it writes) and operations a second."""

    copy: float
    read: float
    f32: float

    def or_better(self, other: "Limits") -> "Limits":
        """The larger of each: what disturbed one measurement says nothing of the machine."""
        return Limits(
            max(self.copy, other.copy), max(self.read, other.read), max(self.f32, other.f32)
        )

    def __str__(self) -> str:
        return (
            f"copy {self.copy / 1e9:.1f} GB/s, read {self.read / 1e9:.1f} GB/s, "
            f"f32 products {self.f32 / 1e9:.0f} GFLOP/s"
        )


def measure_limits(threads: int) -> Limits:
    """By NumPy: parallel copies and sums of large arrays, and its library's 2048^3 product."""
    source = np.ones(SIZE, np.float32)
    target = np.zeros_like(source)
    parts = [slice(i * SIZE // threads, (i + 1) * SIZE // threads) for i in range(threads)]
    a = np.ones((2048, 2048), np.float32)
    with ThreadPoolExecutor(threads) as pool:

        def everywhere(work: Callable[[slice], object]) -> Callable[[], object]:
            return lambda: list(pool.map(work, parts))

        copy = _best(everywhere(lambda part: np.copyto(target[part], source[part])))
        read = _best(everywhere(lambda part: source[part].max()))
    return Limits(
        copy=2 * source.nbytes / copy,
        read=source.nbytes / read,
        f32=2 * 2048**3 / _best(lambda: a @ a),
    )


def _best(work: Callable[[], object], repeats: int = 11) -> float:
    """The lower quartile of the times: a limit is what the machine does undisturbed."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.quantiles(times, n=4)[0]
