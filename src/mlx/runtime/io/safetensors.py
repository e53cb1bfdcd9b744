"""The safetensors format: a header in JSON, then the elements of all arrays."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.errors import DamagedFileError
from mlx.base.lazy import LazyModule
from mlx.base.lazy import numpy as np
from mlx.runtime.io.streams import Stored, fill, name_of, new_stored, remaining, write_array

json = LazyModule("json")

LONGEST_HEADER = 100_000_000
"""The format's own limit."""

CODES: dict[str, Dtype] = {
    "BOOL": dt.bool_,
    "U8": dt.uint8,
    "U16": dt.uint16,
    "U32": dt.uint32,
    "U64": dt.uint64,
    "I8": dt.int8,
    "I16": dt.int16,
    "I32": dt.int32,
    "I64": dt.int64,
    "F16": dt.float16,
    "BF16": dt.bfloat16,
    "F32": dt.float32,
    "F64": dt.float64,
    "C64": dt.complex64,
}
_NAMES = {dtype: code for code, dtype in CODES.items()}
_AS_BYTES = {"F8_E4M3": dt.uint8, "F8_E5M2": dt.uint8, "F8_E8M0": dt.uint8}


def write_safetensors(
    file: Any, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]
) -> None:
    """Arrays by name, the widest elements first so that all are aligned."""
    order = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for name in order:
        values = arrays[name]
        dtype = dt.from_numpy(values.dtype)
        assert dtype is not None
        header[name] = {
            "dtype": _NAMES[dtype],
            "shape": list(values.shape),
            "data_offsets": [at, at + values.nbytes],
        }
        at += values.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)))
    file.write(text)
    for name in order:
        write_array(file, arrays[name])


class _Damaged(ValueError):
    pass


def _header(file: Any) -> dict[str, Any]:
    start = file.read(8)
    if len(start) < 8:
        raise _Damaged(f"it has only {len(start)} bytes")
    (length,) = struct.unpack("<Q", start)
    left = remaining(file)
    if length > LONGEST_HEADER or (left is not None and length > left):
        raise _Damaged(f"its header claims {length} bytes")
    text = file.read(length)
    if len(text) < length:
        raise _Damaged("its header is cut off")
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _Damaged(f"its header is no JSON ({error})") from None
    if not isinstance(header, dict):
        raise _Damaged("its header is no JSON object")
    return header


def _entry(name: str, entry: Any) -> tuple[int, int, tuple[int, ...], Dtype]:
    """(start, stop, shape, dtype) of one array."""
    try:
        start, stop = entry["data_offsets"]
        shape, code = tuple(entry["shape"]), entry["dtype"]
    except (TypeError, KeyError, ValueError):
        raise _Damaged(f"its entry {name!r} is incomplete") from None
    dtype = CODES.get(code) or _AS_BYTES.get(code)
    if dtype is None:
        raise _Damaged(f"array {name!r} has the unknown dtype {code!r}")
    if not all(type(n) is int and n >= 0 for n in (start, stop, *shape)):
        raise _Damaged(f"its entry {name!r} has shape {shape} and offsets {start}, {stop}")
    if stop - start != prod(shape) * dtype.size:
        raise _Damaged(f"array {name!r} of shape {shape} has {stop - start} bytes")
    return start, stop, shape, dtype


def read_safetensors(file: Any) -> tuple[dict[str, Stored], dict[str, str]]:
    """Arrays by name, in the header's order, and the metadata.

    Raises ValueError where the file is damaged.
    """
    where = name_of(file)
    try:
        header = _header(file)
        metadata = header.pop("__metadata__", None) or {}
        if not isinstance(metadata, dict):
            raise _Damaged("its metadata is no JSON object")
        entries = {name: _entry(name, entry) for name, entry in header.items()}
        found = _read(file, where, entries)
    except _Damaged as error:
        raise DamagedFileError(
            f"[load] {where} is not a valid safetensors file: {error}."
        ) from None
    return {name: found[name] for name in entries}, {str(k): str(v) for k, v in metadata.items()}


def _read(file: Any, where: str, entries: dict[str, Any]) -> dict[str, Stored]:
    left = remaining(file)
    at, found = 0, {}
    for name, (start, stop, shape, dtype) in sorted(entries.items(), key=lambda e: e[1][:2]):
        if start != at:
            raise _Damaged(f"array {name!r} starts at byte {start} in place of {at}")
        if left is not None and stop > left:
            raise _Damaged(f"it is truncated: array {name!r} ends at byte {stop} of {left}")
        found[name] = new_stored(shape, dtype)
        fill("load", file, where, found[name].view)
        at = stop
    return found
