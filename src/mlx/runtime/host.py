"""Host calls: steps that run in Python on NumPy views of a program's memory."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from mlx.base.dtype import dtype_named
from mlx.base.lazy import numpy as np
from mlx.runtime.team import num_threads

if TYPE_CHECKING:
    from mlx.backend.llvm.abi import HostCall, Operand


def view(operand: Operand, bases: Any) -> np.ndarray:
    """A NumPy view of an operand of the running program."""
    dtype = dtype_named(operand.dtype)
    address = bases[operand.pointer.base] + operand.pointer.offset
    extent = 1 + sum((n - 1) * s for n, s in zip(operand.shape, operand.strides, strict=True))
    if 0 in operand.shape:
        return np.empty(operand.shape, dtype.numpy)
    low = sum((n - 1) * s for n, s in zip(operand.shape, operand.strides, strict=True) if s < 0)
    high = extent - 1 - low
    start = address + low * dtype.size
    memory = (ctypes.c_char * ((high - low + 1) * dtype.size)).from_address(start)
    flat: Any = np.frombuffer(memory, dtype.numpy)  # type: ignore[call-overload]
    return np.lib.stride_tricks.as_strided(
        flat[-low:], operand.shape, [s * dtype.size for s in operand.strides]
    )


def call_host(call: HostCall, bases: Any) -> None:
    """Run ``primitive.host(workers, output, *inputs)``."""
    arrays = [view(o, bases) for o in (*call.outputs, *call.inputs)]
    call.primitive.host(num_threads(), *arrays)
