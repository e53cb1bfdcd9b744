"""Memory: training leaks none, exports pin theirs, deep graphs are built and freed."""

from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.backend.llvm import jit, linked
from mlx.backend.llvm.executable import Executable
from mlx.graph.chains import Chain
from mlx.graph.node import Node
from mlx.primitives.transcendental import Exp
from mlx.runtime import evaluate as evaluation

SIZES = (10, 300_000)


@pytest.mark.parametrize("kind", ["plain", "compiled", "async"])
def test_training_leaks_nothing(kind: str) -> None:
    model = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = optim.AdamW(1e-3)
    state = [model.state, optimizer.state]
    x, y = mx.random.normal((8, 16)), mx.random.randint(0, 10, (8,))
    gradient_of = nn.value_and_grad(
        model, lambda: nn.losses.cross_entropy(model(x), y, reduction="mean")
    )

    def step() -> mx.array:
        loss, gradients = gradient_of()
        optimizer.update(model, gradients)
        return loss

    run = mx.compile(step, inputs=state, outputs=state) if kind == "compiled" else step
    evaluate: Callable = mx.async_eval if kind == "async" else mx.eval
    used, objects = [], []
    for steps in (20, 1000 if kind == "compiled" else 300):
        for _ in range(steps):
            evaluate(run(), state)
        mx.synchronize()
        gc.collect()
        used.append(mx.get_active_memory())
        objects.append(len(gc.get_objects()))
    assert used[1] <= used[0]
    assert objects[1] < objects[0] + 500


def alive(kind: type) -> int:
    return sum(type(one) is kind for one in gc.get_objects())


def test_what_is_forgotten_waits_for_no_collector() -> None:
    evaluation._forget()
    gc.collect()
    gc.disable()
    try:
        programs = alive(Executable)
        for size in range(3, 9):
            for _ in range(20):  # a program with a caller, and then code for its region
                mx.eval(mx.tanh(mx.ones((size, 3)) * 2).sum(0))
        evaluation._forget()
        assert alive(Executable) <= programs + 1  # of a compiled function, or in use
        chains = alive(Chain)
        given = Node(None, (), (3,), mx.float32)
        result = Exp()(given)
        chain = Chain([given], [result], result)
        assert chain.repeat(given).shape == (3,) and alive(Chain) == chains + 1
        del chain
        assert alive(Chain) == chains
    finally:
        gc.enable()


def test_programs_keep_a_bounded_number_of_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluation._forget()
    gc.collect()
    before = jit.counters["alive"]
    monkeypatch.setattr(linked, "KERNELS", 8)
    monkeypatch.setattr(linked, "_allowed", [before + 16])
    x, most = mx.ones((5,)), 0
    for number in range(64):  # each another kernel
        steps = [mx.exp, mx.sin, mx.tanh, mx.cos, mx.sigmoid, mx.abs]
        y = x
        for i, step in enumerate(steps):
            y = step(y) if number >> i & 1 else y + 1
        mx.eval(y)
        most = max(most, jit.counters["alive"] - before)
    assert most <= max(17 + linked.KERNELS, before)


@pytest.mark.parametrize("evaluate", [mx.eval, mx.async_eval])
@pytest.mark.parametrize("size", SIZES)
def test_an_export_keeps_its_values(size: int, evaluate: Callable) -> None:
    a = mx.ones((size,)) * 3
    exports = [np.asarray(a), np.from_dlpack(a), np.array(a, copy=False)]
    for _ in range(5):
        a += 1
        evaluate(a)
    assert a[0].item() == 8
    del a
    fresh = [mx.ones((size,)) * 11 for _ in range(5)]
    mx.eval(fresh)
    assert all((x == 3).all() for x in exports)


@pytest.mark.parametrize("size", SIZES)
def test_views_keep_their_values(size: int) -> None:
    a = mx.arange(size).astype(mx.float32)
    mx.eval(a)
    part, turned = a[2:7], a.reshape(-1, 2)
    mx.eval(part, turned)
    for _ in range(3):
        a += 1
        mx.eval(a)
    assert part.tolist() == [2, 3, 4, 5, 6] and turned[1].tolist() == [2, 3]


def test_a_buffer_that_numpy_reuses() -> None:
    batch = np.ones(SIZES[1], np.float32)
    x = mx.array(batch)
    lazy = x * 2
    batch[:] = 7
    assert lazy[0].item() == 2 and x[0].item() == 1


def test_aliases() -> None:
    a = mx.arange(4)
    same, copy, part = a, mx.array(a), a[1:]
    a += 1
    a[0] = 50
    assert same is a and same.tolist() == [50, 2, 3, 4]
    assert copy.tolist() == [0, 1, 2, 3] and part.tolist() == [1, 2, 3]


def test_deep_graphs() -> None:
    """Longer than any stack: evaluated, differentiated, and dropped without being evaluated."""
    x = mx.array(0.0)
    y = x
    for _ in range(200_000):
        y = y + 1
    z = y * 1
    del y, z
    gc.collect()

    def chain(x: mx.array) -> mx.array:
        for _ in range(20_000):
            x = x * 1.0001
        return x

    slope = mx.grad(chain)(mx.array(1.0))
    assert slope.item() == pytest.approx(np.e**2, rel=1e-3)
    assert mx.vmap(chain)(mx.ones(3))[1].item() == pytest.approx(np.e**2, rel=1e-3)


def test_a_thousand_layers() -> None:
    mx.random.seed(3)
    model = nn.Sequential(*[nn.Linear(4, 4) for _ in range(1000)])
    gradient_of = nn.value_and_grad(model, lambda x: (model(x) ** 2).mean())
    loss, gradients = gradient_of(mx.ones((2, 4)))
    mx.eval(loss, gradients)
    assert np.isfinite(loss.item()) and len(gradients["layers"]) == 1000
