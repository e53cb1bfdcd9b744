"""The kernel cache on disk costs time when something is wrong with it, never a result."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mlx.backend.llvm import disk

PROGRAM = """
import hashlib, numpy as np, mlx.core as mx
from mlx.backend.llvm import disk, jit, stored
stored.LEAST, stored.SMALLER = 1 << 60, 0  # kernels alone
x = mx.arange(1000).astype(mx.float32) / 7
y = [mx.softmax(x), mx.sort(mx.sin(x)), mx.outer(x, x) @ mx.outer(x, x), mx.cumsum(x)]
mx.eval(y)
print(hashlib.md5(b"".join(np.array(v).tobytes() for v in y)).hexdigest())
print(disk.folder() is not None, jit.counters["compiled"])
"""


def start(**changes: str | None) -> subprocess.Popen[str]:
    environment = {**os.environ, **{k: v for k, v in changes.items() if v is not None}}
    for name, value in changes.items():
        if value is None:
            environment.pop(name, None)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end(process: subprocess.Popen[str]) -> tuple[str, bool, int]:
    """(digest of the results, whether there is a cache, number of objects compiled)."""
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    digest, used, compiled = out.split()
    return digest, used == "True", int(compiled)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A filled cache, made by two processes at once, and the results' digest."""
    folder = tmp_path_factory.mktemp("cache")
    first, second = start(MLX_CACHE_DIR=str(folder)), start(MLX_CACHE_DIR=str(folder))
    (digest, used, compiled), (other, _, more) = end(first), end(second)
    assert used and compiled + more and digest == other  # one may find what the other has made
    assert end(start(MLX_CACHE_DIR=str(folder))) == (digest, True, 0)
    return folder, digest


def half(raw: bytes) -> bytes:
    return raw[: len(raw) // 2]


def flipped(raw: bytes) -> bytes:
    return raw[:100] + bytes([raw[100] ^ 1]) + raw[101:]


def garbage(raw: bytes) -> bytes:
    """What is no object, with the right checksum."""
    body = b"no object" * 50
    return disk.MAGIC + hashlib.blake2b(body, digest_size=16).digest() + body


@pytest.mark.parametrize("damage", [half, flipped, garbage, lambda raw: b"", lambda raw: raw[:24]])
def test_damaged_files_are_rebuilt(filled: tuple[Path, str], damage: Callable) -> None:
    folder, digest = filled
    files = list(folder.rglob("*.o"))
    kept = {path: path.read_bytes() for path in files}
    for path, raw in kept.items():
        path.write_bytes(damage(raw))
    got, used, compiled = end(start(MLX_CACHE_DIR=str(folder)))
    assert (got, used) == (digest, True) and compiled >= len(files)
    assert end(start(MLX_CACHE_DIR=str(folder))) == (digest, True, 0)


def test_a_folder_in_place_of_a_file(filled: tuple[Path, str]) -> None:
    folder, digest = filled
    path = next(folder.rglob("*.o"))
    path.unlink()
    path.mkdir()
    assert end(start(MLX_CACHE_DIR=str(folder)))[:2] == (digest, True)
    path.rmdir()


def test_folders_that_cannot_be_made(filled: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "kernels").symlink_to(tmp_path / "gone" / "away")
    for folder in (tmp_path / "file", tmp_path, Path("/proc/none")):
        digest, used, _ = end(start(MLX_CACHE_DIR=str(folder)))
        assert digest == filled[1] and not used


def test_without_home(filled: tuple[Path, str], tmp_path: Path) -> None:
    unset = {"MLX_CACHE_DIR": None, "XDG_CACHE_HOME": None}
    assert end(start(**unset, HOME="/proc/none"))[:2] == (filled[1], False)
    assert end(start(MLX_CACHE_DIR=None, XDG_CACHE_HOME=str(tmp_path)))[:2] == (filled[1], True)
    assert list((tmp_path / "mlx-jit" / "kernels").rglob("*.o"))
    assert end(start(MLX_CACHE_DIR="~/mine", HOME=str(tmp_path)))[:2] == (filled[1], True)
    assert list((tmp_path / "mine").rglob("*.o"))


@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
@pytest.mark.parametrize("mode", [0o777, 0o770, 0o722])
def test_folders_that_others_may_write_to(
    filled: tuple[Path, str], tmp_path: Path, mode: int
) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    folder.chmod(mode)
    digest, used, _ = end(start(MLX_CACHE_DIR=str(tmp_path)))
    assert digest == filled[1] and not used and not list(folder.iterdir())


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(disk, "folder", lambda: tmp_path)
    return tmp_path


@pytest.mark.skipif(os.name != "posix", reason="owners of POSIX")
def test_a_foreign_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk._trusted(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert not disk._trusted(tmp_path)


def failing(*args: object, **kwargs: object) -> None:
    raise OSError(30, "Read-only file system")


@pytest.mark.parametrize("name", ["replace", "fdopen"])
def test_a_full_or_read_only_disk(own: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    disk.write("before", b"kept")
    with monkeypatch.context() as patch:
        patch.setattr(os, name, failing)
        disk.write("key", b"payload")
    assert disk.read("key") is None and disk.read("before") == b"kept"
    assert [p.suffix for p in own.rglob("*") if p.is_file()] == [".o"]


def test_the_oldest_go_when_it_is_full(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "LIMIT_BYTES", 10_000)
    for i in range(600):
        disk.write(f"key {i}", bytes(100))
    left = [i for i in range(600) if disk.read(f"key {i}")]
    assert left[-1] == 599 and len(left) < 400


def test_a_routine_that_kernels_share_is_gone(filled: tuple[Path, str]) -> None:
    folder, digest = filled
    sizes = {path: path.read_bytes() for path in folder.rglob("*.o")}
    named = [raw[24:].partition(b"\0")[0].split() for raw in sizes.values()]
    assert any(named), "no kernel calls a routine"
    for path in sizes:
        path.unlink()
        got, used, _ = end(start(MLX_CACHE_DIR=str(folder)))
        assert (got, used) == (digest, True)
        assert path.exists()
