"""The GGUF format (versions 2 and 3): typed metadata, then aligned arrays.

Arrays quantized in blocks of 32 (Q4_0, Q4_1, Q8_0) become three: the numbers packed into uint32
as ``quantize`` packs them, ``.scales`` and ``.biases``.  Those in blocks of 256 (Q2_K, Q4_K,
Q6_K) become float16.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from math import prod
from typing import Any

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.base.errors import DamagedFileError
from mlx.base.lazy import numpy as np
from mlx.runtime.io.gguf_blocks import (
    EXPANDED,
    GROUP,
    LARGE_GROUP,
    PACKED,
    expanded,
    unpacked,
)
from mlx.runtime.io.streams import Stored, fill, name_of, new_stored, remaining, write_array

MAGIC = b"GGUF"
ALIGNMENT = 32
STRING, ARRAY = 8, 9
SCALARS: dict[int, Dtype] = {
    0: dt.uint8,
    1: dt.int8,
    2: dt.uint16,
    3: dt.int16,
    4: dt.uint32,
    5: dt.int32,
    6: dt.float32,
    7: dt.bool_,
    10: dt.uint64,
    11: dt.int64,
    12: dt.float64,
}
"""Types of metadata."""
TENSORS: dict[int, Dtype] = {
    0: dt.float32,
    1: dt.float16,
    24: dt.int8,
    25: dt.int16,
    26: dt.int32,
    27: dt.int64,
    28: dt.float64,
    30: dt.bfloat16,
}
_SCALAR_CODES = {dtype: code for code, dtype in SCALARS.items()}
_TENSOR_CODES = {dtype: code for code, dtype in TENSORS.items()}

Metadata = Mapping[str, Any]
"""Strings, lists of strings, and NumPy arrays of at most one axis."""


def writable(dtype: Dtype | None) -> bool:
    """Whether the format has a type for arrays of ``dtype``."""
    return dtype in _TENSOR_CODES


def describable(dtype: Dtype | None) -> bool:
    """Whether the format has a type for metadata of ``dtype``."""
    return dtype in _SCALAR_CODES


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    """A metadata value with its type in front."""
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _text(value)
    if isinstance(value, list):
        head = struct.pack("<IIQ", ARRAY, STRING, len(value))
        return head + b"".join(_text(v) for v in value)
    code = _SCALAR_CODES[dt.from_numpy(value.dtype)]  # type: ignore[index]
    if value.ndim:
        return struct.pack("<IIQ", ARRAY, code, value.size) + value.tobytes()
    return struct.pack("<I", code) + value.tobytes()


def write_gguf(file: Any, arrays: Mapping[str, np.ndarray], metadata: Metadata) -> None:
    """Arrays by name and metadata."""
    parts = [MAGIC, struct.pack("<IQQ", 3, len(arrays), len(metadata))]
    parts += [_text(key) + _value(value) for key, value in metadata.items()]
    at = 0
    for name, values in arrays.items():
        sizes = values.shape[::-1]
        code = _TENSOR_CODES[dt.from_numpy(values.dtype)]  # type: ignore[index]
        parts.append(_text(name) + struct.pack(f"<I{len(sizes)}Q", len(sizes), *sizes))
        parts.append(struct.pack("<IQ", code, at))
        at += -(-values.nbytes // ALIGNMENT) * ALIGNMENT
    header = b"".join(parts)
    file.write(header + bytes(-len(header) % ALIGNMENT))
    for values in arrays.values():
        write_array(file, values)
        file.write(bytes(-values.nbytes % ALIGNMENT))


class _Damaged(ValueError):
    pass


class _Reader:
    """Reads the header, never beyond the end of the file."""

    def __init__(self, file: Any) -> None:
        self.file = file
        self.left = remaining(file) or 0
        self.at = 0

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise _Damaged(f"it is truncated at byte {self.at + self.left}")
        self.left -= count
        self.at += count
        return self.file.read(count)

    def number(self, code: str) -> int:
        return struct.unpack(f"<{code}", self.take(struct.calcsize(code)))[0]

    def text(self) -> str:
        return self.take(self.number("Q")).decode("utf-8", "replace")

    def value(self) -> Any:
        kind = self.number("I")
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            return self._scalars(kind, ())
        kind, count = self.number("I"), self.number("Q")
        if kind == STRING:
            return [self.text() for _ in range(count)]
        return self._scalars(kind, (count,))

    def _scalars(self, kind: int, shape: tuple[int, ...]) -> Stored:
        dtype = SCALARS.get(kind)
        if dtype is None:
            raise _Damaged(f"its metadata has the unknown type {kind}")
        raw = self.take(prod(shape) * dtype.size)
        stored = new_stored(shape, dtype)
        stored.view[...] = np.frombuffer(raw, dtype.numpy).reshape(shape)
        return stored


def read_gguf(file: Any) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Arrays by name, and the metadata: strings, lists of strings, Stored numbers.

    Raises ValueError where the file is damaged or a type of array is unknown.
    """
    where = name_of(file)
    try:
        reader = _Reader(file)
        if reader.take(4) != MAGIC:
            raise _Damaged("it does not start with 'GGUF'")
        version = reader.number("I")
        if version not in (2, 3):
            raise _Damaged(f"it has version {version} of the format")
        tensors, pairs = reader.number("Q"), reader.number("Q")
        metadata = {reader.text(): reader.value() for _ in range(pairs)}
        entries = [_entry(reader) for _ in range(tensors)]
        reader.take(-reader.at % _alignment(metadata) if entries else 0)
        arrays: dict[str, Stored] = {}
        base = file.tell()
        for name, shape, kind, at in entries:
            arrays |= _tensor(file, where, name, shape, kind, base + at)
    except _Damaged as error:
        raise DamagedFileError(f"[load] {where} is not a valid GGUF file: {error}.") from None
    return arrays, metadata


def _alignment(metadata: dict[str, Any]) -> int:
    """Where arrays start: at multiples of this."""
    given = metadata.get("general.alignment")
    if given is None:
        return ALIGNMENT
    if not isinstance(given, Stored) or given.shape or given.view < 1:
        raise _Damaged("its general.alignment is no positive number")
    return int(given.view)


def _entry(reader: _Reader) -> tuple[str, tuple[int, ...], int, int]:
    name, rank = reader.text(), reader.number("I")
    sizes = [reader.number("Q") for _ in range(rank)]
    return name, tuple(reversed(sizes)), reader.number("I"), reader.number("Q")


def _bytes(name: str, shape: tuple[int, ...], kind: int) -> int:
    """Of an array in the file."""
    if kind in TENSORS:
        return prod(shape) * TENSORS[kind].size
    if kind in PACKED:
        group, each = GROUP, PACKED[kind][1]
    elif kind in EXPANDED:
        group, each = LARGE_GROUP, EXPANDED[kind][0]
    else:
        raise _Damaged(f"array {name!r} has type {kind}, which is not supported")
    if not shape or shape[-1] % group:
        raise _Damaged(f"array {name!r} of shape {shape} is not made of blocks of {group}")
    return prod(shape) // group * each


def _tensor(
    file: Any, where: str, name: str, shape: tuple[int, ...], kind: int, at: int
) -> dict[str, Stored]:
    nbytes = _bytes(name, shape, kind)
    file.seek(at)
    if nbytes > (remaining(file) or 0):
        raise _Damaged(f"it is truncated: array {name!r} needs {nbytes} bytes")
    if kind in TENSORS:
        stored = new_stored(shape, TENSORS[kind])
        fill("load", file, where, stored.view)
        return {name: stored}
    block = PACKED[kind][1] if kind in PACKED else EXPANDED[kind][0]
    raw = np.empty((nbytes // block, block), np.uint8)
    fill("load", file, where, raw)
    if kind in EXPANDED:
        return {name: _stored(expanded(kind, raw), shape, dt.float16)}
    words, scales, biases = unpacked(kind, raw)
    rows, groups = shape[:-1], (*shape[:-1], shape[-1] // GROUP)
    stem = name.removesuffix(".weight")
    return {
        name: _stored(words, (*rows, shape[-1] * PACKED[kind][0] // 32), dt.uint32),
        f"{stem}.scales": _stored(scales, groups, dt.float16),
        f"{stem}.biases": _stored(biases, groups, dt.float16),
    }


def _stored(values: np.ndarray, shape: tuple[int, ...], dtype: Dtype) -> Stored:
    stored = new_stored(shape, dtype)
    stored.view[...] = values.reshape(shape)
    return stored
