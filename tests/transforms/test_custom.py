"""custom_function, checkpoint and depends."""

from __future__ import annotations

from typing import Any

import pytest

import mlx.core as mx


def vec(*values: float) -> Any:
    return mx.array(list(values), mx.float32)


def scaled(multi: bool = False) -> Any:
    return mx.custom_function(lambda x, y: (x * y, x + y) if multi else x * y)


def test_vjp_gets_primals_cotangents_outputs() -> None:
    f, seen = scaled(), []

    @f.vjp
    def rule(primals: Any, cotangent: Any, output: Any) -> Any:
        seen.append((len(primals), primals[1].tolist(), output.tolist()))
        return cotangent * 10, cotangent * 20

    assert rule is f
    x, y = vec(1, 2), vec(3, 4)
    found = mx.grad(lambda a, b: f(a, b).sum(), argnums=(0, 1))(x, y)
    assert [g.tolist() for g in found] == [[10, 10], [20, 20]]
    assert seen == [(2, [3, 4], [3, 8])]


def test_one_primal_comes_alone() -> None:
    f = mx.custom_function(lambda x: x * 2)
    f.vjp(lambda primal, cotangent, output: cotangent * primal)
    assert mx.grad(lambda a: f(a).sum())(vec(3, 4)).tolist() == [3, 4]
    f.vjp(lambda primal, cotangent, output: (cotangent * output,))
    assert mx.grad(lambda a: f(a).sum())(vec(3, 4)).tolist() == [6, 8]


def test_several_outputs() -> None:
    f = scaled(multi=True)
    f.vjp(lambda primals, cotangents, outputs: (cotangents[0], cotangents[1] + 5))
    found = mx.grad(lambda a, b: f(a, b)[0].sum(), argnums=(0, 1))(vec(1, 2), vec(3, 4))
    assert [g.tolist() for g in found] == [[1, 1], [5, 5]]


def test_trees_and_constants() -> None:
    f = mx.custom_function(lambda p, n: {"r": p["a"] * p["b"] * n})
    f.vjp(lambda primals, cotangents, outputs: ({"a": cotangents["r"] * primals[1], "b": None}, 0))
    found = mx.grad(lambda a, b: f({"a": a, "b": b}, 3)["r"].sum(), argnums=(0, 1))(vec(1), vec(2))
    assert [g.tolist() for g in found] == [[3], [0]]


def test_jvp() -> None:
    f = scaled()
    f.jvp(lambda primals, tangents: tangents[0] * 100 if tangents[1] is None else tangents[1])
    x, y = vec(1, 2), vec(3, 4)
    assert mx.jvp(f, [x, y], [x, y])[1][0].tolist() == [3, 4]
    assert mx.jvp(lambda a: f(a, y), [x], [x])[1][0].tolist() == [100, 200]


def test_rules_not_given_follow_from_the_function() -> None:
    f = scaled()
    f.vjp(lambda primals, cotangent, output: (cotangent, cotangent))
    x, y = vec(1, 2), vec(3, 4)
    assert mx.jvp(f, [x, y], [vec(1, 1), vec(0, 0)])[1][0].tolist() == [3, 4]
    g = scaled()
    g.jvp(lambda primals, tangents: tangents[0])
    assert mx.grad(lambda a: g(a, y).sum())(x).tolist() == [3, 4]
    assert mx.vmap(f)(mx.ones((2, 3)), mx.ones((2, 3))).shape == (2, 3)


def test_vmap_rule() -> None:
    f = scaled()
    seen = []

    @f.vmap
    def _(primals: Any, axes: Any) -> Any:
        seen.append((primals[0].shape, primals[1].shape, axes))
        return primals[0] * 1000, axes[0]

    found = mx.vmap(f, in_axes=(1, None))(mx.ones((3, 2)), vec(1, 2, 3))
    assert found.tolist() == [[1000] * 3] * 2
    assert seen == [((2, 3), (3,), (0, None))]


def test_derivative_rule_under_vmap() -> None:
    f = scaled()
    f.vjp(lambda primals, cotangent, output: (cotangent * 10 * output, cotangent * primals[0]))
    m, y = mx.array([[1.0, 2.0], [3.0, 4.0]]), vec(5, 6)
    total = mx.grad(lambda a, b: mx.vmap(f, in_axes=(0, None))(a, b).sum(), argnums=(0, 1))(m, y)
    assert total[0].tolist() == [[50, 120], [150, 240]] and total[1].tolist() == [4, 6]


def test_second_order_through_a_rule() -> None:
    f = mx.custom_function(lambda x: x * x)
    f.vjp(lambda x, cotangent, output: cotangent * x * x * x)
    assert mx.grad(mx.grad(f))(mx.array(2.0)).item() == 12


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (lambda p, c, o: c, r"vjp rule returned \*"),
        (lambda p, c, o: (mx.zeros((3,)), c), r"\(3,\).*\(2,\)"),
        (lambda p, c, o: (c, c, c), "vjp rule"),
    ],
)
def test_refused_rules(rule: Any, words: str) -> None:
    f = scaled()
    f.vjp(rule)
    with pytest.raises(ValueError, match=words):
        mx.grad(lambda a, b: f(a, b).sum(), argnums=(0, 1))(vec(1, 2), vec(3, 4))


def test_refusals() -> None:
    for call in (lambda: mx.custom_function(3), lambda: scaled().vjp(3), lambda: mx.checkpoint(3)):
        with pytest.raises(TypeError, match="function"):
            call()
    f = scaled()
    f.vjp(lambda p, c, o: (c, c))
    with pytest.raises(TypeError, match="Keyword"):
        f(vec(1), y=vec(1))


def block(w: Any, x: Any) -> Any:
    return {"out": mx.tanh(x * w) * mx.sin(x)}


def test_checkpoint() -> None:
    w, x = vec(1, 2), vec(0.3, 0.4)

    def loss(wrap: Any) -> Any:
        return lambda w, x: wrap(lambda a: block(w, a))(x)["out"].sum()

    plain = mx.grad(loss(lambda f: f), argnums=(0, 1))(w, x)
    found = mx.grad(loss(mx.checkpoint), argnums=(0, 1))(w, x)
    for a, b in zip(found, plain, strict=True):
        assert mx.array_equal(a, b).item()
    second = mx.grad(lambda x: mx.grad(loss(mx.checkpoint), argnums=1)(w, x).sum())
    third = mx.grad(lambda x: mx.grad(loss(lambda f: f), argnums=1)(w, x).sum())
    assert mx.allclose(second(x), third(x)).item()
    assert mx.checkpoint(lambda a, n: {"r": a * n})(x, 2)["r"].tolist() == (x * 2).tolist()
    assert mx.checkpoint(lambda a: 3)(x) == 3


def test_checkpoint_recomputes() -> None:
    """The recomputed operations are in the graph twice, behind a barrier."""
    x = vec(0.3, 0.4)

    def count(gradient: Any) -> int:
        seen, stack = set(), [gradient._node]
        while stack:
            node = stack.pop()
            if node not in seen:
                seen.add(node)
                stack += node.inputs
        return sum(type(n.primitive).__name__ == "Tanh" for n in seen)

    def f(a: Any) -> Any:
        return mx.exp(mx.tanh(a)).sum()

    assert count(mx.grad(f)(x)) == 1
    gradient = mx.grad(lambda a: mx.checkpoint(f)(a) * 2)(x)
    assert count(gradient) == 1  # only the recomputed one: nothing needs the first
    both = mx.value_and_grad(lambda a: mx.checkpoint(f)(a) * 2)(x)
    assert count(both[0] + both[1]) == 2


def test_checkpoint_saves_memory() -> None:
    """The peak falls, since what is computed again need not wait for its gradient."""
    layers = [mx.random.normal((256, 256)) * 0.06 for _ in range(12)]

    def chain(wrap: Any) -> Any:
        def apply(x: Any) -> Any:
            for i in range(0, len(layers), 4):
                x = wrap(lambda a, i=i: through(a, layers[i : i + 4]))(x)
            return x.sum()

        return apply

    def through(a: Any, weights: Any) -> Any:
        for w in weights:
            a = mx.tanh(a @ w)
            a = a * mx.sin(a)
        return a

    x = mx.random.normal((4096, 256))
    mx.eval(layers, x)
    peaks = []
    for wrap in (lambda f: f, mx.checkpoint):
        mx.clear_cache()
        mx.reset_peak_memory()
        mx.eval(mx.grad(chain(wrap))(x))
        peaks.append(mx.get_peak_memory())
    assert peaks[1] < 0.75 * peaks[0], peaks


def test_depends() -> None:
    a, b = vec(1), vec(2)
    assert mx.depends(a, b).tolist() == [1]
    assert [x.tolist() for x in mx.depends([a, b], [a * 2])] == [[1], [2]]
    assert mx.grad(lambda a: mx.depends(a * 3, b).sum())(a).tolist() == [3]
