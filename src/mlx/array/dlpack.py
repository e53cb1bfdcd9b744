"""DLPack both ways, through NumPy; bfloat16, which NumPy's exporter lacks, by its type code."""

from __future__ import annotations

import ctypes
from typing import Any

from mlx.base.lazy import ml_dtypes
from mlx.base.lazy import numpy as np

CPU = 1
_UNSIGNED, _BFLOAT = 1, 4


class _Tensor(ctypes.Structure):
    """DLTensor of DLPack's C interface."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
    ]


_VERSIONED_OFFSET = 2 * 4 + 2 * 8 + 8
"""Version, manager, deleter and flags precede the tensor in a versioned capsule."""

_python = ctypes.pythonapi
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_python.PyCapsule_IsValid.argtypes = [ctypes.py_object, ctypes.c_char_p]


def _tensor(capsule: Any) -> _Tensor:
    for name, offset in ((b"dltensor", 0), (b"dltensor_versioned", _VERSIONED_OFFSET)):
        if _python.PyCapsule_IsValid(capsule, name):
            address = _python.PyCapsule_GetPointer(capsule, name)
            return _Tensor.from_address(address + offset)
    raise ValueError("[from_dlpack] The capsule holds no tensor, or its tensor was taken already.")


class _Capsule:
    """Hands one capsule to NumPy."""

    def __init__(self, capsule: Any, device: tuple[int, int]) -> None:
        self._capsule = capsule
        self._device = device

    def __dlpack__(self, **options: Any) -> Any:
        return self._capsule

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device


def is_exporter(value: Any) -> bool:
    return hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__")


def imported(value: Any) -> np.ndarray:
    """A NumPy view of what exports DLPack; it keeps the exporter's memory alive.

    Raises ValueError for memory that is not the CPU's.
    """
    kind, number = value.__dlpack_device__()
    if int(kind) != CPU:
        raise ValueError(
            f"[from_dlpack] Expected memory of the CPU, got device type {int(kind)}: copy "
            f"the {type(value).__name__} to the CPU first."
        )
    capsule = value.__dlpack__()
    tensor = _tensor(capsule)
    is_bfloat = (tensor.code, tensor.bits) == (_BFLOAT, 16)
    if is_bfloat:
        tensor.code = _UNSIGNED
    result = np.from_dlpack(_Capsule(capsule, (CPU, int(number))))
    return result.view(ml_dtypes.bfloat16) if is_bfloat else result


def exported(view: np.ndarray, **options: Any) -> Any:
    """A capsule of a NumPy array on an array's memory."""
    if view.dtype != ml_dtypes.bfloat16:
        return view.__dlpack__(**options)
    capsule = view.view(np.uint16).__dlpack__(**options)
    _tensor(capsule).code = _BFLOAT
    return capsule
