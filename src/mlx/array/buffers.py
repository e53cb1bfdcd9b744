"""The buffer protocol before Python 3.12, which calls ``__buffer__`` by itself.

A class written in Python has no other way there: its type's table of buffer functions is filled
in.  Where that table isn't found nothing is changed, and ``memoryview`` raises TypeError.
"""

from __future__ import annotations

import ctypes
from typing import Any

_TABLE_OFFSET = 20 * ctypes.sizeof(ctypes.c_void_p)
"""Of ``tp_as_buffer`` in a type object: the 21st word."""

_Export = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.c_void_p, ctypes.c_int)
_get_buffer = ctypes.pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]


@_Export
def _export(owner: Any, view: int, flags: int) -> int:
    """Have the view filled in for the memory, which it then refers to in place of the handle.

    No exception can leave a function that is called like this: after -1 NumPy asks for
    ``__array__``, which raises what is wrong, and ``memoryview`` raises SystemError.
    """
    try:
        _get_buffer(owner.__buffer__(flags), view, flags)
    except Exception:
        return -1
    return 0


def install(kind: type) -> None:
    """Let the instances of a class that has ``__buffer__`` be exported."""
    table = ctypes.c_void_p.from_address(id(kind) + _TABLE_OFFSET).value
    # A class has its tables inside: any other place is another layout of type objects.
    if table is not None and id(kind) < table < id(kind) + type.__sizeof__(kind):
        function = ctypes.cast(_export, ctypes.c_void_p)
        ctypes.c_void_p.from_address(table).value = function.value
