"""Run planned commands without the rest of the system: ctypes, one thread, any task order."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import ml_dtypes
import numpy as np

from mlx.backend.llvm import jit
from mlx.backend.llvm.abi import Command, Pointer
from mlx.backend.llvm.gemm import Matrix, Product, StoreEpilogue, plan_gemm
from mlx.backend.llvm.gemm.elements import accumulator_of
from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.target import host

_KERNEL = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
_libraries: dict[str, tuple[jit.Library, int]] = {}


def dtype_of(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16) if name == "bfloat16" else np.dtype(name)


def address_of(spec: object) -> int:
    """The entry point of a kernel, compiled once a process."""
    key = spec.key  # type: ignore[attr-defined]
    if key not in _libraries:
        module = Module()
        spec.emit(module, "kernel")  # type: ignore[attr-defined]
        library = jit.compile_ir(module.text(host().attributes()), ["kernel"])
        _libraries[key] = (library, library.address("kernel"))
    return _libraries[key][1]


def aligned(nbytes: int) -> np.ndarray:
    raw = np.full(nbytes + 64, 0xFF, np.uint8)
    start = -raw.ctypes.data % 64
    return raw[start : start + nbytes]


class Bases:
    """Buffers of a run; ``bases[0]`` is the status block."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = [np.zeros(64, np.int64)]

    def pointer(self, array: np.ndarray) -> Pointer:
        self.arrays.append(array)
        return Pointer(len(self.arrays) - 1)

    def scratch(self, nbytes: int) -> Pointer:
        return self.pointer(aligned(nbytes))

    def matrix(self, array: np.ndarray, name: str, batch: tuple[int, ...]) -> Matrix:
        """The last two axes of an array as a matrix, its others broadcast to ``batch``."""
        view = np.broadcast_to(array, (*batch, *array.shape[-2:]))
        assert all(s % array.itemsize == 0 for s in view.strides)
        *outer, row, col = (s // array.itemsize for s in view.strides)
        return Matrix(self.pointer(array), name, tuple(outer), row, col)

    def addresses(self) -> np.ndarray:
        return np.array([a.ctypes.data for a in self.arrays], np.int64)


def run(commands: Sequence[Command], bases: Bases, workers: int = 1) -> None:
    table = bases.addresses()
    for command in commands:
        kernel = _KERNEL(address_of(command.spec))
        consts = np.array(command.consts, np.int64)
        order = list(range(command.tasks))
        if workers > 1:
            order.reverse()
        for task in order:
            kernel(consts.ctypes.data, table.ctypes.data, task, task % workers)


def name_of(array: np.ndarray) -> str:
    return array.dtype.name


def matmul(
    a: np.ndarray,
    b: np.ndarray,
    workers: int = 1,
    out_dtype: str | None = None,
    transpose_out: bool = False,
    accumulate: str | None = None,
) -> np.ndarray:
    """``a @ b`` through plan_gemm; the arrays' own strides are what the kernels see."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    name = name_of(a)
    shape = (*batch, n, m) if transpose_out else (*batch, m, n)
    out = np.full(shape, 77, dtype_of(out_dtype or name))
    view = out.swapaxes(-1, -2) if transpose_out else out
    bases = Bases()
    left, right = bases.matrix(a, name, batch), bases.matrix(b, name_of(b), batch)
    target = bases.matrix(view, out_dtype or name, batch)
    epilogue = StoreEpilogue(target, batch)
    accumulate = accumulate or accumulator_of(name)
    product = Product(left, right, m, n, k, batch, epilogue, accumulate, bases.scratch, workers)
    run(plan_gemm(product), bases, workers)
    return view
