"""Resampling by whole matrices, and windows one after the other."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mlx.primitives.resample import Axis, table
from tests.reference.primitives import reference


def _matrix(axis: Axis) -> np.ndarray:
    bands, size = table(axis), axis[2] if axis[-1] else axis[1]
    matrix = np.zeros((len(bands), size))
    for row, (first, weights) in zip(matrix, bands, strict=True):
        row[first : first + len(weights)] = weights
    return matrix


@reference("Resample")
def _resample(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    result = x.astype(np.float64)
    for at, axis in enumerate(p.axes, 1):
        result = np.moveaxis(np.tensordot(_matrix(axis), result, (1, at)), 0, at)
    return (result * p.scale).astype(x.dtype)


def _windows(axes: Sequence[Axis]) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    """Indices of each window's value and of its elements."""
    every = []
    for _, size, count, step, origin, width, _ in axes:
        starts = [int(i * step + origin) for i in range(count)]
        every.append([slice(max(s, 0), min(s + int(width), size)) for s in starts])
    for at in itertools.product(*(range(len(slices)) for slices in every)):
        inside = (slices[i] for slices, i in zip(every, at, strict=True))
        yield (slice(None), *at), (slice(None), *inside)


def _share(p: Any, x: np.ndarray, best: np.ndarray, inside: Any, at: Any) -> np.ndarray:
    """1 where an element equals its window's largest, divided by how many do."""
    hits = x[inside] == best[at].reshape(x.shape[0], *(1,) * len(p.axes), x.shape[-1])
    axes = tuple(range(1, x.ndim - 1))
    with np.errstate(invalid="ignore"):
        return hits / hits.sum(axes, keepdims=True)


@reference("WindowMax")
def _window_max(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    found = np.full(node.shape, -np.inf, x.dtype)
    for at, inside in _windows(p.axes):
        found[at] = x[inside].max(tuple(range(1, x.ndim - 1)), initial=-np.inf)
    return found


@reference("WindowMaxShare")
def _window_max_share(
    p: Any, node: Any, x: np.ndarray, best: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    found = np.zeros(x.shape, np.float64)
    for at, inside in _windows(p.axes):
        cotangent = moved[at].astype(np.float64)
        wide = cotangent.reshape(x.shape[0], *(1,) * len(p.axes), x.shape[-1])
        found[inside] += wide * _share(p, x, best, inside, at)
    return found.astype(x.dtype)


@reference("WindowMaxPick")
def _window_max_pick(
    p: Any, node: Any, x: np.ndarray, best: np.ndarray, moved: np.ndarray
) -> np.ndarray:
    found = np.zeros(best.shape, np.float64)
    for at, inside in _windows(p.axes):
        picked = moved[inside].astype(np.float64) * _share(p, x, best, inside, at)
        found[at] = picked.sum(tuple(range(1, x.ndim - 1)))
    return found.astype(x.dtype)
