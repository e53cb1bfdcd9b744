"""Gather and scatter kernels against loops: layouts, dtypes, windows, batch axes, threads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from mlx.array import wrap
from mlx.graph.node import Node
from mlx.primitives.indexing import MODES, Gather, Scatter, ScatterSum
from mlx.primitives.views import inverse, transpose
from mlx.runtime import team

COMBINE = {
    "set": lambda old, new: new,
    "add": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}


def targets(primitive: Any, shape: tuple[int, ...], indices: list[np.ndarray]) -> Iterator[Any]:
    """(batch, index position and last axes, the place they name) in order."""
    first = indices[0].ndim - primitive.behind
    for at in np.ndindex(*indices[0].shape):
        place: list[Any] = [*at[: primitive.batch]]
        place += [slice(None)] * (len(shape) - primitive.batch - primitive.behind)
        place += at[first:]
        for k, axis in enumerate(primitive.axes):
            start = int(indices[k][at]) % shape[axis]
            width = primitive.window and primitive.window[k]
            place[axis] = start if width is None else slice(start, start + width)
        yield (*at[:first], ..., *at[first:]), tuple(place)


def gathered(primitive: Gather, x: np.ndarray, indices: list[np.ndarray]) -> np.ndarray:
    lead, first = primitive.batch, indices[0].ndim - primitive.behind
    ndim, shape = first - lead, indices[0].shape
    out = np.empty((*shape[:first], *primitive.rest(x.shape), *shape[first:]), x.dtype)
    for at, place in targets(primitive, x.shape, indices):
        out[at] = x[place]
    return np.moveaxis(
        out,
        range(lead, lead + ndim),
        range(lead + primitive.position, lead + primitive.position + ndim),
    )


def scattered(
    primitive: Any, mode: str, x: np.ndarray, updates: np.ndarray, indices: list[np.ndarray]
) -> np.ndarray:
    out = x.copy()
    for at, place in targets(primitive, x.shape, indices):
        out[place] = COMBINE[mode](out[place], updates[at])
    return out


class Case:
    """A random case: an array (stored in any order of axes), indices, a window or none."""

    def __init__(self, seed: int) -> None:
        rng = self.rng = np.random.default_rng(seed)
        ndim = int(rng.integers(1, 5))
        shape = [int(n) for n in rng.integers(1, 6, ndim)]
        if rng.random() < 0.4:
            shape[-1] = int(rng.integers(8, 70))
        self.shape = tuple(shape)
        self.batch = int(rng.integers(0, ndim))
        self.behind = int(rng.integers(0, ndim - self.batch))
        inside = range(self.batch, ndim - self.behind)
        count = int(rng.integers(1, len(inside) + 1))
        chosen = rng.choice(inside, count, replace=False)
        self.axes = tuple(sorted(int(a) for a in chosen))
        self.window = None
        if rng.random() < 0.3:
            self.window = tuple(int(rng.integers(1, shape[a] + 1)) for a in self.axes)
        places = tuple(int(n) for n in rng.integers(1, 6, rng.integers(0, 3)))
        if rng.random() < 0.3:
            places = (int(rng.integers(16, 80)),)
        dtype = str(rng.choice(["int32", "int64", "uint32", "uint8", "int8"]))
        self.indices = []
        for k, axis in enumerate(self.axes):
            width = self.window[k] if self.window else 1
            low = -shape[axis] if dtype[0] == "i" and not self.window else 0
            lead, last = shape[: self.batch], shape[ndim - self.behind :]
            found = rng.integers(low, shape[axis] - width + 1, (*lead, *places, *last))
            self.indices.append(found.astype(dtype))
        self.dtype = str(rng.choice(["float32", "float64", "int32", "uint8", "complex64", "int64"]))
        self.values = rng.integers(0, 4, self.shape).astype(self.dtype)

    def node(self) -> Node:
        order = [int(a) for a in self.rng.permutation(len(self.shape))]
        stored = mx.array(self.values.transpose(order), getattr(mx, self.dtype))
        return transpose(stored._node, inverse(order))

    def index_nodes(self) -> list[Node]:
        return [mx.array(i)._node for i in self.indices]

    def updates(self, primitive: Any) -> np.ndarray:
        found = self.indices[0].shape
        first = len(found) - self.behind
        shape = (*found[:first], *primitive.rest(self.shape), *found[first:])
        return self.rng.integers(0, 3, shape).astype(self.dtype)


@pytest.mark.parametrize("seed", range(40))
def test_gather(seed: int) -> None:
    case = Case(seed)
    rest = len(Gather(case.axes, case.batch, 0, case.window, case.behind).rest(case.shape))
    position = int(case.rng.integers(0, rest + 1))
    gather = Gather(case.axes, case.batch, position, case.window, case.behind)
    found = np.asarray(wrap(gather(case.node(), *case.index_nodes())))
    np.testing.assert_array_equal(found, gathered(gather, case.values, case.indices))


@pytest.mark.parametrize("seed", range(40))
def test_scatter(seed: int) -> None:
    case = Case(seed)
    mode = MODES[seed % 3 if case.dtype == "complex64" else seed % 5]
    scatter = Scatter(case.axes, mode, case.batch, case.window, case.behind)
    updates = case.updates(scatter)
    nodes = [mx.array(updates, getattr(mx, case.dtype))._node, *case.index_nodes()]
    found = np.asarray(wrap(scatter(case.node(), *nodes)))
    expected = scattered(scatter, mode, case.values, updates, case.indices)
    np.testing.assert_array_equal(found, expected)
    total = ScatterSum(case.axes, case.shape, case.batch, case.window, case.behind)
    expected = scattered(total, "add", np.zeros_like(case.values), updates, case.indices)
    np.testing.assert_array_equal(np.asarray(wrap(total(*nodes))), expected)


@pytest.mark.parametrize(("count", "width"), [(100_003, 1), (60_000, 3), (20_000, 200)])
def test_sums_do_not_depend_on_threads(count: int, width: int) -> None:
    rng = np.random.default_rng(0)
    index = mx.array(rng.integers(0, 50, count))
    updates = mx.array(rng.standard_normal((count, width)).astype(np.float32))
    results = []
    for threads in (1, 2, 5):
        with team.threads(threads):
            results.append(np.array(mx.zeros((50, width)).at[index].add(updates)))
    assert all(r.tobytes() == results[0].tobytes() for r in results)
    expected = np.zeros((50, width), np.float32)
    np.add.at(expected, np.asarray(index), np.asarray(updates))
    assert results[0].tobytes() == expected.tobytes()  # one after another, in index order


def test_large_copies() -> None:
    x = np.arange(3 * 100_000, dtype=np.float32).reshape(3, 100_000)
    found = mx.array(x)[mx.array([2, 0])]
    np.testing.assert_array_equal(np.asarray(found), x[[2, 0]])


@pytest.mark.parametrize("dtype", ["int8", "float16", "float32", "int64"])
def test_the_last_of_many_updates_stays(dtype: str) -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(-30, 30, 70_000), rng.integers(0, 200, 70_000)
    updates = rng.integers(-100, 100, 70_000)
    expected = np.zeros((30, 200), dtype)
    for row, column, value in zip(rows, columns, updates, strict=True):
        expected[row, column] = value
    for threads in (1, 2, 5):
        with team.threads(threads):
            found = mx.zeros((30, 200), getattr(mx, dtype))
            found[mx.array(rows), mx.array(columns)] = mx.array(updates.astype(dtype))
            np.testing.assert_array_equal(np.array(found), expected)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "complex64"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_along_an_axis(axis: int, dtype: str) -> None:
    rng = np.random.default_rng(2)
    shape = (37, 41, 67)
    x, values = (rng.integers(0, 100, shape).astype(dtype) for _ in range(2))
    index = np.argsort(rng.random(shape), axis)
    found = mx.take_along_axis(mx.array(x), mx.array(index), axis)
    np.testing.assert_array_equal(np.array(found), np.take_along_axis(x, index, axis))
    found = mx.put_along_axis(mx.array(x), mx.array(index), mx.array(values), axis)
    np.put_along_axis(x, index, values, axis)
    np.testing.assert_array_equal(np.array(found), x)


@pytest.mark.parametrize("columns", (1, 8))
@pytest.mark.parametrize("region", (100, 1 << 20))
def test_large_results_keep_the_order_of_indices(columns: int, region: int) -> None:
    """Tasks own pages of them."""
    rng = np.random.default_rng(region + columns)
    base = rng.standard_normal(((1 << 20) + 77, columns)).astype(np.float32)
    index = rng.integers(-region, region, 70001)
    updates = rng.standard_normal((len(index), columns)).astype(np.float32)
    a, i, v = mx.array(base), mx.array(index), mx.array(updates)
    added, last, most = base.copy(), base.copy(), base.copy()
    np.add.at(added, index, updates)
    last[index] = updates
    np.maximum.at(most, index, updates)
    assert np.array_equal(a.at[i].add(v), added)
    assert np.array_equal(a.at[i].maximum(v), most)
    a[i] = v
    assert np.array_equal(a, last)
