"""Tile registers (AMX) must be asked for: the kernel of Linux grants them once a process."""

from __future__ import annotations

import ctypes
import sys

_ARCH_PRCTL = 158  # the system call's number on x86-64
_REQUEST = 0x1023  # ARCH_REQ_XCOMP_PERM
_TILE_DATA = 18  # the feature's number

TILE_FEATURES = ("amx-tile", "amx-bf16", "amx-int8", "amx-fp16", "amx-complex")


def tiles_permitted() -> bool:
    """Ask for the tile registers; whether this process, all its threads, may use them."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        call = ctypes.CDLL(None).syscall
        call.restype = ctypes.c_long
        numbers = (_ARCH_PRCTL, _REQUEST, _TILE_DATA)
        return bool(call(*[ctypes.c_long(number) for number in numbers]) == 0)
    except (OSError, AttributeError):
        return False
