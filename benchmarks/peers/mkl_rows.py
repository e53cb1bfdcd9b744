"""f32 matrix products by MKL's own C interface, as a yardstick for ours."""

import ctypes
import sys
from pathlib import Path

import numpy as np

from .numpy_rows import arrays, compiler, finish, settle

ROW_MAJOR, AS_IT_IS = 101, 111


def library() -> ctypes.CDLL:
    """pip's mkl puts its libraries into the environment's lib folder."""
    found = sorted((Path(sys.prefix) / "lib").glob("libmkl_rt.so*"))
    if not found:
        raise OSError(f"no libmkl_rt.so in {sys.prefix}/lib")
    return ctypes.CDLL(str(found[-1]), mode=ctypes.RTLD_GLOBAL)


mkl = library()


def pointer(x: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(x.ctypes.data)


def multiply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    (m, k), n = a.shape, b.shape[1]
    out = np.empty((m, n), np.float32)
    one, zero = ctypes.c_float(1), ctypes.c_float(0)
    mkl.cblas_sgemm(
        ROW_MAJOR, AS_IT_IS, AS_IT_IS, m, n, k, one, pointer(a), k, pointer(b), n, zero,
        pointer(out), n,
    )  # fmt: skip
    return out


def warm() -> None:
    multiply(np.ones((256, 256), np.float32), np.ones((256, 256), np.float32))


def matmul(data, jit):
    a, b = data["a"], data["b"]
    return lambda: multiply(a, b)


def matvec(data, jit):
    return lambda: [multiply(data["x"], data[f"w{i}"]) for i in range(8)]


ROWS = {
    "matmul_f32_1024": matmul,
    "matmul_f32_2048": matmul,
    "matmul_f32_odd": matmul,
    "matvec_f32": matvec,
}
__all__ = ["ROWS", "arrays", "compiler", "finish", "settle", "warm"]
