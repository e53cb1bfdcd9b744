"""Matrix products below the array API, beside NumPy: `python -m benchmarks.gemm [threads ...]`.

Each shape's sides take turns, with pauses in which NumPy's threads stop spinning; the figure
is the median of the rounds in GFLOP/s (for products with a vector: GB/s of its operands).
"""

import os
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import ml_dtypes
import numpy as np

from mlx.backend.llvm import jit
from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm import Matrix, Product, StoreEpilogue, plan_gemm
from mlx.backend.llvm.gemm.elements import accumulator_of
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host
from mlx.runtime import team

ROUNDS, SECONDS, PAUSE = 5, 0.05, 0.02


@dataclass(frozen=True)
class Case:
    m: int
    n: int
    k: int
    batch: int = 1
    dtype: str = "float32"
    layout: str = "nn"

    def __str__(self) -> str:
        batch = f"{self.batch} x " if self.batch > 1 else ""
        return f"{batch}{self.m}x{self.n}x{self.k} {self.dtype} {self.layout}"


CASES = [
    *[Case(s, s, s) for s in (64, 100, 128, 256, 384, 512, 1000, 1024, 2048)],
    *[Case(1024, 1024, 1024, layout=layout) for layout in ("nt", "tn", "tt")],
    Case(2048, 256, 1024), Case(256, 2048, 1024), Case(2048, 1024, 256), Case(64, 1024, 1024),
    Case(1024, 64, 1024), Case(8, 2048, 2048), Case(2048, 8, 2048), Case(256, 256, 8192),
    Case(64, 64, 64, 512), Case(256, 256, 64, 32, layout="nt"), Case(256, 64, 256, 32),
    *[Case(1024, 1024, 1024, dtype=d) for d in ("float64", "complex64", "float16", "bfloat16",
                                               "int8")],
    Case(1, 4096, 4096), Case(1, 4096, 4096, layout="nt"), Case(4096, 1, 4096),
    Case(1, 4096, 4096, dtype="bfloat16", layout="nt"), Case(1, 256, 64, 64, layout="nt"),
]  # fmt: skip


def operand(case: Case, rows: int, cols: int, how: str) -> np.ndarray:
    numbers = np.random.default_rng(0).standard_normal((case.batch, rows, cols)) * 4
    dtype = ml_dtypes.bfloat16 if case.dtype == "bfloat16" else case.dtype
    stored = numbers.astype(dtype)
    if how == "t":
        stored = np.ascontiguousarray(stored.swapaxes(1, 2)).swapaxes(1, 2)
    return stored


def program(commands: list[Command]) -> team.Program:
    table = []
    for command in commands:
        module = Module()
        command.spec.emit(module, "kernel")
        library = jit.compile_ir(module.text(host().attributes()), ["kernel"])
        _libraries.append(library)
        table.append((library.address("kernel"), command.consts, command.tasks))
    return team.Program(table)


_libraries: list[jit.Library] = []


def prepare(case: Case) -> tuple[Callable[[], object], Callable[[], object] | None, float]:
    """Our call, NumPy's (where it has the dtype in its BLAS) and the work of one call."""
    a = operand(case, case.m, case.k, case.layout[0])
    b = operand(case, case.k, case.n, case.layout[1])
    out = np.zeros((case.batch, case.m, case.n), a.dtype)
    arrays = [np.zeros(64, np.int64), a, b, out]

    def matrix(index: int) -> Matrix:
        batch, row, col = (s // arrays[index].itemsize for s in arrays[index].strides)
        return Matrix(Pointer(index), case.dtype, (batch,), row, col)

    def scratch(nbytes: int) -> Pointer:
        raw = np.zeros(nbytes + 64, np.uint8)
        start = -raw.ctypes.data % 64
        arrays.append(raw[start : start + nbytes])
        return Pointer(len(arrays) - 1)

    commands = plan_gemm(Product(
        matrix(1), matrix(2), case.m, case.n, case.k, (case.batch,),
        StoreEpilogue(matrix(3), (case.batch,)), accumulator_of(case.dtype), scratch,
        team.num_threads(),
    ))  # fmt: skip
    ready = program(commands)
    bases = array("q", [x.ctypes.data for x in arrays])
    theirs = np.zeros_like(out)
    in_blas = case.dtype in ("float32", "float64", "complex64")
    work = 2.0 * case.batch * case.m * case.n * case.k * (4 if case.dtype == "complex64" else 1)
    if 1 in (case.m, case.n):
        work = float(a.nbytes + b.nbytes)

    def ours() -> object:
        return team.run(ready, bases), arrays

    return ours, (lambda: np.matmul(a, b, out=theirs)) if in_blas else None, work


def rate(call: Callable[[], object], work: float, calls: int) -> float:
    time.sleep(PAUSE)
    call()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return work * calls / (time.perf_counter() - start) / 1e9


def measure(case: Case) -> str:
    ours, theirs, work = prepare(case)
    sides = [side for side in (ours, theirs) if side]
    calls = []
    for side in sides:
        side()
        start = time.perf_counter()
        side()
        calls.append(max(1, int(SECONDS / (time.perf_counter() - start))))
    rates: list[list[float]] = [[] for _ in sides]
    for _ in range(ROUNDS):
        for n, side in enumerate(sides):
            rates[n].append(rate(side, work, calls[n]))
    middle = [median(r) for r in rates]
    line = f"{case!s:36}{middle[0]:9.1f}"
    return line + (f"{middle[1]:9.1f}{middle[0] / middle[1]:8.2f}" if theirs else "")


def main() -> None:
    if "MLX_NUM_THREADS" in os.environ:
        print(f"{os.environ['MLX_NUM_THREADS']} threads".ljust(36), "    ours   NumPy   ratio")
        for case in CASES:
            print(measure(case), flush=True)
        return
    for threads in sys.argv[1:] or ["1", "2"]:
        environment = os.environ | {"MLX_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}
        subprocess.run([sys.executable, "-m", "benchmarks.gemm"], env=environment, check=True)


if __name__ == "__main__":
    main()
