"""Opening files for reading and, atomically, for writing; filling memory from them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlx.base.dtype import Dtype
from mlx.base.errors import MissingFileError
from mlx.base.lazy import LazyModule
from mlx.base.lazy import numpy as np
from mlx.runtime.buffer import Buffer, numpy_view
from mlx.runtime.memory import allocate

if TYPE_CHECKING:
    from pathlib import Path

pathlib = LazyModule("pathlib")

CHUNK = 1 << 26


@dataclass(frozen=True, slots=True)
class Stored:
    """An array that was read."""

    shape: tuple[int, ...]
    dtype: Dtype
    buffer: Buffer

    @property
    def view(self) -> np.ndarray:
        return numpy_view(self.buffer, self.shape, self.dtype)


def new_stored(shape: tuple[int, ...], dtype: Dtype) -> Stored:
    """Memory of the pool for an array that is about to be read."""
    count = 1
    for n in shape:
        count *= n
    return Stored(shape, dtype, Buffer(allocate(count * dtype.size)))


def name_of(file: Any) -> str:
    """How messages call a file."""
    if isinstance(file, str | os.PathLike):
        return os.fspath(file)
    name = getattr(file, "name", None)
    return name if isinstance(name, str) else f"<{type(file).__name__}>"


def _explained(operation: str, error: OSError, path: Any) -> OSError:
    """The same error (FileNotFoundError, PermissionError, ...), saying which operation failed."""
    kind = MissingFileError if isinstance(error, FileNotFoundError) else OSError
    return kind(error.errno, f"[{operation}] {error.strerror}", os.fspath(path))


@contextlib.contextmanager
def reading(operation: str, file: Any) -> Iterator[Any]:
    """A binary file to read: a path is opened and closed, a file object is taken as it is."""
    if not isinstance(file, str | os.PathLike):
        if not hasattr(file, "read"):
            raise ValueError(
                f"[{operation}] Expected a path or a file object opened in binary mode, got "
                f"{type(file).__name__}."
            )
        yield file
        return
    try:
        opened = open(file, "rb")  # noqa: SIM115 (closed below)
    except OSError as error:
        raise _explained(operation, error, file) from None
    with opened:
        yield opened


@contextlib.contextmanager
def writing(operation: str, file: Any, suffix: str) -> Iterator[Any]:
    """A binary file to write.

    A path, given ``suffix`` where it lacks it, is replaced only when everything is written:
    readers see the old file or the new one, and an exception leaves the old one.
    """
    if not isinstance(file, str | os.PathLike):
        if not hasattr(file, "write"):
            raise ValueError(
                f"[{operation}] Expected a path or a writable file object, got "
                f"{type(file).__name__}."
            )
        yield file
        return
    path = pathlib.Path(os.fspath(file))
    if path.suffix != suffix:
        path = path.with_name(path.name + suffix)
    try:
        target = path.resolve()  # replacing a symbolic link would cut it
        if target.exists() and not target.is_file():
            with open(target, "wb") as opened:  # a pipe or a device cannot be replaced
                yield opened
        else:
            with _replacing(target) as opened:
                yield opened
    except OSError as error:
        raise _explained(operation, error, path) from None


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[Any]:
    temporary = target.with_name(f".{target.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        with open(temporary, "xb") as opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        with contextlib.suppress(FileNotFoundError):
            os.chmod(temporary, target.stat().st_mode & 0o7777)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def remaining(file: Any) -> int | None:
    """Bytes from here to the end; None where the file cannot say."""
    try:
        here = file.tell()
        end = file.seek(0, os.SEEK_END)
        file.seek(here)
    except (AttributeError, OSError, ValueError):
        return None
    return end - here


def fill(operation: str, file: Any, where: str, view: np.ndarray) -> None:
    """Read as many bytes as a C-contiguous array has.  Raises ValueError where they end."""
    if not view.size:
        return
    memory = view.reshape(-1).view(np.uint8).data
    at, into = 0, getattr(file, "readinto", None)
    while at < len(memory):
        if into is not None:
            count = into(memory[at:])
        else:
            part = file.read(min(CHUNK, len(memory) - at))
            count = len(part)
            memory[at : at + count] = part
        if not count:
            raise ValueError(
                f"[{operation}] {where} is truncated: {at} of {len(memory)} bytes are there."
            )
        at += count


def write_array(file: Any, values: np.ndarray) -> None:
    """The elements in row-major order."""
    if values.size:
        flat = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        for start in range(0, flat.size, CHUNK):
            file.write(flat[start : start + CHUNK].data)
