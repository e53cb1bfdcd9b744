"""llvmlite, loaded on first use: importing the framework must not cost its start-up."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType


@cache
def binding() -> ModuleType:
    """``llvmlite.binding`` with the native target initialised."""
    llvm = importlib.import_module("llvmlite.binding")
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm
