"""Native objects of IR texts, emitted on several threads.

LLVM may run on many threads if each has a context and a target machine of its own.  llvmlite
lets one call in at a time; the call that takes nearly all the time goes around its lock.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import queue
import threading
from typing import Any

from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.room import find_room
from mlx.backend.llvm.target import host

MOST_THREADS = 8
_ROOM = 64 << 20
"""What LLVM's heap may need for one text, in bytes."""
_machines: list[Any] = []
"""Target machines that are not in use."""


def emit_object(text: str) -> bytes:
    """Compile IR text to a native object file."""
    find_room((_ROOM,))
    return _emitted(text)


def _emitted(text: str) -> bytes:
    llvm = binding()
    context = llvm.create_context()
    module = llvm.parse_assembly(text, context)
    machine = _machine()
    try:
        return _object_of(machine, module)
    finally:
        _machines.append(machine)
        module.close()
        context.close()


def _machine() -> Any:
    try:
        return _machines.pop()
    except IndexError:
        target = host()
        return (
            binding()
            .Target.from_triple(target.triple)
            .create_target_machine(
                cpu=target.cpu, features=target.features, opt=2, reloc="pic", codemodel="small"
            )
        )


def _object_of(machine: Any, module: Any) -> bytes:
    """``machine.emit_object(module)``, other threads at the same time."""
    llvm = binding()
    lib = llvm.ffi.lib
    emit = getattr(lib.LLVMPY_TargetMachineEmitToMemory, "_cfn", None)
    if emit is None:
        return bytes(machine.emit_object(module))
    with llvm.ffi.OutputString() as message:
        buffer = emit(machine, module, 1, message)
        if not buffer:
            raise RuntimeError(str(message))
    try:
        size = lib.LLVMPY_GetBufferSize(buffer)
        return ctypes.string_at(lib.LLVMPY_GetBufferStart(buffer), size)
    finally:
        lib.LLVMPY_DisposeMemoryBuffer(buffer)


class Emission:
    """Texts that become objects: on other threads while more are added, then on this one too.

    The longest go first, so that all threads end at about the same time.
    """

    def __init__(self, threads: int) -> None:
        self._free = _affordable(threads) - 1
        self._texts: queue.PriorityQueue[tuple[int, int, str, str]] = queue.PriorityQueue()
        self._numbers = itertools.count()
        self._helpers: list[threading.Thread] = []
        self._objects: dict[str, bytes] = {}
        self._failure: BaseException | None = None

    def add(self, key: str, text: str) -> None:
        """Have a text emitted."""
        self._texts.put((-len(text), next(self._numbers), key, text))
        if len(self._helpers) < min(self._free, self._texts.qsize() - 1):
            helper = threading.Thread(target=self._help, name="mlx compiler", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # no more threads, or the interpreter is ending
                self._free = 0
            else:
                self._helpers.append(helper)

    def objects(self) -> dict[str, bytes]:
        """The objects of all texts by key; raises what went wrong with any."""
        while self._emit_one(block=False):
            pass
        self._end()
        if self._failure is not None:
            raise self._failure
        return self._objects

    def _end(self) -> None:
        """Let the helpers end what they are at, and wait for them."""
        for _ in self._helpers:
            self._texts.put((1, next(self._numbers), "", ""))
        for helper in self._helpers:
            helper.join()
        self._helpers.clear()

    def __enter__(self) -> Emission:
        return self

    def __exit__(self, *exc: object) -> None:
        """Without ``objects``, since something went wrong, the rest is let go."""
        with contextlib.suppress(queue.Empty):
            while self._helpers:
                self._texts.get_nowait()
        self._end()

    def _emit_one(self, block: bool) -> bool:
        """Emit a text; False where there is none."""
        try:
            *_, key, text = self._texts.get(block)
        except queue.Empty:
            return False
        if not key:
            return False
        self._objects[key] = _emitted(text)
        return True

    def _help(self) -> None:
        try:
            while self._emit_one(block=True):
                pass
        except BaseException as error:
            self._failure = error


def _affordable(threads: int) -> int:
    """How many threads of so many find the memory that they may need."""
    threads = min(threads, MOST_THREADS)
    try:
        find_room((_ROOM,) * threads)
    except MemoryError:
        find_room((_ROOM,))
        return 1
    return threads
