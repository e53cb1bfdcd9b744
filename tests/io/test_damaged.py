"""Damaged, foreign and missing files raise what says file and cause; nothing is unpickled."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mlx.core as mx

FORMS = ("npy", "npz", "safetensors", "gguf")


def written(form: str) -> bytes:
    file, x = io.BytesIO(), mx.arange(100.0)
    if form == "npy":
        mx.save(file, x)
    elif form == "npz":
        mx.savez(file, x=x, y=x)
    elif form == "safetensors":
        mx.save_safetensors(file, {"x": x, "y": x}, {"k": "v"})
    else:
        mx.save_gguf(file, {"x": x, "y": x}, {"k": "v", "l": ["a", "b"]})
    return file.getvalue()


@pytest.mark.parametrize("form", FORMS)
def test_every_truncation(form: str, tmp_path: Path) -> None:
    whole = written(form)
    path = tmp_path / f"x.{form}"
    lengths = [*range(0, len(whole) - 32, 7), len(whole) - 32]
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"\[load\].*x\."):
            mx.load(path)


@pytest.mark.parametrize("form", FORMS)
def test_flipped_bits_never_crash(form: str) -> None:
    whole = written(form)
    rng = np.random.default_rng(0)
    for position in rng.integers(0, min(len(whole), 300), 200):
        damaged = bytearray(whole)
        damaged[position] ^= 1 << rng.integers(0, 8)
        try:
            mx.load(io.BytesIO(bytes(damaged)), format=form)
        except (ValueError, MemoryError) as error:
            assert str(error)


def test_objects_are_not_unpickled(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "sprung",))

    values = np.array([Trap()], dtype=object)
    np.save(tmp_path / "x.npy", values, allow_pickle=True)
    np.savez(tmp_path / "x.npz", x=values)
    for file in ("x.npy", "x.npz"):
        with pytest.raises(ValueError, match="unpickled"):
            mx.load(tmp_path / file)
    assert not (tmp_path / "sprung").exists()


def header(entries: Any, data: bytes = b"") -> io.BytesIO:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return io.BytesIO(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    ("entries", "cause"),
    [
        (b"[1]", "no JSON object"),
        (b"{", "no JSON"),
        ({"x": {"dtype": "F32"}}, "incomplete"),
        ({"x": 3}, "incomplete"),
        ({"x": {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]}}, "unknown dtype"),
        ({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, "has 4 bytes"),
        ({"x": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, "shape"),
        ({"x": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, "starts at byte 4"),
        ({"x": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}, "truncated"),
        ({"__metadata__": 3}, "metadata"),
    ],
)
def test_safetensors_headers(entries: Any, cause: str) -> None:
    with pytest.raises(ValueError, match=f"not a valid safetensors file: .*{cause}"):
        mx.load(header(entries, bytes(8)), format="safetensors")


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    for form in FORMS:
        with pytest.raises(FileNotFoundError, match=r"\[load\].*missing") as caught:
            mx.load(tmp_path / f"missing.{form}")
        assert isinstance(caught.value, RuntimeError)  # as in MLX
        path = tmp_path / f"damaged.{form}"
        path.write_bytes(b"hello")
        with pytest.raises(RuntimeError, match="not a valid"):
            mx.load(path)
    with pytest.raises(FileNotFoundError, match=r"\[save\].*nowhere"):
        mx.save(tmp_path / "nowhere" / "x", mx.ones(1))
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(OSError, match="folder"):
        mx.load(tmp_path / "folder.npy")


def test_formats(tmp_path: Path) -> None:
    mx.save(tmp_path / "x.bin", mx.ones(1))
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin.npy"]
    with pytest.raises(ValueError, match="(?i)unknown file format.*foo"):
        mx.load(tmp_path / "x.bin.npy", format="foo")
    with pytest.raises(ValueError, match=r"\[load\].*x"):
        mx.load("x")
    with pytest.raises(ValueError, match=r"\[load\].*format"):
        mx.load(io.BytesIO())
    with pytest.raises(ValueError, match="metadata"):
        mx.load(tmp_path / "x.bin.npy", return_metadata=True)
    with pytest.raises(ValueError, match="not a valid .npz"):
        mx.load(tmp_path / "x.bin.npy", format="npz")


@pytest.mark.parametrize(
    ("call", "error", "cause"),
    [
        (lambda f: mx.save(f, "text"), TypeError, r"\[save\].*arr.* str"),
        (lambda f: mx.save(3, mx.ones(1)), ValueError, "int"),
        (lambda f: mx.load(3), (TypeError, ValueError), r"\[load\].* int"),
        (lambda f: mx.savez(f, mx.ones(1), arr_0=mx.ones(1)), ValueError, "arr_0"),
        (lambda f: mx.savez(f, a=None), TypeError, r"\[savez\].*a.*NoneType"),
        (lambda f: mx.save_safetensors(f, [mx.ones(1)]), TypeError, "list"),
        (lambda f: mx.save_safetensors(f, {1: mx.ones(1)}), TypeError, "1"),
        (lambda f: mx.save_safetensors(f, {}, {"a": 3}), ValueError, "string"),
        (lambda f: mx.save_gguf(f, {"a": mx.array(True)}), ValueError, "bool"),
        (lambda f: mx.save_gguf(f, {}, {"a": None}), TypeError, "a.*NoneType"),
        (lambda f: mx.save_gguf(f, {}, {"a": mx.ones((1, 1))}), ValueError, r"\(1, 1\)"),
    ],
)
def test_wrong_arguments(call: Any, error: Any, cause: str) -> None:
    with pytest.raises(error, match=cause):
        call(io.BytesIO())


def test_nothing_is_written_while_compiling(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        mx.compile(lambda x: mx.save(tmp_path / "x", x))(mx.ones(2))
    assert not list(tmp_path.iterdir())
