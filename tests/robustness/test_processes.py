"""Threads, forks and interrupts: values stay right, nothing hangs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from mlx.runtime import structures

ENOUGH = 300_000


def test_one_array_in_many_threads() -> None:
    weight = mx.random.normal((64, 64), key=mx.random.key(1))
    x = mx.ones((8, 64))

    def loss(x: mx.array) -> mx.array:
        return (mx.tanh(x @ weight) ** 2).sum()

    expected = np.array(mx.grad(loss)(x))
    compiled, failures = mx.compile(loss), []
    value = loss(x).item()

    def work(k: int) -> None:
        try:
            for _ in range(20):
                assert np.array_equal(np.array(mx.grad(loss)(x)), expected)
                assert compiled(x).item() == value
                assert mx.vmap(lambda row: (row * k).sum())(mx.ones((3, 4))).tolist() == [4 * k] * 3
                mx.async_eval(weight * k)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


FORK = """
import os, signal, threading
import mlx.core as mx
from mlx.runtime import structures
x = mx.ones((300_000,))
y = x + 1
stop = []
def busy():
    while not stop:
        mx.eval(mx.grad(lambda v: (mx.sin(v) ** 2).sum())(x))
threads = [threading.Thread(target=busy) for _ in range(2)]
for t in threads: t.start()
codes = []
for i in range(12):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        ok = y[3].item() == 2 and mx.grad(lambda v: (v * v).sum())(x)[0].item() == 2
        from mlx.graph import trace
        os._exit(0 if ok and not trace.any_open() else 3)
    codes.append(os.waitpid(child, 0)[1])
stop.append(1)
for t in threads: t.join()
assert (x + y)[5].item() == 3
print(codes)
"""


FORK_WHILE_TRACING = """
import os, signal, threading
import mlx.core as mx
from mlx.runtime import structures
inside, go_on = threading.Event(), threading.Event()
def f(x):
    if threading.current_thread() is not threading.main_thread():
        inside.set()
        go_on.wait()
    return x + mx.random.uniform(shape=(1,)) * 0
traced = mx.compile(f)
thread = threading.Thread(target=lambda: traced(mx.ones(1)))
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    signal.alarm(30)
    os._exit(0 if traced(mx.ones(2)).tolist() == [1, 1] else 3)
print(os.waitpid(child, 0)[1])
go_on.set()
thread.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_another_thread_traces() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_WHILE_TRACING],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.stdout.split() == ["0"], done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_other_threads_evaluate() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True, timeout=200
    )
    assert done.stdout.split() == f"{[0] * 12}".split(), done.stderr


class Alarm:
    """Interrupts a loop after a while, as Ctrl-C does."""

    armed = False

    def handler(self, *args: Any) -> None:
        if self.armed:
            raise KeyboardInterrupt

    def interrupt(self, after: float, loop: Callable[[], None]) -> None:
        try:
            self.armed = True
            signal.setitimer(signal.ITIMER_REAL, after, 0.02)
            while True:
                loop()
        except KeyboardInterrupt:
            self.armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)


@pytest.fixture
def alarm() -> Any:
    alarm = Alarm()
    before = signal.signal(signal.SIGALRM, alarm.handler)
    yield alarm
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["rebound", "in place", "compiled"])
def test_interrupted_evaluation(alarm: Alarm, kind: str) -> None:
    """Each array has the value of one of its updates, whole, whenever Ctrl-C comes."""
    state = {"a": mx.zeros((ENOUGH,)), "b": mx.zeros((ENOUGH,))}
    mx.eval(state)

    def rebind() -> None:
        new = {key: value + 1 for key, value in state.items()}
        mx.eval(new)
        state.update(new)

    def change() -> None:
        state["a"] += 1
        state["b"] += 1
        mx.eval(state)

    def bump() -> None:
        state["a"] = state["a"] + 1
        state["b"] = state["b"] + 1

    compiled = mx.compile(bump)

    def call() -> None:
        compiled()
        mx.eval(state)

    loop = {"rebound": rebind, "in place": change, "compiled": call}[kind]
    loop()
    for i in range(60):
        alarm.interrupt(1e-4 + i * 5e-5, loop)
        a, b = np.array(state["a"]), np.array(state["b"])
        assert (a == a[0]).all() and (b == b[0]).all() and a[0] - b[0] in (0, 1)
        state["b"] = mx.array(a)
    assert a[0] > 0


def test_interrupted_planning(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be planned when Ctrl-C came is planned the next time."""
    planned = structures.Region.planned

    def interrupt(*args: Any) -> None:
        monkeypatch.setattr(structures.Region, "planned", planned)
        raise KeyboardInterrupt

    def odd(x: mx.array) -> mx.array:
        return mx.tanh(x * 3.25) - mx.abs(x) + 17.5 * x

    x = mx.arange(7.0)
    monkeypatch.setattr(structures.Region, "planned", interrupt)
    monkeypatch.setattr(structures.Region, "name", lambda region: None)  # nor is it on disk
    with pytest.raises(KeyboardInterrupt):
        mx.eval(odd(x))
    for size in (7, 7, 9):
        np.testing.assert_allclose(odd(mx.arange(size * 1.0))[:7], odd(x), 1e-6)
