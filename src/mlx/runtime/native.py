"""The executor's native functions, ready to be called from Python."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import TYPE_CHECKING, Any

from mlx.base.lazy import LazyModule

if TYPE_CHECKING:
    from mlx.backend.llvm.jit import Library

executor = LazyModule("mlx.backend.llvm.executor")
jit = LazyModule("mlx.backend.llvm.jit")
parking = LazyModule("mlx.backend.llvm.parking")
target = LazyModule("mlx.backend.llvm.target")

_I64 = ctypes.c_int64
_SPIN_NS = 30_000


class Native:
    """The executor's functions; compiled, or loaded, on first use and never unloaded."""

    def __init__(self) -> None:
        self.sleeping = sleeping = _sleeping()
        processor = target.host().triple.split("-")[0]
        symbols = [*executor.SYMBOLS, *parking.SYMBOLS[sleeping]]
        self.library = jit.compile_cached(
            f"executor {processor} {sleeping}",
            lambda: executor.executor_ir(processor, sleeping),
            symbols,
        )
        _connect(self.library, sleeping)
        self.run = self._function("run", 3, releasing=True)
        self.run_inline = self._function("run_inline", 3)
        self.run_call = self._function("run_call", 0)
        self.share_call = self._function("share_call", 0, releasing=True)
        self.call = (_I64 * executor.CALL).from_address(self.library.address("call"))
        self.submit = self._function("submit", 4)
        self.serve = self._function("serve", 2, releasing=True)
        self.acquire = self._function("acquire", 0, result=ctypes.c_bool)
        self.release = self._function("release", 0)
        self.configure = self._function("configure", 2)
        self._reset = self._function("reset", 0)
        self.completed = _I64.from_address(self.library.address("completed"))
        self.tail = _I64.from_address(self.library.address("tail"))
        self.spins = self._calibrate()
        self.configure(1, self.spins)

    def _function(
        self, name: str, arguments: int, releasing: bool = False, result: Any = _I64
    ) -> Any:
        """A native function; with ``releasing`` it runs without the interpreter's lock."""
        make = ctypes.CFUNCTYPE if releasing else ctypes.PYFUNCTYPE
        return make(result, *[_I64] * arguments)(self.library.address(name))

    def reset(self) -> None:
        """In a forked child: nothing queued, no thread but this one."""
        _connect(self.library, self.sleeping)
        self._reset()

    def _calibrate(self) -> int:
        """Turns of the spin loop in the time worth spinning before a thread parks."""
        spin = self._function("spin", 1)
        best = 1 << 62
        for _ in range(3):
            start = time.perf_counter_ns()
            spin(200)
            best = min(best, time.perf_counter_ns() - start)
        return max(20, _SPIN_NS * 200 // max(best, 1))


def _sleeping() -> str:
    """How threads sleep on this system: a variant of ``parking``."""
    if sys.platform == "win32":
        return "address"
    processor = target.host().triple.split("-")[0]
    linux = sys.platform == "linux" and processor in parking.FUTEX_NUMBER
    return "futex" if linux else "condition"


def _connect(library: Library, sleeping: str) -> None:
    """Hand the addresses of the system's functions to the executor."""
    if sleeping == "address":
        system: Any = ctypes.CDLL("api-ms-win-core-synch-l1-2-0")
    else:
        system = ctypes.CDLL(None)
    table = (ctypes.c_void_p * 4).from_address(library.address("system"))
    for place, name in enumerate(parking.FUNCTIONS[sleeping]):
        table[place] = ctypes.cast(getattr(system, name), ctypes.c_void_p).value
    if sleeping == "condition":
        system.pthread_mutex_init(ctypes.c_void_p(library.address("mutex")), None)
        system.pthread_cond_init(ctypes.c_void_p(library.address("condition")), None)
