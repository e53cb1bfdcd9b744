"""Updates write into the array they update: bytes are counted, and other holders keep theirs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
from mlx.runtime import profile

SHAPE = (256, 64, 32)
NBYTES = 256 * 64 * 32 * 4


class Held:
    """An array that only an attribute refers to, as a cache or a parameter is held."""

    def __init__(self) -> None:
        self.array = mx.random.uniform(shape=SHAPE, key=mx.random.key(1))
        mx.eval(self.array)

    def copied(self, update: Callable[[Held], object]) -> int:
        """The bytes that kernels moved while an update was evaluated."""
        update(self)
        with profile.recording() as found:
            mx.eval(self.array)
        return sum(kernel.bytes for kernel in found.kernels)


def _set_slice(held: Held) -> None:
    held.array[:, 5:6] = mx.ones((256, 1, 32))


def _set_row(held: Held) -> None:
    held.array[7] = 1.5


def _set_strided(held: Held) -> None:
    held.array[::64, :2] = 2.0


def _set_indexed(held: Held) -> None:
    held.array[mx.array([3, -1, 3])] = mx.ones((3, 64, 32))


def _set_two_indexed(held: Held) -> None:
    held.array[mx.array([3, 1]), mx.array([0, 63])] = 4.0


def _add(held: Held) -> None:
    held.array = held.array.at[mx.array([3, 1, 3])].add(1.0)


def _chain(held: Held) -> None:
    for i in range(6):
        held.array[i] = i
    held.array[mx.array([8, 9])] += 1
    held.array = held.array.at[mx.array([9])].multiply(3.0)
    held.array[:, 3] = 0


def _put(held: Held) -> None:
    places = mx.zeros((256, 64, 1), dtype=mx.int32) + 3
    held.array = mx.put_along_axis(held.array, places, mx.array(2.0), axis=-1)


def _start(held: Held) -> None:
    held.array = mx.slice_update(held.array, mx.ones((1, 64, 32)), mx.array([9]), (0,))


UPDATES = [
    _set_slice, _set_row, _set_strided, _set_indexed, _set_two_indexed, _add, _chain, _put, _start,
]  # fmt: skip


def _expected(update: Callable[[Held], None]) -> np.ndarray:
    """The update's result where the old array is kept."""
    held = Held()
    old = mx.array(held.array)
    before = np.array(old)
    update(held)
    result = np.array(held.array)
    assert (np.asarray(old) == before).all()
    return result


@pytest.mark.parametrize("update", UPDATES)
def test_only_the_update_is_written(update: Callable[[Held], None]) -> None:
    held = Held()
    assert held.copied(update) < NBYTES // 2
    assert (np.asarray(held.array) == _expected(update)).all()


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("kind", ["handle", "node", "view", "export", "graph"])
def test_other_holders_keep_their_values(update: Callable[[Held], None], kind: str) -> None:
    expected = _expected(update)
    held = Held()
    before = np.array(held.array)
    other: object = {
        "handle": lambda: mx.array(held.array),
        "node": lambda: held.array,
        "view": lambda: held.array.reshape(-1),
        "export": lambda: np.asarray(held.array),
        "graph": lambda: held.array * 1,
    }[kind]()
    if kind == "node":
        held.array = held.array[...]
    if kind == "view":
        mx.eval(other)
    update(held)
    mx.eval(held.array)
    assert (np.asarray(held.array) == expected).all()
    assert (np.asarray(other).reshape(-1) == before.reshape(-1)).all()


def test_a_chain_of_new_arrays_copies_nothing() -> None:
    def build() -> mx.array:
        a = mx.zeros(SHAPE)
        for i in range(10):
            a[i] = float(i)
        return a.at[mx.array([0, 1])].add(1.0)

    moved = sum(kernel.bytes for kernel in mx.explain(build).kernels)
    assert moved < 1.5 * NBYTES
    assert np.asarray(build())[:4, 0, 0].tolist() == [1, 2, 2, 3]


def test_the_peak_is_one_array() -> None:
    held = Held()
    mx.clear_cache()
    mx.reset_peak_memory()
    start = mx.get_active_memory()
    for i in range(5):
        held.array[:, i] = i
        mx.eval(held.array)
    assert mx.get_peak_memory() - start < NBYTES // 4


def test_an_update_from_the_array_itself() -> None:
    a = mx.arange(8).astype(mx.float32)
    a[1:] = a[:-1]
    assert a.tolist() == [0, 0, 1, 2, 3, 4, 5, 6]
    b = mx.zeros((4,)) + mx.arange(4)
    b[mx.array([0, 1])] = b[2:]
    b[2:] = b[:2] * 10
    assert b.tolist() == [2, 3, 20, 30]


def test_the_old_value_is_read_after_the_update() -> None:
    a = mx.arange(6) * 2
    old = mx.array(a)
    a = a.at[2].add(100)
    total = (old * a).sum()
    assert total.item() == sum(x * x for x in range(0, 12, 2)) + 400


def test_compiled_with_state() -> None:
    held = Held()
    state = {"cache": held.array}
    del held.array

    @mx.compile
    def plain(cache: mx.array, row: mx.array) -> mx.array:
        cache[3] = row
        return cache

    def step(row: mx.array) -> mx.array:
        state["cache"][2:3] = row
        state["cache"][mx.array([1, 0])] = row * 2
        return row.sum()

    compiled = mx.compile(step, inputs=state, outputs=state)
    row = mx.ones((1, 64, 32))
    expected = np.array(state["cache"])
    for _ in range(3):
        mx.eval(compiled(row), state)
        expected[2:3] = 1
        expected[:2] = 2
    assert (np.asarray(state["cache"]) == expected).all()
    mx.clear_cache()
    mx.reset_peak_memory()
    start = mx.get_active_memory()
    moved = sum(k.bytes for k in mx.explain(lambda: compiled(row)).kernels)
    mx.eval(state)
    assert mx.get_peak_memory() - start < NBYTES // 4 and moved < NBYTES // 2
    kept = mx.array(state["cache"])
    assert (np.asarray(plain(state["cache"], row[0]))[3] == 1).all()
    assert (np.asarray(kept)[3] != 1).any()


@pytest.mark.parametrize("compiled", [False, True])
def test_a_bad_index_changes_nothing(compiled: bool) -> None:
    """Checks come before the first write, those of later updates too."""
    held = Held()
    state = [held.array]
    del held.array
    before = np.array(state[0])

    def step(good: mx.array, bad: mx.array) -> None:
        state[0][0] = 1.0
        state[0] = state[0].at[good].add(1.0)
        state[0][bad] = 2.0

    run = mx.compile(step, inputs=state, outputs=state) if compiled else step
    old_size = mx.get_active_memory()
    with pytest.raises(IndexError, match="out of bounds for an axis of size 256"):
        keep = mx.array(state[0]) if not compiled else None
        run(mx.array([1, 2]), mx.array([5, 256]))
        mx.eval(state)
    if compiled:  # a failed step leaves the state as it was
        assert (np.asarray(state[0]) == before).all()
        run(mx.array([1, 2]), mx.array([5]))
        mx.eval(state)
        assert mx.get_active_memory() < old_size + NBYTES // 2
        assert (np.asarray(state[0])[5] == 2).all()
    else:
        assert keep is not None and (np.asarray(keep) == before).all()


def test_growing_caches() -> None:
    """Keys and values of one size, written a step at a time and read through a slice."""

    class Cache:
        keys = mx.zeros((1, 4, 512, 64))
        values = mx.zeros((1, 4, 512, 64))

    cache = Cache()
    cache.keys, cache.values = mx.zeros((1, 4, 512, 64)), mx.zeros((1, 4, 512, 64))
    mx.eval(cache.keys, cache.values)

    def step(n: int) -> mx.array:
        new = mx.ones((1, 4, 1, 64)) * n
        cache.keys[..., n : n + 1, :] = new
        cache.values[..., n : n + 1, :] = new + 1
        scores = new @ cache.keys[..., : n + 1, :].swapaxes(-1, -2)
        return scores @ cache.values[..., : n + 1, :]

    for n in range(3):
        mx.eval(step(n))
    found = mx.explain(lambda: step(3))
    assert sum(k.bytes for k in found.kernels) < 4 * 512 * 64 * 4 // 2
    assert np.asarray(cache.values)[0, 0, :5, 0].tolist() == [1, 2, 3, 4, 0]
