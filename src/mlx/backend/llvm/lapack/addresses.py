"""Where LAPACK's and BLAS's routines lie in memory: SciPy's Cython modules export them."""

from __future__ import annotations

import ctypes
from functools import cache

from mlx.backend.llvm.abi import Address
from mlx.base.lazy import scipy_module

_MODULES = ("linalg.cython_lapack", "linalg.cython_blas")
_COUNTS = ("scipy_openblas_{}_num_threads", "openblas_{}_num_threads")
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.argtypes, _name_of.restype = [ctypes.py_object], ctypes.c_char_p
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.argtypes, _pointer_of.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


@cache
def routine(name: str) -> Address:
    """The address of a routine, such as ``sgetrf``; it takes pointers only, integers of 32 bits."""
    for module in _MODULES:
        capsule = scipy_module(module).__pyx_capi__.get(name)
        if capsule is not None:
            return Address(_pointer_of(capsule, _name_of(capsule)) or 0)
    raise RuntimeError(f"[linalg] SciPy's LAPACK has no routine {name}.")


@cache
def thread_count() -> tuple[Address, Address]:
    """The functions that get and set OpenBLAS's number of threads; zeros for another library."""
    library = ctypes.CDLL(scipy_module(_MODULES[0]).__file__)
    for name in _COUNTS:
        try:
            found = [getattr(library, name.format(verb)) for verb in ("get", "set")]
        except AttributeError:
            continue
        get, put = (ctypes.cast(function, ctypes.c_void_p).value or 0 for function in found)
        return Address(get), Address(put)
    return Address(0), Address(0)
