"""What an ARM processor has and LLVM's list of its features, read from texts, may leave out."""

from __future__ import annotations

import ctypes
import sys

_CAPABILITIES = 16  # AT_HWCAP
_DOT_PRODUCTS = 1 << 20  # HWCAP_ASIMDDP


def features() -> dict[str, bool]:
    """Vectors, which every 64-bit ARM processor with an operating system has; dot products."""
    return {"fp-armv8": True, "neon": True, "dotprod": _has_dot_products()}


def _has_dot_products() -> bool:
    try:
        library = ctypes.CDLL(None)
        if sys.platform == "darwin":
            found, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
            name = b"hw.optional.arm.FEAT_DotProd"
            library.sysctlbyname(name, ctypes.byref(found), ctypes.byref(size), None, 0)
            return bool(found.value)
        ask = library.getauxval
        ask.restype = ctypes.c_ulong
        return bool(ask(ctypes.c_ulong(_CAPABILITIES)) & _DOT_PRODUCTS)
    except (OSError, AttributeError, TypeError):  # another system: CDLL(None) may need a name
        return False
