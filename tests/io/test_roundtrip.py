"""Every format round trips, agrees with its usual package, and reads what MLX wrote."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import mlx.core as mx
from mlx.base.dtype import ALL

RECORDED = Path(__file__).parent / "recorded"
SHAPES = [(), (1,), (0,), (2, 3), (0, 3), (2, 1, 4)]
SAVERS = {"npz": mx.savez, "npz2": mx.savez_compressed}


def arrays_of(dtype: Any) -> dict[str, mx.array]:
    out = {}
    for number, shape in enumerate(SHAPES):
        size = int(np.prod(shape))
        out[f"a{number}"] = (mx.arange(size).reshape(shape) - 2).astype(dtype)
    return out


def same(got: mx.array, want: mx.array) -> None:
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    np.testing.assert_array_equal(np.array(got), np.array(want))


@pytest.mark.parametrize("dtype", ALL, ids=lambda d: d.name)
def test_every_dtype_and_shape(dtype: Any, tmp_path: Path) -> None:
    arrays = arrays_of(dtype)
    for name, value in arrays.items():
        mx.save(tmp_path / name, value)
        same(mx.load(str(tmp_path / f"{name}.npy")), value)
    mx.savez(str(tmp_path / "z"), **arrays)
    mx.savez_compressed(tmp_path / "c.npz", **arrays)
    mx.save_safetensors(str(tmp_path / "s"), arrays, {"k": "v"})
    for file in ("z.npz", "c.npz", "s.safetensors"):
        found = mx.load(str(tmp_path / file))
        assert found.keys() == arrays.keys()
        for name, value in arrays.items():
            same(found[name], value)
    assert mx.load(tmp_path / "s.safetensors", return_metadata=True)[1] == {"k": "v"}


def test_numpy_reads_and_is_read(tmp_path: Path) -> None:
    x = mx.arange(12.0).reshape(3, 4)
    mx.save(tmp_path / "x", x)
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy"), np.array(x))
    mx.savez(tmp_path / "x", x, y=x + 1)
    with np.load(tmp_path / "x.npz") as found:
        np.testing.assert_array_equal(found["y"], np.array(x + 1))
        assert set(found) == {"arr_0", "y"}
    for name, values in {
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "big": np.arange(5, dtype=">f4"),
        "double": np.linspace(0, 1, 3),
    }.items():
        np.save(tmp_path / name, values)
        got = np.array(mx.load(tmp_path / f"{name}.npy"))
        assert got.dtype == values.dtype.newbyteorder("=")
        np.testing.assert_array_equal(got, values)


def test_safetensors_package_reads_and_is_read(tmp_path: Path) -> None:
    names = ("float32", "float16", "bfloat16", "int64", "bool", "uint8", "float64")
    arrays = {d.name: mx.arange(5).astype(d) for d in ALL if d.name in names}
    mx.save_safetensors(tmp_path / "a", arrays)
    for name, values in safetensors.numpy.load_file(tmp_path / "a.safetensors").items():
        assert values.dtype == np.array(arrays[name]).dtype
        np.testing.assert_array_equal(values, np.array(arrays[name]))
    written = {"b": np.arange(4).astype(ml_dtypes.bfloat16), "f": np.ones((2, 3))}
    safetensors.numpy.save_file(written, tmp_path / "b.safetensors")
    for name, value in mx.load(tmp_path / "b.safetensors").items():
        np.testing.assert_array_equal(np.array(value), written[name])


def test_gguf(tmp_path: Path) -> None:
    dtypes = [mx.float32, mx.float16, mx.bfloat16, mx.int8, mx.int32, mx.int64, mx.float64]
    arrays = {d.name: mx.arange(6).reshape(2, 3).astype(d) for d in dtypes}
    arrays |= {"scalar": mx.array(2.0), "empty": mx.zeros((0, 3))}
    metadata = {"s": "é", "l": ["a", ""], "n": mx.array(7, mx.uint64), "v": mx.array([True, False])}
    mx.save_gguf(tmp_path / "m", arrays, metadata)
    found, described = mx.load(tmp_path / "m.gguf", return_metadata=True)
    assert found.keys() == arrays.keys() and described.keys() == metadata.keys()
    for name, value in arrays.items():
        same(found[name], value)
    assert (described["s"], described["l"]) == ("é", ["a", ""])
    same(described["n"], metadata["n"])
    same(described["v"], metadata["v"])


def test_file_objects(tmp_path: Path) -> None:
    x = mx.arange(3)
    for save, form in [
        (lambda f: mx.save(f, x), "npy"),
        (lambda f: mx.savez(f, x=x), "npz"),
        (lambda f: mx.save_safetensors(f, {"x": x}), "safetensors"),
        (lambda f: mx.save_gguf(f, {"x": x}), "gguf"),
    ]:
        file = io.BytesIO()
        save(file)
        file.seek(0)
        found = mx.load(file, format=form)
        same(found if form == "npy" else found["x"], x)
        with open(tmp_path / f"x.{form}", "wb") as opened:
            save(opened)
        with open(tmp_path / f"x.{form}", "rb") as opened:  # the suffix of its name tells
            found = mx.load(opened)
        same(found if form == "npy" else found["x"], x)


def test_two_arrays_in_one_file() -> None:
    file = io.BytesIO()
    mx.save(file, mx.arange(3))
    mx.save(file, mx.ones(2))
    file.seek(0)
    same(mx.load(file, format="npy"), mx.arange(3))
    same(mx.load(file, format="npy"), mx.ones(2))


def recorded() -> dict[str, np.ndarray]:
    rows = np.arange(6, dtype=np.int32).reshape(2, 3)
    return {
        "int": rows,
        "half": (rows / 4).astype(ml_dtypes.bfloat16),
        "turned": rows.astype(np.float32).T,
        "flag": rows > 2,
        "scalar": np.float32(2.5),
    }


def test_files_of_mlx() -> None:
    wanted = recorded()
    for name, value in wanted.items():
        np.testing.assert_array_equal(np.array(mx.load(RECORDED / f"{name}.npy")), value)
    for file in ("several.npz", "compressed.npz", "model.safetensors", "model.gguf"):
        found = mx.load(RECORDED / file)
        for name in wanted.keys() & found.keys() if "gguf" in file else wanted:
            got = np.array(found[name])
            assert got.dtype == wanted[name].dtype
            np.testing.assert_array_equal(got, wanted[name])
    np.testing.assert_array_equal(
        np.array(mx.load(RECORDED / "several.npz")["arr_0"]), wanted["int"]
    )
    assert mx.load(RECORDED / "model.safetensors", return_metadata=True)[1] == {"step": "3"}
    _, metadata = mx.load(RECORDED / "model.gguf", return_metadata=True)
    assert (metadata["name"], metadata["words"]) == ("model", ["a", "b"])
    assert (metadata["step"].item(), metadata["row"].tolist()) == (3, [0, 1])


def test_a_path_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    mx.save(path, mx.arange(3))
    os.chmod(path, 0o640)
    link = tmp_path / "link.npy"
    link.symlink_to(path)
    mx.save(link, mx.arange(4))
    assert link.is_symlink() and mx.load(path).shape == (4,)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.npy", "x.npy"]


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "x.safetensors"
    mx.save_safetensors(path, {"a": mx.arange(3)})

    def no_space(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", no_space)
    with pytest.raises(OSError, match=r"\[save_safetensors\] No space left.*x.safetensors"):
        mx.save_safetensors(path, {"a": mx.arange(9)})
    assert mx.load(path)["a"].shape == (3,)
    assert [p.name for p in tmp_path.iterdir()] == ["x.safetensors"]
