"""The kernel cache on disk: native objects by structure, safe against damage and strangers.

A folder that belongs to somebody else, or that others may write to, is not used: it holds
native code.  Every file carries a checksum; whatever goes wrong here costs time, never a
result.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from functools import cache
from pathlib import Path

from mlx.backend.llvm.lazy import binding
from mlx.backend.llvm.target import host

MAGIC = b"mlxjit01"
LIMIT_BYTES = 256 << 20
_SOURCES = ("primitives", "compiler", "backend")


@cache
def _source_digest() -> bytes:
    """Digest of the sources that decide what code is generated."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.blake2b(digest_size=16)
    for package in _SOURCES:
        for path in sorted((root / package).rglob("*.py")):
            digest.update(path.name.encode())
            digest.update(path.read_bytes())
    return digest.digest()


@cache
def _salt() -> bytes:
    target = host()
    version = ".".join(map(str, binding().llvm_version_info))
    return "|".join([target.features, target.triple, target.cpu, version]).encode() + (
        _source_digest()
    )


def _wanted() -> Path:
    if folder := os.environ.get("MLX_CACHE_DIR"):
        return Path(os.path.expanduser(folder)).absolute() / "kernels"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base).absolute() / "mlx-jit" / "kernels"


@cache
def folder() -> Path | None:
    """The cache folder, or None where there is none that can be trusted."""
    path = _wanted()
    with contextlib.suppress(OSError):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path if _trusted(path) else None


def _trusted(path: Path) -> bool:
    try:
        info = path.stat()
    except OSError:
        return False
    if not stat.S_ISDIR(info.st_mode):
        return False
    if os.name == "posix":
        return info.st_uid == os.geteuid() and not info.st_mode & 0o022
    return True


def _path(key: str) -> Path | None:
    base = folder()
    if base is None:
        return None
    name = hashlib.blake2b(key.encode() + _salt(), digest_size=20).hexdigest()
    return base / name[:2] / f"{name}.o"


def _checksum(payload: bytes) -> bytes:
    return hashlib.blake2b(payload, digest_size=16).digest()


def read(key: str) -> bytes | None:
    """The object stored under ``key``; None when absent, unreadable or damaged."""
    path = _path(key)
    if path is None:
        return None
    try:
        raw = path.read_bytes()
    except OSError:
        return None
    payload = raw[24:]
    if raw[:8] != MAGIC or raw[8:24] != _checksum(payload):
        discard(key)
        return None
    return payload


def write(key: str, payload: bytes) -> None:
    """Store an object atomically; a read-only or full disk is ignored."""
    path = _path(key)
    if path is None:
        return
    with contextlib.suppress(OSError):
        path.parent.mkdir(exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(MAGIC + _checksum(payload) + payload)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
        _bound()


def discard(key: str) -> None:
    path = _path(key)
    if path is not None:
        with contextlib.suppress(OSError):
            path.unlink()


_written = [0]


def _bound() -> None:
    """Drop the oldest files now and then, so that the folder stays below its limit."""
    _written[0] += 1
    base = folder()
    if _written[0] % 256 != 1 or base is None:
        return
    with contextlib.suppress(OSError):
        files = [(p.stat().st_mtime, p.stat().st_size, p) for p in base.glob("*/*.o")]
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= LIMIT_BYTES:
                break
            path.unlink(missing_ok=True)
            total -= size
