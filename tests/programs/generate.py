"""Random programs over arrays, and random nestings of transformations around them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mlx.api.compile import compile as mx_compile
from mlx.api.custom import checkpoint, custom_function
from mlx.api.derivatives import grad, jvp, vjp
from mlx.api.vmap import vmap
from mlx.array import array, wrap
from mlx.base.dtype import Dtype, float64, int32
from mlx.graph.node import Node
from mlx.primitives import base, contraction, elementwise, reductions, scans, views
from mlx.primitives import transcendental as functions
from tests.reference.evaluate import handle

SIZE = 3
Function = Callable[[array], array]


def _sum(x: Node) -> Node:
    return reductions.reduce_axes(reductions.Sum, x, range(x.ndim))


def _spread(x: Node) -> Node:
    return reductions.broadcast(x, (SIZE,))


def _reverse(x: Node) -> Node:
    return views.Slice((SIZE - 1,), (-1,), (SIZE,))(x)


def _rotate(x: Node) -> Node:
    first, rest = views.Slice((0,), (1,), (1,))(x), views.Slice((1,), (1,), (SIZE - 1,))(x)
    return views.Concatenate(0)(rest, first)


def _outer(x: Node) -> Node:
    row, column = views.reshape(x, (1, SIZE)), views.reshape(x, (SIZE, 1))
    product = contraction.MatMul()(column, row) * 0.25
    return reductions.Sum(0)(product)


def _matrix(x: Node) -> Node:
    table = reductions.broadcast(x, (SIZE, SIZE))
    mixed = functions.Sin()(views.transpose(table, (1, 0)) * 0.5 + table)
    return views.reshape(contraction.MatMul()(mixed, views.reshape(x, (SIZE, 1))), (SIZE,)) * 0.3


def _softmax(x: Node) -> Node:
    above = functions.Exp()(x - _spread(reductions.Max(0)(x)))
    return above / _spread(_sum(above))


UNARY: list[Callable[[Node], Node]] = [
    lambda x: functions.Sin()(x),
    lambda x: functions.Exp()(x * 0.3),
    lambda x: functions.Tanh()(x),
    lambda x: functions.Log()(x * x + 1),
    lambda x: -x,
    lambda x: _spread(_sum(x)) * 0.3,
    lambda x: scans.CumSum(0)(x) * 0.5,
    lambda x: elementwise.where(x > base.full_like(x, 0.1), x * 0.5, x * x),
    _reverse,
    _rotate,
    _outer,
    _matrix,
    _softmax,
]
BINARY: list[Callable[[Node, Node], Node]] = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: a - b * 0.5,
    lambda a, b: a / (b * b + 1),
]
Step = tuple[Callable[..., Node], tuple[int, ...]]


class Program:
    """A random straight-line program from one vector to one vector."""

    def __init__(self, seed: int, length: int = 5) -> None:
        rng = np.random.default_rng(seed)
        self.steps: list[Step] = []
        for known in range(1, length + 1):
            table: list[Any] = UNARY if rng.random() < 0.6 else BINARY
            step = table[rng.integers(len(table))]
            count = 1 if table is UNARY else 2
            # Recent values are preferred, so that most of the program is used.
            at = [max(0, known - 1 - int(rng.integers(3))) for _ in range(count)]
            self.steps.append((step, tuple(at)))

    def __call__(self, x: array) -> array:
        values = [x._node]
        for step, at in self.steps:
            values.append(step(*[values[i] for i in at]))
        return wrap(values[-1] + values[-2] * 0.5)


def vector(seed: int, dtype: Dtype | None = None) -> array:
    rng = np.random.default_rng(seed)
    return handle(rng.uniform(-1, 1, SIZE), dtype)


def _add(*arrays: array) -> array:
    total = arrays[0]._node
    for a in arrays[1:]:
        total = total + a._node
    return wrap(total)


def _times(a: array, b: array) -> array:
    return wrap(a._node * b._node)


def _unit(like: array, i: int) -> array:
    node = like._node
    return wrap(elementwise.cast(_one_at(i), node.dtype))


def _one_at(i: int) -> Node:
    index = base.iota((SIZE,), 0, int32)
    return elementwise.cast(elementwise.Equal()(index, base.full_like(index, i)), float64)


def _column(values: list[array]) -> array:
    """Scalars as one vector."""
    return wrap(views.Concatenate(0)(*[views.reshape(v._node, (1,)) for v in values]))


def _total(f: Function) -> Function:
    return lambda x: wrap(_sum(f(x)._node))


def _scaled(x: array, by: float) -> array:
    return wrap(x._node * by)


_SCALES = (1.0, 0.5, -0.7)


def _stack(x: array) -> array:
    return wrap(views.Concatenate(0)(*[views.reshape(x._node * s, (1, SIZE)) for s in _SCALES]))


def _mean_rows(x: array) -> array:
    return wrap(reductions.Sum(0)(x._node) * 0.4)


class Transformation:
    """A way to make a function from a function, and the same without transformations of the
    kind under test: derivatives in the other mode, loops, nothing."""

    def __init__(self, name: str, use: Any, plain: Any) -> None:
        self.name = name
        self.use: Callable[[Function], Function] = use
        self.plain: Callable[[Function], Function] = plain


def _grad(f: Function) -> Function:
    return grad(_total(f))


def _grad_by_columns(f: Function) -> Function:
    return lambda x: _column([jvp(_total(f), [x], [_unit(x, i)])[1][0] for i in range(SIZE)])


def _direction(x: array) -> array:
    """A direction that depends on the point, to make confusion of levels visible."""
    return wrap(functions.Sin()(x._node * 1.3) + 0.2)


def _jvp(f: Function) -> Function:
    return lambda x: jvp(f, [x], [_direction(x)])[1][0]


def _jvp_by_rows(f: Function) -> Function:
    def apply(x: array) -> array:
        rows = [vjp(f, [x], [_unit(x, i)])[1][0] for i in range(SIZE)]
        return _column([wrap(_sum(_times(r, _direction(x))._node)) for r in rows])

    return apply


def _vjp(f: Function) -> Function:
    return lambda x: vjp(f, [x], [_direction(x)])[1][0]


def _vjp_by_columns(f: Function) -> Function:
    def apply(x: array) -> array:
        columns = [jvp(f, [x], [_unit(x, i)])[1][0] for i in range(SIZE)]
        return _column([wrap(_sum(_times(c, _direction(x))._node)) for c in columns])

    return apply


def _vmap(f: Function) -> Function:
    return lambda x: _mean_rows(vmap(f)(_stack(x)))


def _vmap_columns(f: Function) -> Function:
    def apply(x: array) -> array:
        turned = wrap(views.transpose(_stack(x)._node, (1, 0)))
        made = vmap(f, in_axes=1, out_axes=-1)(turned)
        return _mean_rows(wrap(views.transpose(made._node, (1, 0))))

    return apply


def _loop(f: Function) -> Function:
    return lambda x: wrap(_add(*[f(_scaled(x, s)) for s in _SCALES])._node * 0.4)


def _vmap_shared(f: Function) -> Function:
    """A batch of one operand, the other one shared and captured."""
    return lambda x: _mean_rows(
        vmap(lambda a, b: f(_add(a, b, x)), in_axes=(0, None))(_stack(x), x)
    )


def _loop_shared(f: Function) -> Function:
    return lambda x: wrap(_add(*[f(_add(_scaled(x, s), x, x)) for s in _SCALES])._node * 0.4)


def _closed(f: Function) -> Function:
    """The gradient of an inner function that captures the outer variable."""
    return lambda x: grad(_total(lambda y: f(_times(x, y))))(x)


def _closed_plain(f: Function) -> Function:
    def apply(x: array) -> array:
        def inner(y: array) -> array:
            return _total(f)(_times(x, y))

        return _column([jvp(inner, [x], [_unit(x, i)])[1][0] for i in range(SIZE)])

    return apply


def _compile_closed(f: Function) -> Function:
    """A compiled function that captures the variable."""
    return lambda x: mx_compile(lambda: _times(f(x), x))()


def _custom(f: Function) -> Function:
    """The function's own derivative, given by hand."""

    def apply(x: array) -> array:
        g = custom_function(f)
        g.vjp(lambda primal, cotangent, output: vjp(f, [primal], [cotangent])[1][0])
        g.jvp(lambda primal, tangent: jvp(f, [primal], [tangent])[1][0])
        return g(x)

    return apply


def _same(f: Function) -> Function:
    return f


TRANSFORMATIONS = [
    Transformation("grad", _grad, _grad_by_columns),
    Transformation("jvp", _jvp, _jvp_by_rows),
    Transformation("vjp", _vjp, _vjp_by_columns),
    Transformation("vmap", _vmap, _loop),
    Transformation("vmap columns", _vmap_columns, _loop),
    Transformation("vmap shared", _vmap_shared, _loop_shared),
    Transformation("closed", _closed, _closed_plain),
    Transformation("compile", mx_compile, _same),
    Transformation("compile closed", _compile_closed, lambda f: lambda x: _times(f(x), x)),
    Transformation("checkpoint", checkpoint, _same),
    Transformation("custom", _custom, _same),
]


def nest(seed: int, depth: int) -> tuple[str, Function, Function]:
    """A random program under random transformations, and the same in the plain way."""
    rng = np.random.default_rng(seed)
    program = Program(seed)
    used: Function = program
    plain: Function = program
    names = []
    for _ in range(depth):
        chosen = TRANSFORMATIONS[rng.integers(len(TRANSFORMATIONS))]
        used, plain = chosen.use(used), chosen.plain(plain)
        names.append(chosen.name)
    return " of ".join(reversed(names)), used, plain
