"""NumPy's formats: .npy, and .npz, which is a zip of them.  bfloat16 is stored as ``<V2``."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.errors import DamagedFileError
from mlx.base.lazy import LazyModule
from mlx.base.lazy import numpy as np
from mlx.runtime.io.streams import Stored, fill, name_of, new_stored, remaining, write_array

if TYPE_CHECKING:
    import zipfile
else:
    zipfile = LazyModule("zipfile")

_READERS = {(1, 0): "read_array_header_1_0", (2, 0): "read_array_header_2_0"}


def _description(dtype: Dtype) -> str:
    return "<V2" if dtype is dt.bfloat16 else dtype.numpy.newbyteorder("<").str


def write_npy(file: Any, values: np.ndarray) -> None:
    """One array.

    The numbers must have the layout of one of our dtypes.
    """
    dtype = dt.from_numpy(values.dtype)
    assert dtype is not None
    header = {"descr": _description(dtype), "fortran_order": False, "shape": values.shape}
    np.lib.format.write_array_header_1_0(file, header)
    write_array(file, values)


def _header(file: Any, where: str) -> tuple[tuple[int, ...], bool, np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        reader = _READERS.get(version)
        if reader is None:
            raise ValueError(f"it has version {version} of the format")
        return getattr(np.lib.format, reader)(file)
    except Exception as error:  # NumPy's parser lets through whatever a damaged text causes
        raise DamagedFileError(f"[load] {where} is not a valid .npy file: {error}.") from None


def _dtype(found: np.dtype, where: str) -> Dtype:
    if found.hasobject:
        raise ValueError(
            f"[load] {where} holds Python objects, which would have to be unpickled; that is "
            "never done. Save it as an array of numbers."
        )
    if found == np.dtype("V2"):
        return dt.bfloat16
    known = dt.from_numpy(found.newbyteorder("="))
    if known is None:
        raise ValueError(f"[load] {where} has elements of type {found}, which no array can hold.")
    return known


def read_npy(file: Any, where: str | None = None, available: int | None = None) -> Stored:
    """The array of a .npy file.

    Raises ValueError where the file is damaged or holds no numbers.
    """
    where = where or name_of(file)
    shape, is_fortran, found = _header(file, where)
    dtype = _dtype(found, where)
    if any(n < 0 for n in shape):
        raise ValueError(f"[load] {where} is damaged: it has the shape {shape}.")
    if available is None:
        available = remaining(file)
    if available is not None and prod(shape) * dtype.size > available:
        raise ValueError(
            f"[load] {where} is truncated: {dtype.name} of shape {shape} needs "
            f"{prod(shape) * dtype.size} bytes, {available} are there."
        )
    stored = new_stored(shape, dtype)
    if is_fortran and len(shape) > 1:
        turned = np.empty(shape[::-1], dtype.numpy)
        fill("load", file, where, turned)
        stored.view[...] = turned.T
    else:
        fill("load", file, where, stored.view)
    if found.byteorder == ">":
        stored.view.byteswap(inplace=True)
    return stored


def write_npz(file: Any, arrays: Mapping[str, np.ndarray], compress: bool) -> None:
    """Several arrays by name."""
    method = zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED
    with zipfile.ZipFile(file, "w", method, allowZip64=True) as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                write_npy(member, values)


@contextlib.contextmanager
def _archive(file: Any, where: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise DamagedFileError(f"[load] {where} is not a valid .npz file: {error}.") from None


def read_npz(file: Any) -> dict[str, Stored]:
    """The arrays of a .npz file by name."""
    where = name_of(file)
    found = {}
    with _archive(file, where) as archive:
        for info in archive.infolist():
            with archive.open(info) as member:
                stored = read_npy(member, f"{info.filename} in {where}", info.file_size)
                member.read(1)  # zipfile checks the checksum at the end
            found[info.filename.removesuffix(".npy")] = stored
    return found
