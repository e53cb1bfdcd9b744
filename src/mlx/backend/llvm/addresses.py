"""Where LAPACK's and BLAS's routines lie in memory, in the library that SciPy brings.

Its modules for Cython export them.  Importing one takes 0.3 s, for SciPy's packages and NumPy come
along; so the library is looked for first, which such a module is linked to, under the names that
SciPy's own builds of OpenBLAS have (theirs alone, for these count in 32 bits).
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from mlx.backend.llvm.abi import Address
from mlx.base.lazy import scipy_file, scipy_module

_MODULES = ("linalg.cython_lapack", "linalg.cython_blas")
_COUNTS = ("scipy_openblas_{}_num_threads", "openblas_{}_num_threads")
_VERBS = ("get", "set")
_name_of = ctypes.pythonapi.PyCapsule_GetName
_name_of.argtypes, _name_of.restype = [ctypes.py_object], ctypes.c_char_p
_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.argtypes, _pointer_of.restype = [ctypes.py_object, ctypes.c_char_p], ctypes.c_void_p


@cache
def _library() -> ctypes.CDLL | None:
    """The module as a library, not imported, through which its symbols are found."""
    path = scipy_file(_MODULES[0])
    try:
        return ctypes.CDLL(path) if path else None
    except OSError:
        return None


def _symbol(library: Any, name: str) -> int:
    """The address of a symbol; 0 where there is none."""
    found = getattr(library, name, None)
    return 0 if found is None else ctypes.cast(found, ctypes.c_void_p).value or 0


def _exported(name: str) -> int:
    """The address of a routine that a module exports; 0 where none does."""
    for module in _MODULES:
        capsule = scipy_module(module).__pyx_capi__.get(name)
        if capsule is not None:
            return _pointer_of(capsule, _name_of(capsule)) or 0
    return 0


@cache
def address_of(name: str) -> Address:
    """The address of a routine, such as ``sgetrf``; it takes pointers only, integers of 32 bits."""
    found = _symbol(_library(), f"scipy_{name}_") or _exported(name)
    if not found:
        raise RuntimeError(f"[linalg] SciPy's LAPACK has no routine {name}.")
    return Address(found, name)


@cache
def thread_count() -> tuple[Address, Address]:
    """The functions that get and set OpenBLAS's number of threads; zeros for another library."""
    library = _library() or ctypes.CDLL(scipy_module(_MODULES[0]).__file__)
    for name in _COUNTS:
        get, put = (_symbol(library, name.format(verb)) for verb in _VERBS)
        if get and put:
            return Address(get, _VERBS[0]), Address(put, _VERBS[1])
    return Address(0, _VERBS[0]), Address(0, _VERBS[1])


def named(name: str) -> Address:
    """The address of what had that name in another process."""
    return thread_count()[_VERBS.index(name)] if name in _VERBS else address_of(name)
