"""Run an elementary function over NumPy arrays: a small kernel compiled for each."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from mlx.backend.llvm.ir import Module
from mlx.backend.llvm.jit import compile_ir
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import i64, vector

ELEMENT = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}


@cache
def kernel(function: Callable, element: str, inputs: int, outputs: int, lanes: int):
    """``run(n, inputs..., outputs...)`` applies the function to n elements, a multiple of lanes."""
    module = Module()
    f = module.function("run", ["i64"] + ["ptr"] * (inputs + outputs))
    count, *pointers = f.params
    type = vector(lanes, element)
    loop = f.loop(i64(0), count, i64(lanes))
    align = 4 if element == "float" else 8
    places = [f.gep(p, loop.index, element) for p in pointers]
    out = function(f, *(f.load(p, type, align) for p in places[:inputs]))
    for value, place in zip(out if isinstance(out, tuple) else [out], places[inputs:], strict=True):
        f.store(value, place, align)
    f.end_loop(loop)
    f.ret()
    library = compile_ir(module.text(host().attributes()), ["run"])
    prototype = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (inputs + outputs))
    return library, prototype(library.address("run"))


def apply(
    function: Callable, *arrays: np.ndarray, outputs: int = 1, lanes: int = 0
) -> Sequence[np.ndarray]:
    """The outputs of a function on flat arrays of one dtype."""
    element = ELEMENT[arrays[0].dtype]
    lanes = lanes or 32 // (1 if element == "float" else 2)
    size = arrays[0].size
    padded = -(-size // lanes) * lanes
    inputs = [np.pad(a.ravel(), (0, padded - size)) for a in arrays]
    out = [np.empty(padded, inputs[0].dtype) for _ in range(outputs)]
    _, run = kernel(function, element, len(inputs), outputs, lanes)
    run(padded, *(a.ctypes.data for a in (*inputs, *out)))
    return [o[:size] for o in out]
