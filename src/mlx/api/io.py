"""Saving and loading arrays: npy, npz, safetensors and GGUF.

>>> import mlx.core as mx
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any

from mlx.array import array, wrap
from mlx.array.values import numpy_of, value_node
from mlx.base.dtype import from_numpy
from mlx.base.errors import DtypeError
from mlx.base.lazy import LazyModule
from mlx.base.lazy import numpy as np
from mlx.runtime.evaluate import evaluate

if TYPE_CHECKING:
    from mlx.runtime import io
    from mlx.runtime.io import gguf
else:
    io = LazyModule("mlx.runtime.io")
    gguf = LazyModule("mlx.runtime.io.gguf")

File = str | os.PathLike[str] | IO[bytes]


def _values(name: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Evaluated arrays by name."""
    made: dict[str, array] = {}
    for key, value in arrays.items():
        if not isinstance(key, str):
            raise TypeError(f"[{name}] Names must be strings, got {key!r}.")
        if isinstance(value, (str, bytes, dict)) or value is None:
            raise TypeError(f"[{name}] {key} must be an array, got {type(value).__name__}.")
        made[key] = value if isinstance(value, array) else array(value)
    evaluate([a._node for a in made.values()])
    return {key: numpy_of(a._node) for key, a in made.items()}


def save(file: File, arr: array) -> None:
    """Write an array to a .npy file; the extension is appended where it is missing.

    Raises OSError where the file can't be written; an existing one is then left as it was.

    >>> import io
    >>> file = io.BytesIO()
    >>> mx.save(file, mx.array([1, 2]))
    >>> _ = file.seek(0)
    >>> mx.load(file, format="npy")
    array([1, 2], dtype=int32)
    """
    values = _values("save", {"arr": arr})["arr"]
    with io.writing("save", file, ".npy") as opened:
        io.write_npy(opened, values)


def _savez(name: str, file: File, args: Any, kwargs: Any, compress: bool) -> None:
    arrays = dict(kwargs)
    for number, value in enumerate(args):
        key = f"arr_{number}"
        if key in arrays:
            raise ValueError(f"[{name}] The name {key} is that of a positional array, too.")
        arrays[key] = value
    values = _values(name, arrays)
    with io.writing(name, file, ".npz") as opened:
        io.write_npz(opened, values, compress)


def savez(file: File, *args: array, **kwargs: array) -> None:
    """Write arrays to a .npz file under their keywords, or arr_0, arr_1, ... by position.

    Raises OSError where the file can't be written; an existing one is then left as it was.
    """
    _savez("savez", file, args, kwargs, False)


def savez_compressed(file: File, *args: array, **kwargs: array) -> None:
    """Like :func:`savez`, compressed."""
    _savez("savez_compressed", file, args, kwargs, True)


def _dictionary(name: str, what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(f"[{name}] {what} must be a dictionary, got {type(value).__name__}.")
    return value


def save_safetensors(
    file: File, arrays: dict[str, array], metadata: dict[str, str] | None = None
) -> None:
    """Write named arrays, and strings about them, to a .safetensors file.

    Raises ValueError where metadata are no strings and OSError where the file can't be written;
    an existing one is then left as it was.

    >>> import io
    >>> file = io.BytesIO()
    >>> mx.save_safetensors(file, {"w": mx.ones(2)}, {"epoch": "3"})
    >>> _ = file.seek(0)
    >>> mx.load(file, format="safetensors", return_metadata=True)
    ({'w': array([1, 1], dtype=float32)}, {'epoch': '3'})
    """
    name = "save_safetensors"
    about = _dictionary(name, "metadata", metadata or {})
    if not all(isinstance(text, str) for item in about.items() for text in item):
        raise ValueError(f"[{name}] Metadata must be a dictionary with string keys and values.")
    values = _values(name, _dictionary(name, "arrays", arrays))
    if "__metadata__" in values:
        raise ValueError(f"[{name}] No array may be named __metadata__.")
    with io.writing(name, file, ".safetensors") as opened:
        io.write_safetensors(opened, values, about)


def save_gguf(
    file: File,
    arrays: dict[str, array],
    metadata: dict[str, array | str | list[str]] | None = None,
) -> None:
    """Write named arrays, and numbers, strings and lists of strings about them, to a .gguf file.

    Raises ValueError for dtypes that the format lacks and OSError where the file can't be
    written; an existing one is then left as it was.
    """
    name = "save_gguf"
    values = _values(name, _dictionary(name, "arrays", arrays))
    about = {
        key: _metadata(key, value)
        for key, value in _dictionary(name, "metadata", metadata or {}).items()
    }
    for key, value in values.items():
        if not gguf.writable(from_numpy(value.dtype)):
            known = ", ".join(d.name for d in gguf.TENSORS.values())
            raise DtypeError(
                f"[{name}] dtype {value.dtype} of {key} is not supported, only {known}."
            )
    with io.writing(name, file, ".gguf") as opened:
        io.write_gguf(opened, values, about)


def _metadata(key: str, value: Any) -> str | list[str] | np.ndarray:
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return list(value)
    found = _values("save_gguf", {key: value})[key]
    if found.ndim > 1 or not gguf.describable(from_numpy(found.dtype)):
        raise ValueError(
            f"[save_gguf] Metadata {key} must have at most one dimension and be bool, integers, "
            f"float32 or float64; got {found.dtype} of shape {found.shape}."
        )
    return found


# -- loading -------------------------------------------------------------------------------

_FORMATS = ("npy", "npz", "safetensors", "gguf")


def _format_of(file: Any, given: str | None) -> str:
    """One of the formats."""
    if isinstance(file, (str, os.PathLike)):
        name = os.fspath(file)
    elif hasattr(file, "read"):
        name = str(getattr(file, "name", "the file"))
    else:
        raise TypeError(
            "[load] Input must be a path or a file opened in binary mode, got "
            f"{type(file).__name__}."
        )
    found = given if given is not None else os.path.splitext(name)[1][1:]
    if found in _FORMATS:
        return found
    if given is not None:
        raise ValueError(f"[load] Unknown file format {given}; choose from {', '.join(_FORMATS)}.")
    raise ValueError(
        f"[load] Could not infer file format from extension of {name}; name one of "
        f"{', '.join(_FORMATS)} as format."
    )


def load(
    file: File,
    /,
    format: str | None = None,
    return_metadata: bool = False,
    *,
    stream: Any = None,
) -> Any:
    """The array of a .npy file, or the arrays by name of an .npz, .safetensors or .gguf file.

    The format follows from the extension unless it is given.  With ``return_metadata`` the
    result for the last two is a pair of arrays and metadata.  Python objects are never
    unpickled.  Raises ValueError for an unknown format and for files that are damaged or hold
    no numbers, and OSError for those that can't be read.
    """
    kind = _format_of(file, format)
    if return_metadata and kind in ("npy", "npz"):
        raise ValueError(f"[load] metadata not supported for format {kind}.")
    with io.reading("load", file) as opened:
        if kind == "npy":
            return _array(io.read_npy(opened))
        if kind == "npz":
            return _arrays(io.read_npz(opened))
        read = io.read_safetensors if kind == "safetensors" else io.read_gguf
        values, metadata = read(opened)
    arrays = _arrays(values)
    if not return_metadata:
        return arrays
    return arrays, {
        key: _array(value) if isinstance(value, io.Stored) else value
        for key, value in metadata.items()
    }


def _array(stored: io.Stored) -> array:
    return wrap(value_node(stored.shape, stored.dtype, stored.buffer))


def _arrays(found: Mapping[str, io.Stored]) -> dict[str, array]:
    return {key: _array(stored) for key, stored in found.items()}
