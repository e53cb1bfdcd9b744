"""Every primitive's rules against the reference, finite differences and loops."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest

import mlx.primitives
from mlx.api.compile import compile as mx_compile
from mlx.array import array, wrap
from mlx.graph.node import Node
from mlx.primitives.base import Primitive, registry
from mlx.primitives.views import Slice
from mlx.runtime.evaluate import evaluate as compute
from mlx.transforms.derivatives import jvp, vjp
from mlx.transforms.replay import batch
from tests.reference.evaluate import evaluate, leaf, stored
from tests.registry.holes import HOLES
from tests.registry.kinds import Sample
from tests.registry.samples import samples, tolerance

for _module in pkgutil.iter_modules(mlx.primitives.__path__):
    importlib.import_module(f"mlx.primitives.{_module.name}")
PRIMITIVES = [c for c in registry() if c.__module__.startswith("mlx.")]
RULELESS = {"CompiledCall"}  # transformations call the function in its place
TESTED = [pytest.param(c, id=c.__name__) for c in PRIMITIVES if c.__name__ not in HOLES]


def test_no_primitive_is_forgotten() -> None:
    """What has no samples is in the list of holes, and only that."""
    without = {cls.__name__ for cls in PRIMITIVES if not samples(cls)}
    assert without == set(HOLES)


def test_what_is_flat() -> None:
    """Walks leave out what no derivative passes, so it must say so."""
    for cls in PRIMITIVES:
        partials = getattr(cls, "partials", ())
        assert not partials or cls.flat == (set(partials) == {None}), cls


@pytest.mark.parametrize("cls", TESTED)
def test_value(cls: type[Primitive]) -> None:
    """Our kernels agree with NumPy, also on reversed and transposed operands."""
    expected, roots, labels = [], [], []
    for sample in samples(cls):
        inputs = sample.inputs()
        plain = sample.outputs(inputs)
        expected += 2 * evaluate(plain)
        roots += plain + sample.outputs([_rearranged(x) for x in inputs])
        labels += 2 * len(plain) * [sample]
    compute(roots)
    for label, want, node in zip(labels, expected, roots, strict=True):
        assert_close(stored(node), want, tolerance(cls.__name__, node.dtype), label)


def _rearranged(node: Node) -> Node:
    """The same values read through negative strides."""
    from_value = stored(node)
    index = tuple(slice(None, None, -1) for _ in range(node.ndim))
    turned = leaf(from_value[index])
    return _flip(turned) if node.ndim else node


def _flip(node: Node) -> Node:
    starts = tuple(max(n - 1, 0) for n in node.shape)
    return Slice(starts, (-1,) * node.ndim, node.shape)(node)


def assert_close(got: np.ndarray, want: np.ndarray, allowed: float, label: Any) -> None:
    assert got.shape == want.shape and got.dtype == want.dtype, label
    if allowed == 0:
        np.testing.assert_array_equal(got, want, err_msg=str(label))
        return
    got, want = got.astype(np.complex128), want.astype(np.complex128)
    scale = max(1.0, float(np.max(np.abs(want), initial=0.0, where=np.isfinite(want))))
    np.testing.assert_allclose(got, want, rtol=allowed, atol=allowed * scale, err_msg=str(label))


class Linearized:
    """A sample with directions, evaluated in double precision."""

    def __init__(self, sample: Sample) -> None:
        self.rng = np.random.default_rng(7)
        self.inputs = sample.inputs()
        self.outputs = sample.outputs(self.inputs)
        self.point = dict(zip(self.inputs, sample.operands, strict=True))
        self.tangents = [self._direction(x) for x in self.inputs]
        self.cotangents = [self._direction(y) for y in self.outputs]

    def _direction(self, like: Node) -> Node | None:
        if not like.dtype.is_inexact:
            return None
        value = self.rng.uniform(-1, 1, like.shape)
        if like.dtype.is_complex:
            value = value + 1j * self.rng.uniform(-1, 1, like.shape)
        return leaf(np.asarray(value).astype(like.dtype.numpy))

    def values(self, nodes: list[Node | None], at: dict[Node, np.ndarray]) -> list[Any]:
        given = [n for n in nodes if n is not None]
        found = iter(evaluate(given, at, wide=True))
        return [None if n is None else next(found) for n in nodes]

    def moved(self, by: float) -> dict[Node, np.ndarray]:
        out = dict(self.point)
        for x, t in zip(self.inputs, self.tangents, strict=True):
            if t is not None:
                wide = np.complex128 if x.dtype.is_complex else np.float64
                out[x] = self.point[x].astype(wide) + by * stored(t).astype(wide)
        return out

    def differences(self, nodes: list[Node | None], step: float = 1e-5) -> list[Any]:
        above = self.values(nodes, self.moved(step))
        below = self.values(nodes, self.moved(-step))
        return [
            None if a is None or a.dtype.kind not in "fc" else _quotient(a, b, 2 * step)
            for a, b in zip(above, below, strict=True)
        ]

    def pairing(self, a: list[Node | None], b: list[Node | None]) -> float:
        """The real inner product of two lists."""
        both = [(x, y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
        xs = self.values([x for x, _ in both], self.moved(0))
        ys = self.values([y for _, y in both], self.moved(0))
        return float(sum(np.sum(x * np.conj(y)).real for x, y in zip(xs, ys, strict=True)))


def _quotient(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        return np.where(a == b, 0, (a - b) / width)  # infinities that stay have no slope


def differentiable(cls: type[Primitive]) -> list[Sample]:
    """Samples in float32, float64 or complex: half precision repeats them."""
    out = []
    for sample in samples(cls):
        kinds = {x.dtype for x in sample.operands}
        if sample.smooth and kinds & {np.dtype("f4"), np.dtype("f8"), np.dtype("c8")}:
            out.append(sample)
    return out


def agrees(found: Node | None, value: Any, want: Any, like: Node, label: Any) -> None:
    """A derivative equals a finite difference; None stands for zeros."""
    if want is None:
        return
    if found is None:
        np.testing.assert_allclose(want, 0, atol=1e-5, err_msg=str(label))
        return
    assert (found.shape, found.dtype) == (like.shape, like.dtype), label
    scale = max(1.0, float(np.max(np.abs(want), initial=0.0)))
    np.testing.assert_allclose(value, want, rtol=1e-4, atol=1e-5 * scale, err_msg=str(label))


@pytest.mark.parametrize("cls", TESTED)
def test_jvp(cls: type[Primitive]) -> None:
    """Forward derivatives equal finite differences."""
    for sample in differentiable(cls):
        point = Linearized(sample)
        found = jvp(point.outputs, point.inputs, point.tangents, 0)
        values = point.values(found, point.moved(0))
        wanted = point.differences(point.outputs)
        for node, value, want, like in zip(found, values, wanted, point.outputs, strict=True):
            agrees(node, value, want, like, sample)


@pytest.mark.parametrize("cls", TESTED)
def test_vjp(cls: type[Primitive]) -> None:
    """<J t, c> = <t, J' c>, and cotangents have the space of the inputs."""
    for sample in differentiable(cls):
        point = Linearized(sample)
        forward = jvp(point.outputs, point.inputs, point.tangents, 0)
        backward = vjp(point.outputs, point.inputs, point.cotangents, 0)
        for node, like in zip(backward, point.inputs, strict=True):
            if node is not None:
                assert (node.shape, node.dtype) == (like.shape, like.dtype), sample
        left = point.pairing(forward, point.cotangents)
        right = point.pairing(point.tangents, backward)
        assert abs(left - right) <= 1e-8 * max(1, abs(left)), sample


@pytest.mark.parametrize("cls", TESTED)
def test_second_order(cls: type[Primitive]) -> None:
    """The jvp of the vjp equals finite differences of the vjp."""
    for sample in differentiable(cls):
        point = Linearized(sample)
        first = vjp(point.outputs, point.inputs, point.cotangents, 0)
        given = [node for node in first if node is not None]
        found = jvp(given, point.inputs, point.tangents, 0)
        values = point.values(found, point.moved(0))
        wanted = point.differences(given)
        for node, value, want, like in zip(found, values, wanted, given, strict=True):
            agrees(node, value, want, like, sample)


@pytest.mark.parametrize("cls", TESTED)
def test_vmap(cls: type[Primitive]) -> None:
    """A batch equals a loop, whichever operands are batched."""
    for sample in samples(cls):
        if not sample.operands or cls.__name__ in RULELESS:
            continue
        count = len(sample.operands)
        masks = {(1 << count) - 1, *(1 << i for i in range(count))}
        for mask in sorted(masks):
            _check_batch(sample, [bool(mask >> i & 1) for i in range(count)])


def _check_batch(sample: Sample, batched: list[bool]) -> None:
    rng = np.random.default_rng(3)
    inputs = sample.inputs()
    outputs = sample.outputs(inputs)
    stacked, rows = [], []
    for x, operand, is_batched in zip(inputs, sample.operands, batched, strict=True):
        flat = operand.reshape(-1)
        shuffled = [rng.permutation(flat).reshape(operand.shape) for _ in range(3)]
        rows.append(shuffled if is_batched else [operand] * 3)
        if is_batched:
            stacked.append((x, leaf(np.stack(shuffled))))
    found = batch(outputs, [x for x, _ in stacked], [s for _, s in stacked], 3, 0)
    loop = [
        evaluate(outputs, {x: row[i] for x, row in zip(inputs, rows, strict=True)}, sample.smooth)
        for i in range(3)
    ]
    for at, (node, output) in enumerate(zip(found, outputs, strict=True)):
        if node is None:
            continue
        assert (node.shape, node.dtype) == ((3, *output.shape), output.dtype), sample
        (got,) = evaluate([node], wide=sample.smooth)
        np.testing.assert_allclose(
            got, np.stack([row[at] for row in loop]), rtol=1e-9, atol=1e-9, err_msg=str(sample)
        )


@pytest.mark.parametrize("cls", TESTED)
def test_compiled(cls: type[Primitive]) -> None:
    """A compiled function gives the bits of the plain one, and traces once."""
    if cls.__name__ in RULELESS:
        return
    chosen = samples(cls)

    def apply(arguments: list[list[array]]) -> list[list[array]]:
        made = []
        for sample, handles in zip(chosen, arguments, strict=True):
            made.append([wrap(n) for n in sample.outputs([h._node for h in handles])])
        return made

    arguments = [[wrap(x) for x in sample.inputs()] for sample in chosen]
    compiled = mx_compile(apply)
    once = _values(apply(arguments))
    for _ in range(2):
        for label, (got, want) in zip(
            chosen, zip(_values(compiled(arguments)), once, strict=True), strict=True
        ):
            for g, w in zip(got, want, strict=True):
                np.testing.assert_array_equal(g, w, err_msg=str(label))
    assert compiled.traces == 1  # type: ignore[attr-defined]


def _values(handles: list[list[array]]) -> list[list[np.ndarray]]:
    compute([h._node for row in handles for h in row])
    return [[stored(h._node) for h in row] for row in handles]
