"""The promised order of summation, step by step in NumPy."""

from __future__ import annotations

import numpy as np


def fma32(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """a * b + c in float32 with one rounding: exact product, sum rounded to odd in float64."""
    product = a.astype(np.float64) * b.astype(np.float64)
    addend = c.astype(np.float64)
    total = product + addend
    back = total - product
    error = (product - (total - back)) + (addend - back)
    even = (total.view(np.int64) & 1) == 0
    direction = np.where(error > 0, np.inf, -np.inf)
    odd = np.where((error != 0) & even, np.nextafter(total, direction), total)
    return odd.astype(np.float32)


def chain(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[m, k] by [k, n]: one chain of FMAs over k for each element."""
    total = np.zeros((a.shape[0], b.shape[1]), np.float32)
    for k in range(a.shape[1]):
        left, right = np.broadcast_arrays(a[:, k : k + 1], b[k : k + 1, :])
        total = fma32(left, right, total)
    return total


def chunked(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[m, k] by [k, n], few elements and a long k: chains of chunks of k, added in turn."""
    k = a.shape[1]
    step = k // min(k // 1024, 16) // 16 * 16
    parts = [chain(a[:, i : i + step], b[i : i + step]) for i in range(0, k, step)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def reduction(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """[n, k] by [k]: chunks of 65,536, 32 lanes, pairwise trees."""
    chunks = [_chunk(w[:, k : k + 65536], x[k : k + 65536]) for k in range(0, len(x), 65536)]
    while len(chunks) > 1:
        pairs = [chunks[i] + chunks[i + 1] for i in range(0, len(chunks) - 1, 2)]
        chunks = pairs + chunks[len(pairs) * 2 :]
    return chunks[0] if chunks else np.zeros(w.shape[0], np.float32)


def _chunk(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    lanes = np.zeros((w.shape[0], 32), np.float32)
    for k in range(0, len(x), 32):
        part = w[:, k : k + 32]
        width = part.shape[1]
        lanes[:, :width] = fma32(part, np.broadcast_to(x[k : k + 32], part.shape), lanes[:, :width])
    while lanes.shape[1] > 1:
        half = lanes.shape[1] // 2
        lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]
