"""SciPy's transforms without scaling factors, on several threads.

Its extension module is loaded alone: ``scipy.fft`` takes 0.2 s to import, for the sake of
functions that nobody calls here.  Where SciPy has no such module, ``scipy.fft`` is used.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from typing import Any

from mlx.base.lazy import numpy as np
from mlx.base.lazy import scipy_file, scipy_module

_NAME = "fft._pocketfft.pypocketfft"


@cache
def _extension() -> Any:
    """The module, or None.  A later import of it in the ordinary way finds the same functions."""
    path = scipy_file(_NAME)
    spec = importlib.util.spec_from_file_location(f"scipy.{_NAME}", path) if path else None
    if spec is None or spec.loader is None:
        return None
    try:
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:
        return None
    return module if all(hasattr(module, name) for name in ("c2c", "r2c", "c2r")) else None


def complex_transform(
    out: np.ndarray, x: np.ndarray, axes: tuple[int, ...], inverse: bool, workers: int
) -> None:
    """The transform to complex numbers; ``x``, complex or real, may be ``out`` itself."""
    if (module := _extension()) is not None:
        module.c2c(x, axes, not inverse, 0, out, workers)
        return
    fft = scipy_module("fft")
    if inverse:
        out[...] = fft.ifftn(x, axes=axes, norm="forward", workers=workers)
    else:
        out[...] = fft.fftn(x, axes=axes, workers=workers)


def from_real(out: np.ndarray, x: np.ndarray, axis: int, workers: int) -> None:
    """The first half of the transform of real numbers."""
    if (module := _extension()) is not None:
        module.r2c(x, (axis,), True, 0, out, workers)
    else:
        out[...] = scipy_module("fft").rfft(x, axis=axis, workers=workers)


def to_real(out: np.ndarray, x: np.ndarray, axis: int, workers: int) -> None:
    """As many real numbers as ``out`` has along the axis, from half of their transform."""
    n = out.shape[axis]
    if (module := _extension()) is not None:
        module.c2r(x, (axis,), n, False, 0, out, workers)
    else:
        out[...] = scipy_module("fft").irfft(x, n, axis=axis, norm="forward", workers=workers)
