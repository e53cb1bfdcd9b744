"""Allocation beyond the limit raises MemoryError; memory is accounted for afterwards."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator

import numpy as np
import pytest

import mlx.core as mx

BIG = 1 << 40


@pytest.fixture
def limit() -> Iterator[Callable[[int], None]]:
    before = mx.get_memory_limit()
    yield mx.set_memory_limit
    mx.set_memory_limit(before)


HUGE: dict[str, Callable[[], mx.array]] = {
    "zeros": lambda: mx.zeros((BIG,)),
    "beyond 63 bits": lambda: mx.ones((1 << 62, 1 << 4)) + 1,
    "beyond 64 bits": lambda: mx.zeros((BIG, BIG)),
    "arange": lambda: mx.arange(1 << 45),
    "outer": lambda: mx.outer(mx.ones(1 << 20), mx.ones(1 << 20)),
    "matmul": lambda: mx.ones((1 << 20, 1)) @ mx.ones((1, 1 << 20)),
    "broadcast": lambda: mx.broadcast_to(mx.ones((3,)), (1 << 50, 3)).sum(axis=1),
    "random": lambda: mx.random.normal((BIG,)),
    "window": lambda: mx.blackman(BIG),
    "sort": lambda: mx.sort(mx.zeros((BIG,))),
    "cumsum": lambda: mx.cumsum(mx.zeros((1 << 50,))),
    "take": lambda: mx.take(mx.ones(3), mx.zeros((BIG,), mx.int32)),
    "pad": lambda: mx.pad(mx.ones(3), (0, BIG)),
    "fft": lambda: mx.fft.fft(mx.ones(3), n=BIG),
    "compiled": lambda: mx.compile(lambda x: mx.broadcast_to(x, (BIG,)) * 2)(mx.array(1.0)),
}


@pytest.mark.parametrize("use", [mx.eval, mx.async_eval, np.array, repr])
@pytest.mark.parametrize("name", HUGE)
def test_absurd_sizes(name: str, use: Callable) -> None:
    gc.collect()
    before = mx.get_active_memory()
    with pytest.raises(MemoryError, match=r"Cannot allocate \d+ bytes"):
        use(HUGE[name]())
    gc.collect()
    assert mx.get_active_memory() <= before
    assert (mx.ones((3,)) + 1).tolist() == [2, 2, 2]


def test_no_more_is_refused_than_needed() -> None:
    assert mx.zeros((BIG, BIG))[5, 7].item() == 0


def test_after_a_refusal_it_can_be_tried_again(limit: Callable[[int], None]) -> None:
    x = mx.ones((1 << 20,))
    parts = [x * i for i in range(8)]
    limit(mx.get_active_memory() + (9 << 20))
    with pytest.raises(MemoryError):
        mx.eval(parts)
    assert mx.get_active_memory() < 9 << 20
    limit(1 << 30)
    mx.eval(parts)
    assert [p[-1].item() for p in parts] == list(range(8))


def test_a_refused_compiled_step_changes_nothing(limit: Callable[[int], None]) -> None:
    state = {"w": mx.ones((1 << 18,)), "n": mx.array(0)}

    def step() -> None:
        state["w"] = mx.sort(state["w"] * 2 + mx.arange(1 << 18))
        state["n"] += 1

    compiled = mx.compile(step)
    mx.eval(state)
    limit(mx.get_active_memory() + 1000)
    compiled()
    with pytest.raises(MemoryError):
        mx.eval(state)
    limit(1 << 30)
    assert state["n"].item() == 0 and (np.array(state["w"]) == 1).all()
    compiled()
    mx.eval(state)
    assert state["n"].item() == 1 and state["w"][1].item() == 3
