"""compile: what makes it trace again, and what it repeats without."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.api.reach import Reach
from mlx.api.usage import Usage

CALLS = 0
LOG: list[Any] = []


def vec(*values: float) -> Any:
    return mx.array(list(values), mx.float32)


class Trainer:
    """Counts and logs as it goes; ``report`` reads it all, but not inside a step."""

    def __init__(self) -> None:
        self.weight = vec(1, 2)
        self.rate = 0.5
        self.steps = 0
        self.epoch = 0
        self.losses: list[Any] = []
        self.rates: list[float] = []

    def step(self, x: Any) -> Any:
        self.steps += 1
        loss = (self.weight * x).sum()
        self.weight = self.weight - self.rate * x
        self.losses.append(loss)
        self.rates.append(self.rate)
        return loss

    def report(self) -> Any:
        return self.steps, self.epoch, [v.item() for v in self.losses], self.rates


def run(wrap: Any, calls: int = 4) -> Any:
    trainer = Trainer()
    step = wrap(trainer.step)
    for i in range(calls):
        trainer.epoch = i // 2
        step(vec(i, 1))
    return step, (trainer.report(), trainer.weight.tolist())


def test_counters_and_logs() -> None:
    """Arrays are logged at each call; Python's own effects happen while tracing."""
    compiled, ((steps, *report, rates), weight) = run(mx.compile)
    (_, *expected, _), moved = run(lambda f: f)[1]
    assert (report, weight) == (expected, moved)
    assert (steps, rates) == (1, [0.5]) and compiled.traces == 1


def test_counters_in_containers() -> None:
    calls, places = {"f": 0}, [0, 0]

    def f(x: Any) -> Any:
        calls["f"] += 1
        places[1] -= 1
        return x * 2

    compiled = mx.compile(f)
    for _ in range(3):
        compiled(vec(1))
    assert (calls, places, compiled.traces) == ({"f": 1}, [0, -1], 1)
    compiled(vec(1, 2))
    assert (calls, places, compiled.traces) == ({"f": 2}, [0, -2], 2)


def test_counters_in_containers_that_matter() -> None:
    def results(wrap: Any) -> Any:
        calls = {"f": 0}

        def f(x: Any) -> Any:
            calls["f"] += 1
            return x * sum(calls.values())

        wrapped = wrap(f)
        return [wrapped(vec(1)).item() for _ in range(3)], calls

    assert results(mx.compile) == results(lambda f: f) == ([1, 2, 3], {"f": 3})


def test_constants_that_matter() -> None:
    trainer, plain = Trainer(), Trainer()
    compiled = mx.compile(trainer.step)
    for rate, traces in [(0.5, 1), (0.25, 2), (0.5, 2), (0.0, 3), (-0.0, 4), (0, 5)]:
        trainer.rate = plain.rate = rate
        assert compiled(vec(1, 2)).item() == plain.step(vec(1, 2)).item()
        assert compiled.traces == traces
    assert (
        trainer.rates == [0.5, 0.25, 0.0, -0.0, 0]
        and trainer.weight.tolist() == plain.weight.tolist()
    )


def test_variables_that_count() -> None:
    global CALLS
    n, log, CALLS = 0, [], 0
    LOG.clear()

    def f(x: Any) -> Any:
        nonlocal n
        global CALLS
        n += 2
        CALLS -= 1
        log.append(1.5)
        LOG.append(x + 1)
        LOG.append([x, "text"])
        return x * 2

    compiled = mx.compile(f)
    for i in range(3):
        x = vec(i)
        assert compiled(x).item() == 2 * i
        assert LOG[-1][0] is x and LOG[-1][1] == "text" and LOG[-2].item() == i + 1
    assert (n, CALLS, log, len(LOG)) == (2, -1, [1.5], 6) and compiled.traces == 1


def test_a_long_log_costs_nothing_more() -> None:
    """What was logged is neither scanned nor kept alive."""
    losses: list[Any] = []

    def f(x: Any) -> None:
        losses.append(x.sum())

    compiled = mx.compile(f)
    for _ in range(50):
        compiled(vec(1, 2))
    mx.eval(losses)
    usage = Usage()
    for _ in range(2):
        found = Reach([f], {}, usage).found
    assert found.handles == () and compiled.traces == 1
    assert [loss.item() for loss in losses] == [3] * 50
    gc.collect()
    before = mx.get_active_memory()
    losses.clear()
    gc.collect()
    assert mx.get_active_memory() < before


def _branches(box: Any, x: Any) -> Any:
    box.steps += 1
    return x * 2 if box.steps % 2 else x


def _calls_what_reads(box: Any, x: Any) -> Any:
    box.steps += 1
    return x * box.report()[0]


def _asks_by_name(box: Any, x: Any) -> Any:
    box.steps += 1
    return x * getattr(box, "ste" + "ps")


def _sets_back(box: Any, x: Any) -> Any:
    box.steps += 1
    if box.epoch == 1:
        box.steps = 10
    return x


def _reads_the_log(box: Any, x: Any) -> Any:
    box.losses.append(x)
    return x * len(box.losses)


@pytest.mark.parametrize(
    "body", [_branches, _calls_what_reads, _asks_by_name, _sets_back, _reads_the_log]
)
def test_counters_and_logs_that_matter(body: Any) -> None:
    def results(wrap: Any) -> Any:
        box = Trainer()
        f = wrap(lambda x: body(box, x))
        found = []
        for i in range(4):
            box.epoch = i // 2
            found.append(f(vec(1)).item())
        return found, box.steps

    assert results(mx.compile) == results(lambda f: f)


def test_a_log_that_is_seen_elsewhere() -> None:
    log: list[Any] = []

    def f(x: Any, seen: Any) -> Any:
        log.append(x)
        return x * len(seen)

    compiled = mx.compile(f)
    assert [compiled(vec(1), log).item() for _ in range(3)] == [1, 2, 3]
    assert len(log) == 3


def test_modules_that_count() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Linear(2, 2)
            self.calls = 0

        def __call__(self, x: Any) -> Any:
            self.calls += 1
            return self.inner(x)

    module = Counting()
    compiled = mx.compile(lambda x: module(x))
    for _ in range(3):
        assert compiled(vec(1, 2)).tolist() == module.inner(vec(1, 2)).tolist()
    assert module.calls == 1 and compiled.traces == 1


def test_globals_of_modules_that_are_called(monkeypatch: pytest.MonkeyPatch) -> None:
    class Scaled(nn.Module):
        def __call__(self, x: Any) -> Any:
            return x * CALLS

    module = Scaled()
    compiled = mx.compile(lambda x: module(x))
    for factor in (2, 3):
        monkeypatch.setitem(globals(), "CALLS", factor)
        assert compiled(vec(1)).item() == factor


def test_caches() -> None:
    cache: dict[Any, Any] = {}

    def f(x: Any, n: int) -> Any:
        if n not in cache:
            cache[n] = mx.arange(n).sum()
        return x * cache[n]

    compiled = mx.compile(f)
    for _ in range(3):
        assert [compiled(vec(1), n).item() for n in (3, 4)] == [3, 6]
    assert sorted(cache) == [3, 4] and compiled.traces == 4


def test_failures_are_counted_back() -> None:
    trainer = Trainer()

    def f(ids: Any) -> Any:
        trainer.steps += 1
        trainer.losses.append(trainer.weight[ids])
        trainer.weight = trainer.weight + trainer.weight[ids].sum()
        return trainer.weight

    compiled = mx.compile(f)
    mx.eval(compiled(mx.array([0])))
    before = trainer.weight.tolist()
    result = compiled(mx.array([7]))
    with pytest.raises(IndexError):
        mx.eval(result)
    assert trainer.steps == 1 and len(trainer.losses) == 1
    assert trainer.weight.tolist() == before
    compiled(mx.array([1]))
    assert len(trainer.losses) == 2 and compiled.traces == 1


def test_alternating_structures() -> None:
    compiled = mx.compile(lambda tree: sum(tree.values()))
    for _ in range(3):
        assert compiled({"a": vec(1)}).item() == 1
        assert compiled({"a": vec(1), "b": vec(2)}).item() == 3
        assert compiled({"b": vec(2), "a": vec(5)}).item() == 7
    assert compiled.traces == 3


def test_arrays_that_become_one() -> None:
    """Two arguments that are one array are another kind of call, for they change together."""

    def f(a: Any, b: Any) -> Any:
        a += 1
        return a * 10 + b

    compiled = mx.compile(f)
    for _ in range(2):
        assert compiled(vec(1), vec(1)).item() == 21
        x = vec(1)
        assert compiled(x, x).item() == 22
    assert compiled.traces == 2
