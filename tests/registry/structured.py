"""Samples of the primitives that are not elementwise, and of those with operands of mixed type."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.node import Node
from mlx.graph.trace import Trace, placeholder
from mlx.primitives import base, contraction, custom, elementwise, reductions, strided, views
from tests.registry.kinds import Sample, draw

SAMPLES: dict[str, Callable[[], list[Sample]]] = {}
FLOATS = (dt.float32, dt.float64, dt.float16, dt.bfloat16)


def given(*names: str) -> Callable[[Callable[..., list[Sample]]], Callable[..., list[Sample]]]:
    def register(make: Callable[..., list[Sample]]) -> Callable[..., list[Sample]]:
        for name in names:
            SAMPLES[name] = make
        return make

    return register


def numbers(*shape: int, dtype: Dtype = dt.float32, seed: int = 0, low: float = -2.0) -> np.ndarray:
    return draw(np.random.default_rng(seed), shape, dtype, low, 2.0)


def each(primitive: base.Primitive, *shape: int, dtypes: tuple = (dt.float32,)) -> list[Sample]:
    return [Sample(primitive, (numbers(*shape, dtype=d),)) for d in dtypes]


@given("Select")
def _select() -> list[Sample]:
    condition = numbers(2, 5, dtype=dt.bool_)
    return [
        Sample(
            elementwise.Select(),
            (condition, numbers(2, 5, dtype=d), numbers(2, 5, dtype=d, seed=1)),
        )
        for d in dt.ALL
    ]


@given("Cast")
def _cast() -> list[Sample]:
    return [
        Sample(elementwise.Cast(to), (np.abs(numbers(7, dtype=of)),))
        for of in dt.ALL
        for to in dt.ALL
        if of is not to
    ]


@given("Full")
def _full() -> list[Sample]:
    return [
        Sample(base.Full(v), (), record=lambda v=v, d=d: [base.full((2, 3), d, v)])
        for v, d in [
            (0, dt.float32),
            (1.5, dt.float16),
            (-7, dt.int8),
            (True, dt.bool_),
            (1.5, dt.bfloat16),
            (0.1, dt.float64),
            (1 - 2j, dt.complex64),
            (2**63, dt.uint64),
        ]
    ]


@given("Iota")
def _iota() -> list[Sample]:
    return [
        Sample(base.Iota(a), (), record=lambda a=a, d=d: [base.iota((2, 3), a, d)])
        for a in (0, 1)
        for d in (dt.int32, dt.float32, dt.uint8, dt.float64, dt.bfloat16)
    ]


@given("Reshape")
def _reshape() -> list[Sample]:
    return [
        *each(views.Reshape((3, 4)), 2, 6, dtypes=(dt.float32, dt.int8, dt.complex64)),
        *each(views.Reshape(()), 1, 1),
        *each(views.Reshape((0, 5)), 3, 0),
    ]


@given("Transpose")
def _transpose() -> list[Sample]:
    return [
        *each(views.Transpose((1, 0)), 2, 3, dtypes=(dt.float32, dt.bool_, dt.complex64)),
        *each(views.Transpose((2, 0, 1)), 2, 3, 4),
        *each(
            views.Transpose(()),
        ),
    ]


@given("Broadcast")
def _broadcast() -> list[Sample]:
    return [
        *each(reductions.Broadcast((4, 2, 3), (1, 2)), 2, 3, dtypes=(dt.float32, dt.int32)),
        *each(reductions.Broadcast((2, 5), (0, 1)), 2, 1),
        *each(
            reductions.Broadcast((2, 5), ()),
        ),
        *each(reductions.Broadcast((0, 5), (1,)), 5),
    ]


@given("Slice")
def _slice() -> list[Sample]:
    return [
        *each(views.Slice((1, 0), (1, 2), (2, 3)), 4, 6, dtypes=(dt.float32, dt.uint16)),
        *each(views.Slice((5,), (-2,), (3,)), 6),
        *each(views.Slice((0,), (1,), (0,)), 6),
    ]


@given("AsStrided")
def _as_strided() -> list[Sample]:
    return [
        *each(strided.AsStrided((3, 4), (2, 1), 1), 4, 6, dtypes=(dt.float32, dt.uint16)),
        *each(strided.AsStrided((2, 3), (0, -1), 5), 6),
        *each(strided.AsStrided((), (), 2), 6),
        *each(strided.AsStrided((0, 2), (1, 1)), 6),
    ]


@given("Embed")
def _embed() -> list[Sample]:
    return [
        *each(views.Embed((1, 0), (1, 2), (4, 6)), 2, 3, dtypes=(dt.float32, dt.uint16)),
        *each(views.Embed((5,), (-2,), (6,)), 3),
        *each(views.Embed((2,), (1,), (6,)), 0),
    ]


@given("Concatenate")
def _concatenate() -> list[Sample]:
    join = views.Concatenate(1)
    three = tuple(numbers(2, n, seed=n) for n in (1, 3, 2))
    return [
        Sample(join, three),
        Sample(join, (numbers(2, 3), numbers(2, 0))),
        Sample(views.Concatenate(0), (numbers(3, dtype=dt.int8), numbers(2, dtype=dt.int8))),
    ]


@given("Sum")
def _sum() -> list[Sample]:
    return _reductions(reductions.Sum, (*FLOATS, dt.complex64, dt.int32))


@given("Max")
def _max() -> list[Sample]:
    return _reductions(reductions.Max, (*FLOATS, dt.int32, dt.uint8, dt.bool_))


@given("Min")
def _min() -> list[Sample]:
    return _reductions(reductions.Min, (*FLOATS, dt.int32, dt.uint8, dt.bool_))


def _reductions(make: Callable[[int], base.Primitive], dtypes: tuple[Dtype, ...]) -> list[Sample]:
    return [
        *[s for d in dtypes for s in each(make(1), 3, 37, dtypes=(d,))],
        *each(make(0), 37, 3, dtypes=(dt.float32, dt.float64)),
        *each(make(1), 2, 5, 3),
        *each(make(0), 1),
        *each(make(1), 0, 4),
    ]


@given("MatMul")
def _matmul() -> list[Sample]:
    product = contraction.MatMul()
    return [
        *[
            Sample(product, (numbers(3, 5, dtype=d), numbers(5, 4, dtype=d, seed=1)))
            for d in (*FLOATS, dt.complex64, dt.bool_, dt.int8, dt.uint16, dt.int32, dt.int64)
        ],
        Sample(product, (numbers(2, 3, 5), numbers(2, 5, 4, seed=1))),
        Sample(product, (numbers(1, 5), numbers(5, 4, seed=1))),
        Sample(product, (numbers(3, 5), numbers(5, 1, seed=1))),
        Sample(product, (numbers(3, 0), numbers(0, 2))),
    ]


@given("Identity")
def _identity() -> list[Sample]:
    return each(custom.Identity(), 2, 3, dtypes=(dt.float32, dt.int32))


@given("StopGradient")
def _stop() -> list[Sample]:
    return [Sample(custom.StopGradient(), (numbers(2, 3),), smooth=False)]


@given("Barrier", "Pick")
def _barrier() -> list[Sample]:
    operands = (numbers(2, 3), numbers(4, seed=1), numbers(2, seed=2))
    return [Sample(custom.Barrier(2), operands), Sample(custom.Barrier(1), operands[:1])]


@given("Custom")
def _custom() -> list[Sample]:
    def record(rules: custom.Rules) -> Callable[..., list[Node]]:
        def square(x: Node, y: Node) -> list[Node]:
            return base.picks(custom.Custom(2, rules)(x, y, x * y, x + y))

        return square

    own = custom.Rules(
        vjp=lambda p, c, o: [_plus(_times(c[0], p[1]), c[1]), _plus(_times(c[0], p[0]), c[1])],
        jvp=lambda p, t: [
            _plus(_times(t[0], p[1]), _times(t[1], p[0])),
            _plus(t[0], t[1]),
        ],
    )
    by_hand = custom.Rules(
        vmap=lambda p, a: ([_times(*_stretched(p, a)), _plus(*_stretched(p, a))], [0, 0])
    )
    operands = (numbers(3), numbers(3, seed=1))
    return [
        Sample(custom.Custom(2, rules), operands, record=record(rules))
        for rules in (custom.Rules(), own, by_hand)
    ]


def _stretched(values: list[Node], axes: list[int | None]) -> list[Node]:
    size = next(v.shape[0] for v, a in zip(values, axes, strict=True) if a == 0)
    return [
        reductions.broadcast(v, (size, *v.shape)) if a is None else v
        for v, a in zip(values, axes, strict=True)
    ]


def _times(a: Node | None, b: Node) -> Node | None:
    return None if a is None else a * b


def _plus(a: Node | None, b: Node | None) -> Node | None:
    if a is None or b is None:
        return b if a is None else a
    return a + b


@given("CompiledCall")
def _compiled() -> list[Sample]:
    """Its rules don't exist: transformations run a compiled function as it is."""
    operands = (numbers(3), numbers(3, seed=1))
    stands = [placeholder(Trace("compile"), x.shape, dt.float32) for x in operands]
    graph = custom.Graph(stands, [stands[0] * stands[1], stands[0] + 1])
    return [Sample(custom.CompiledCall(graph, lambda call: None), operands, smooth=False)]
