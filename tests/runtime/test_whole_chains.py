"""Chains that are recorded as one node: the same values as all their nodes, whoever reads them."""

from __future__ import annotations

import gc
import io
import threading
from collections.abc import Callable

import numpy as np
import pytest

import mlx.core as mx
from mlx.graph import chains
from mlx.graph.node import Node
from mlx.primitives.segment import Whole

MEETINGS = 3 * chains.PATIENCE
X = np.linspace(-2, 3, 24, dtype=np.float32).reshape(4, 6)


@pytest.fixture(autouse=True)
def ready() -> None:
    """Nothing keeps chains from standing for themselves."""
    chains.balance.__init__()  # type: ignore[misc]


def key() -> mx.array:
    return mx.random.key(3)


COMPOSED: dict[str, Callable[[mx.array], mx.array]] = {
    "softmax": lambda x: mx.softmax(x, -1),
    "logsumexp": lambda x: mx.logsumexp(x, -1),
    "var": lambda x: mx.var(x, 0),
    "layer_norm": lambda x: mx.fast.layer_norm(x, x[0], x[1], 1e-5),
    "rms_norm": lambda x: mx.fast.rms_norm(x, None, 1e-5),
    "isclose": lambda x: mx.isclose(x, x + 1e-6, atol=2e-6),
    "linspace": lambda x: mx.linspace(-1.5, 2.5, 7) * x[0, 0],
    "addmm": lambda x: mx.addmm(x[:, 0], x, x.T),
    "normal": lambda x: mx.random.normal((5,), key=key()) + x[0, 0],
    "uniform": lambda x: mx.random.uniform(x[0], x[0] + 3, (4, 6), key=key()),
    "truncated_normal": lambda x: mx.random.truncated_normal(x, x + 2, key=key()),
    "categorical": lambda x: mx.random.categorical(x, key=key()),
    "drawn": lambda x: mx.random.categorical(x[0], shape=(7,), key=key()),
    "attention": lambda x: mx.fast.scaled_dot_product_attention(
        x[None, None], x[None, None], x[None, None], scale=0.5
    ),
}


def is_whole(x: mx.array) -> bool:
    return isinstance(x._node.primitive, Whole)


def met(make: Callable[[], mx.array]) -> None:
    """Record and compute something as often as it takes to be known."""
    for _ in range(MEETINGS):
        mx.eval(make())


@pytest.mark.parametrize("name", COMPOSED)
def test_values_stay_the_same(name: str) -> None:
    found = []
    for _ in range(MEETINGS):
        x = mx.array(X)
        found.append(np.array(COMPOSED[name](x)))
    assert all(np.array_equal(one, found[0]) for one in found)


@pytest.mark.parametrize("name", COMPOSED)
def test_inside_transformations_all_is_recorded(name: str) -> None:
    fun = COMPOSED[name]
    x = mx.array(X)
    plain = np.array(fun(x))
    met(lambda: fun(x))
    assert np.array_equal(np.array(mx.compile(fun)(x)), plain)
    if fun(x).dtype == mx.float32:
        want = np.array(mx.grad(lambda a: fun(a).sum())(mx.array(X)))
        met(lambda: fun(x))
        assert np.array_equal(np.array(mx.grad(lambda a: fun(a).sum())(x)), want)


def test_one_node_stands_for_a_chain() -> None:
    x = mx.array(X)
    met(lambda: mx.softmax(x, -1))
    assert is_whole(mx.softmax(x, -1))

    stands = []

    def traced(a: mx.array) -> mx.array:
        y = mx.softmax(a, -1)
        stands.append(is_whole(y))
        return y.sum()

    mx.eval(mx.grad(traced)(x))
    assert is_whole(mx.softmax(x, -1))
    mx.eval(mx.vjp(traced, [x], [mx.array(1.0)]), mx.vmap(traced)(x), mx.compile(traced)(x))
    mx.eval(mx.grad(mx.grad(lambda s: traced(x * s)))(mx.array(2.0)))
    assert stands == [True, False, False, False, False]


def test_what_older_nodes_stand_for_is_no_matter_to_a_transformation() -> None:
    x = mx.array(X)
    met(lambda: mx.softmax(x, -1))
    y = mx.softmax(x, -1)
    want = np.array(mx.grad(lambda a: (a * a).sum())(mx.array(np.array(mx.softmax(x, -1)))))
    assert is_whole(y)
    assert np.array_equal(np.array(mx.grad(lambda a: (a * a).sum())(y)), want)
    z = mx.softmax(x, -1)
    w = mx.array(1.0)
    assert np.isclose(mx.grad(lambda s: (s * z).sum())(w).item(), 4)
    assert mx.vmap(lambda row: row + z)(x).shape == (4, 4, 6)


def test_other_threads_transformations() -> None:
    """While any is open, all is recorded: what it makes may read it."""
    x = mx.array(X)
    met(lambda: mx.softmax(x, -1))
    opened, recorded = threading.Event(), threading.Event()
    found: list[mx.array] = []

    def differentiated(a: mx.array) -> mx.array:
        opened.set()
        assert recorded.wait(30)
        return (a * found[0]).sum()

    def other() -> None:
        assert opened.wait(30)
        found.append(mx.softmax(x, -1))
        recorded.set()

    thread = threading.Thread(target=other)
    thread.start()
    gradient = mx.grad(differentiated)(x)
    thread.join()
    assert not is_whole(found[0])
    assert np.array_equal(np.array(gradient), np.array(mx.softmax(x, -1)))


def test_pictures_show_all_operations() -> None:
    x = mx.array(X)
    met(lambda: mx.softmax(x, -1))
    text = io.StringIO()
    mx.export_to_dot(text, mx.softmax(x, -1))
    assert "Exp" in text.getvalue() and "Whole" not in text.getvalue()


def test_failures_are_the_results_own() -> None:
    x = mx.array(X)

    def made(index: int) -> mx.array:
        return mx.softmax(mx.take(x, mx.array([index]), axis=0), -1)

    met(lambda: made(1))
    bad, good = made(9), made(2)
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        mx.eval(bad)
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        bad.tolist()
    assert np.array_equal(np.array(good), np.array(mx.softmax(x[2:3], -1)))


def test_results_of_one_another_and_kept_ones() -> None:
    x = mx.array(X)

    def made() -> tuple[mx.array, mx.array]:
        inner = mx.softmax(x, -1)
        return inner, mx.logsumexp(inner * 2, 0)

    want = [np.array(a) for a in made()]
    for _ in range(MEETINGS):
        inner, outer = made()
        mx.eval(outer)
        assert inner._node.data is not None  # something else may ask for it
        assert np.array_equal(np.array(outer), want[1]) and np.array_equal(np.array(inner), want[0])
    for _ in range(MEETINGS):
        assert np.array_equal(np.array(made()[1]), want[1])


def test_numbers_that_regions_give() -> None:
    """Numbers inside a chain are its own; those beside it change from run to run."""
    x = mx.array(X)
    for i in range(MEETINGS):
        scale, near = 0.1 + i, 1e-5 if i % 2 else 0.25 * (i + 1)
        found = np.array(mx.softmax(x * scale, -1) * near)
        y = np.array(x * scale)
        e = np.exp(y - y.max(-1, keepdims=True))
        assert np.allclose(found, near * e / e.sum(-1, keepdims=True), rtol=1e-5)
        assert mx.isclose(x, x + near, atol=near * 1.01).all().item()
        assert not mx.isclose(x + 2 * near, x, atol=near, rtol=0.0).any().item()


def test_memory_is_given_back() -> None:
    x = mx.random.normal((512, 512))
    mx.eval(x)
    met(lambda: mx.softmax(x, -1))
    gc.collect()
    before = mx.get_active_memory()
    for _ in range(5):
        mx.eval(mx.softmax(x, -1) + 1)
    assert mx.get_active_memory() == before


def test_regions_that_stay_unknown() -> None:
    """Chains are recorded in full where what stands for them has to be walked again each time."""
    known = chains.balance
    for n in range(8, 60):
        x = mx.ones((n, 8))
        for _ in range(3):
            mx.eval(mx.softmax(mx.concatenate([x * float(k) for k in range(2)]), -1)[: n - 1] + 1)
    assert known.pause >= 1
    for _ in range(8):
        known.unknown(1000)
    assert known.rest == known.pause == known.LONGEST
    x = mx.array(X)
    met(lambda: mx.softmax(x, -1))
    assert not is_whole(mx.softmax(x, -1))


def test_serials_lie_between_others() -> None:
    x = mx.array(X)
    met(lambda: mx.softmax(x, -1))
    before = mx.exp(x)._node.serial
    node: Node = mx.softmax(x, -1)._node
    serial = node.serial
    assert isinstance(node.primitive, Whole)
    node.primitive.expand(node)
    nodes = [n for n in _all_of(node) if n.data is None]
    assert node.serial == serial and len(nodes) >= chains.LEAST
    assert all(before < n.serial <= serial for n in nodes)
    assert all(s.serial < n.serial for n in nodes for s in n.inputs if s.data is None)


def _all_of(node: Node) -> list[Node]:
    found, stack = {node}, [node]
    while stack:
        new = [s for s in stack.pop().inputs if s not in found]
        found.update(new)
        stack += new
    return list(found)
