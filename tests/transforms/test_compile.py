"""compile: equal to the plain function in results and effects, and traced no more than needed."""

from __future__ import annotations

import functools
import gc
import threading
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
from mlx.api.compile import _pending as pending_calls
from mlx.graph import trace

SCALE = mx.array([2.0, 2.0])
FACTOR = 3.0


def vec(*values: float) -> Any:
    return mx.array(list(values), mx.float32)


class Box:
    """An object of the user's with arrays in it."""

    def __init__(self) -> None:
        self.weight = vec(1, 2)
        self.training = True
        self.count = 0

    def __call__(self, x: Any) -> Any:
        return x * self.weight if self.training else x


def counted(fun: Any) -> tuple[Any, list[int]]:
    """A compiled function and a list that grows when Python runs."""
    runs: list[int] = []

    @functools.wraps(fun)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        trace_runs.append(1)
        return fun(*args, **kwargs)

    trace_runs = runs
    compiled = mx.compile(wrapper)
    return compiled, runs


def test_results() -> None:
    def f(x: Any, n: int, named: Any = None) -> Any:
        return {"a": x * n, "b": [x + 1, n, "text"], "c": None if named is None else x * named}

    compiled = mx.compile(f)
    for _ in range(2):
        found = compiled(vec(1, 2), 3, named=vec(5, 6))
        assert found["a"].tolist() == [3, 6] and found["c"].tolist() == [5, 12]
        assert found["b"][0].tolist() == [2, 3] and found["b"][1:] == [3, "text"]
    assert compiled.traces == 1
    assert compiled(vec(1, 2), 3)["c"] is None
    assert mx.compile(lambda x: 3)(vec(1)) == 3


def test_traces_again_for_other_kinds_of_calls() -> None:
    compiled = mx.compile(lambda x, n=1: x * n)
    for call, traces in [
        (lambda: compiled(vec(1, 2)), 1),
        (lambda: compiled(vec(3, 4)), 1),
        (lambda: compiled(vec(1, 2, 3)), 2),
        (lambda: compiled(mx.array([1, 2])), 3),
        (lambda: compiled(vec(1, 2), 2), 4),
        (lambda: compiled(vec(1, 2), 2.0), 5),
        (lambda: compiled(vec(1, 2), n=2), 6),
        (lambda: compiled(vec(1, 2), True), 7),
        (lambda: compiled([vec(1, 2)][0]), 7),
    ]:
        call()
        assert compiled.traces == traces


def test_captured_arrays_are_read_anew() -> None:
    held, box = [vec(1, 2)], Box()
    local = vec(1, 1)

    def f(x: Any) -> Any:
        return x * held[0] + box(x) + local + SCALE * FACTOR

    compiled = mx.compile(f)
    x = vec(1, 1)
    for _ in range(3):
        assert compiled(x).tolist() == f(x).tolist()
        held[0] = held[0] + 1
        box.weight = box.weight * 2
        local = local + 1
    assert compiled.traces == 1


def test_captured_globals(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = mx.compile(lambda x: x * SCALE * FACTOR)
    assert compiled(vec(1, 1)).tolist() == [6, 6]
    monkeypatch.setitem(globals(), "SCALE", vec(1, 2))
    assert compiled(vec(1, 1)).tolist() == [3, 6] and compiled.traces == 1
    monkeypatch.setitem(globals(), "FACTOR", 1.0)
    assert compiled(vec(1, 1)).tolist() == [1, 2] and compiled.traces == 2


def test_captured_flags_trace_again() -> None:
    box = Box()
    compiled = mx.compile(lambda x: box(x))
    assert compiled(vec(1, 1)).tolist() == [1, 2]
    box.training = False
    assert compiled(vec(1, 1)).tolist() == [1, 1]
    box.training = True
    assert compiled(vec(1, 1)).tolist() == [1, 2] and compiled.traces == 2


def test_changes_are_repeated() -> None:
    box, held, seen = Box(), {"m": vec(0, 0)}, [vec(0, 0)]
    total = vec(0, 0)

    def f(x: Any) -> Any:
        nonlocal total
        box.weight = box.weight + x
        held["m"] = held["m"] * 0.5 + box.weight
        held["new"] = [x * 2]
        seen[0] += x
        total = total + held["m"]
        return total

    def run(function: Any, calls: int) -> list[Any]:
        nonlocal total
        box.weight, seen[0], total = vec(1, 2), vec(0, 0), vec(0, 0)
        held.clear()
        held["m"] = vec(0, 0)
        results = [function(vec(1, i)).tolist() for i in range(calls)]
        state = (box.weight, held["m"], held["new"][0], seen[0], total)
        return [results, *[a.tolist() for a in state]]

    compiled = mx.compile(f)
    assert run(compiled, 4) == run(f, 4)
    assert compiled.traces == 2  # the second: "new" is there from then on
    assert run(compiled, 4) == run(f, 4)
    assert compiled.traces == 2


def test_handles_keep_their_identity() -> None:
    box, x = Box(), vec(1, 2)

    def f(a: Any) -> Any:
        b = box.weight
        box.weight = a
        return a, b, box.weight

    compiled = mx.compile(f)
    for _ in range(2):
        before = box.weight
        found = compiled(x)
        assert found[0] is x and found[1] is before and found[2] is x and box.weight is x


def test_in_place_changes_of_arguments() -> None:
    def f(a: Any) -> Any:
        a += 1
        return a * 2

    x, y = vec(1, 2), vec(1, 2)
    compiled = mx.compile(f)
    for _ in range(2):
        assert compiled(x).tolist() == f(y).tolist() and x.tolist() == y.tolist()


def test_growing_and_shrinking_containers() -> None:
    held: list[Any] = [vec(1), vec(2), vec(3)]
    other: dict[str, Any] = {"a": vec(1)}

    def f(x: Any) -> Any:
        held.pop()
        held.append(x)
        held.append(x * 2)
        other.pop("a", None)
        other[f"k{len(other)}"] = x
        return x

    compiled = mx.compile(f)
    for i in range(3):
        compiled(vec(i))
    assert [a.item() for a in held] == [1, 2, 0, 1, 2, 4]
    assert [(k, a.item()) for k, a in other.items()] == [("k0", 0), ("k1", 1), ("k2", 2)]


def test_python_counters() -> None:
    box = Box()

    def f(x: Any) -> Any:
        box.count += 1
        return x * box.count

    compiled = mx.compile(f)
    assert [compiled(vec(1)).item() for _ in range(3)] == [1, 2, 3] and box.count == 3


def test_aliases_of_one_array() -> None:
    shared = vec(1, 2)
    held = [shared, shared]
    compiled = mx.compile(lambda: held[0] * 10 + held[1])
    assert compiled().tolist() == [11, 22]
    held[1] = vec(5, 5)
    assert compiled().tolist() == [15, 25]


def test_random_numbers_go_on() -> None:
    def f(x: Any) -> Any:
        return x + mx.random.uniform(shape=(3,))

    compiled = mx.compile(f)
    mx.random.seed(3)
    plain = [f(vec(0)).tolist() for _ in range(3)]
    mx.random.seed(3)
    assert [compiled(vec(0)).tolist() for _ in range(3)] == plain
    assert compiled.traces == 1


def test_inputs_and_outputs_of_mlx() -> None:
    state = [vec(1, 2)]

    def f(x: Any) -> Any:
        state[0] = state[0] + x
        return state[0] * 2

    compiled = mx.compile(f, inputs=state, outputs=state)
    assert compiled(vec(1, 1)).tolist() == [4, 6] and compiled(vec(1, 1)).tolist() == [6, 8]
    assert state[0].tolist() == [3, 4]


def test_shapeless() -> None:
    compiled = mx.compile(lambda x: x.reshape(x.shape[0] * x.shape[1]) * 2, shapeless=True)
    assert compiled(mx.ones((2, 3))).shape == (6,) and compiled(mx.ones((3, 3))).shape == (9,)


def test_inside_transformations_it_is_the_plain_function() -> None:
    compiled, runs = counted(lambda x: (x * x).sum())
    x = vec(1, 2)
    assert mx.grad(compiled)(x).tolist() == [2, 4]
    assert len(runs) == 1 and compiled.traces == 0
    for _ in range(2):  # from the second call on it is what it recorded
        assert mx.vmap(compiled)(mx.array([[1.0, 2.0], [3.0, 4.0]])).tolist() == [5, 25]
        assert mx.grad(compiled)(x).tolist() == [2, 4]
    assert len(runs) == 2 and compiled.traces == 1


def test_closing_over_the_differentiated_variable() -> None:
    def f(x: Any) -> Any:
        return mx.compile(lambda: (x * x).sum())()

    assert mx.grad(f)(vec(1, 2)).tolist() == [2, 4]
    assert mx.compile(mx.grad(f))(vec(1, 2)).tolist() == [2, 4]


def test_nested_and_decorated() -> None:
    @mx.compile
    def inner(x: Any) -> Any:
        """Doubles."""
        return x * 2

    @functools.partial(mx.compile, shapeless=True)
    def outer(x: Any) -> Any:
        return inner(x) + inner(x + 1)

    assert outer(vec(1)).tolist() == [6] and inner.__doc__ == "Doubles."

    class Model:
        def __init__(self) -> None:
            self.w = vec(2)

        @mx.compile
        def __call__(self, x: Any) -> Any:
            return x * self.w

    model = Model()
    assert model(vec(3)).tolist() == [6]
    model.w = vec(4)
    assert model(vec(3)).tolist() == [12]


def test_gradient_step() -> None:
    """A compiled training step does what the plain one does."""

    def run(wrap: Any) -> Any:
        params = {"w": vec(1, 2), "b": mx.array(0.5)}

        def loss(p: Any, x: Any) -> Any:
            return ((p["w"] * x).sum() + p["b"]) ** 2

        def step(x: Any) -> Any:
            value, gradient = mx.value_and_grad(loss)(params, x)
            for key in params:
                params[key] = params[key] - 0.01 * gradient[key]
            return value

        step = wrap(step)
        return [step(vec(i, 1)).item() for i in range(4)], params["w"].tolist()

    assert run(mx.compile) == run(lambda f: f)


def test_disable() -> None:
    compiled, runs = counted(lambda x: x + 1)
    mx.disable_compile()
    try:
        for _ in range(2):
            compiled(vec(1))
    finally:
        mx.enable_compile()
    assert len(runs) == 2 and compiled.traces == 0


def test_exceptions_restore_everything() -> None:
    box = Box()
    before = box.weight

    def f(x: Any) -> Any:
        box.weight = box.weight + x
        box.count += 1
        box.extra = x * 2
        raise KeyError("inside")

    with pytest.raises(KeyError):
        mx.compile(f)(vec(1, 2))
    assert box.weight is before and box.count == 0 and not hasattr(box, "extra")
    assert not trace.active() and not trace.any_open()


def test_failed_steps_change_nothing() -> None:
    """An index out of bounds in a compiled training step, also with a later step waiting."""
    box = {"table": mx.array([[1.0, 2.0], [3.0, 4.0]]), "count": mx.array(0.0)}

    def step(ids: Any) -> Any:
        value, gradient = mx.value_and_grad(lambda t: (t[ids] ** 2).sum())(box["table"])
        box["table"] = box["table"] - 0.1 * gradient
        box["count"] += 1
        box["last"] = gradient
        return value

    compiled = mx.compile(step)
    good, bad = mx.array([0, 1]), mx.array([0, 7])
    mx.eval(compiled(good), box)
    kept = {key: np.array(value).tobytes() for key, value in box.items()}
    for steps in ([bad], [bad, good], [bad, good, good]):
        losses = [compiled(ids) for ids in steps]
        with pytest.raises(IndexError):
            mx.eval(losses[-1], box)
        assert {key: np.array(value).tobytes() for key, value in box.items()} == kept
        with pytest.raises(IndexError):
            losses[0].item()
    mx.eval(compiled(good), box)
    assert box["count"].item() == 2


def test_results_that_nobody_reads_are_freed() -> None:
    """What a call overwrote before it was computed does not stay."""
    held = {"kept": mx.zeros((1000,)), "last": mx.zeros((1000,))}

    def step(x: Any) -> None:
        held["kept"] = held["kept"] + x
        held["last"] = x * 2

    compiled = mx.compile(step)
    gc.collect()
    before, counts = len(pending_calls), []
    for _ in range(2):
        for _ in range(20):
            compiled(vec(1))
        mx.eval(held)
        gc.collect()
        counts.append((len(pending_calls), mx.get_active_memory()))
    assert counts[0] == counts[1] and counts[0][0] == before


def test_threads() -> None:
    box, failures = Box(), []
    compiled = mx.compile(lambda x: x * box.weight)

    def work(n: int) -> None:
        for i in range(20):
            if compiled(vec(n, i)).tolist() != [n, 2 * i]:
                failures.append((n, i))

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures and compiled.traces == 1


def _hidden() -> Any:
    kept = iter([vec(1, 2)])
    return lambda x: x + next(kept)


class Odd:
    """Holds an array in an object that compile can't take apart."""

    def __init__(self, value: Any) -> None:
        self.value = value


@pytest.mark.parametrize(
    ("fun", "words"),
    [
        (lambda x: x if x.sum() > 0 else -x, "compile.*mx.where"),
        (lambda x: x * x.sum().item(), "compile"),
        (lambda x: (mx.eval(x + 1), x)[1], "compile"),
        (lambda x: np.array(x) + 1, "compile"),
        (lambda x: x * float(x.sum()), "compile"),
        (_hidden(), "inputs="),
        (lambda x: Odd(x * 2), "Odd"),
    ],
)
def test_refusals(fun: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mx.compile(fun)(vec(1, 2))
    assert not trace.active() and not trace.any_open()


def test_refused_arguments() -> None:
    with pytest.raises(TypeError, match=r"\[compile\].*int"):
        mx.compile(3)
    with pytest.raises(ValueError, match=r"\[compile\].*ndarray"):
        mx.compile(lambda x: x)(np.ones(2))


def test_values_of_constants_may_be_read() -> None:
    compiled = mx.compile(lambda x: x * mx.array([1.0, 2.0]).sum().item())
    assert compiled(vec(1, 2)).tolist() == [3, 6]


def test_values_of_captured_arrays_may_be_read() -> None:
    rows = mx.array([1, 0])
    compiled = mx.compile(lambda x: x[rows.tolist()] * SCALE.sum().item())
    x = vec(1, 2)
    expected = (x[rows] * SCALE.sum()).tolist()
    assert compiled(x).tolist() == compiled(x).tolist() == expected
    assert compiled.traces == 1
    rows[0] = 0
    assert compiled(x).tolist() == compiled(x).tolist() == (x[rows] * SCALE.sum()).tolist()
    assert compiled.traces == 2


def test_values_of_named_state_may_not_be_read() -> None:
    state = {"scale": vec(2, 3)}
    compiled = mx.compile(lambda x: x * state["scale"].sum().item(), inputs=state)
    with pytest.raises(ValueError, match="compile"):
        compiled(vec(1, 2))
