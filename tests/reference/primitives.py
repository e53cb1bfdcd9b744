"""What each primitive means, written with NumPy: the oracle of the generated tests.

``REFERENCE[class name](primitive, node, *values)`` gives the value, or a tuple of values.
Half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

from typing import Any

import numpy as np

REFERENCE: dict[str, Any] = {}


def reference(*names: str) -> Any:
    def register(fn: Any) -> Any:
        for name in names:
            REFERENCE[name] = fn
        return fn

    return register


def simple(name: str, fn: Any) -> None:
    """A NumPy function of the operands alone."""
    REFERENCE[name] = lambda p, node, *values: fn(*values)


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a / b


for _name, _fn in {
    "Add": np.add, "Subtract": np.subtract, "Multiply": np.multiply, "Divide": _divide,
    "Negative": np.negative, "Conjugate": np.conjugate, "Equal": np.equal,
    "NotEqual": np.not_equal, "Less": np.less, "LessEqual": np.less_equal,
    "Greater": np.greater, "GreaterEqual": np.greater_equal, "Select": np.where,
    "MatMul": np.matmul, "Identity": lambda x: x, "StopGradient": lambda x: x,
}.items():  # fmt: skip
    simple(_name, _fn)


@reference("Full")
def _full(p: Any, node: Any) -> np.ndarray:
    return np.full(node.shape, p.value)


@reference("Iota")
def _iota(p: Any, node: Any) -> np.ndarray:
    index = np.arange(node.shape[p.axis])
    index = index.reshape([-1 if a == p.axis else 1 for a in range(node.ndim)])
    return np.broadcast_to(index, node.shape)


@reference("Cast")
def _cast(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return x.real if np.iscomplexobj(x) and not p.dtype.is_complex else x


@reference("Reshape")
def _reshape(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return x.reshape(p.shape)


@reference("Transpose")
def _transpose(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return x.transpose(p.axes)


@reference("Slice")
def _slice(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return x[_indices(p.starts, p.steps, p.shape)]


@reference("Embed")
def _embed(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    out = np.zeros(p.shape, x.dtype)
    out[_indices(p.starts, p.steps, x.shape)] = x
    return out


def _indices(starts: Any, steps: Any, shape: Any) -> Any:
    return np.ix_(*(s + k * np.arange(n) for s, k, n in zip(starts, steps, shape, strict=True)))


@reference("Concatenate")
def _concatenate(p: Any, node: Any, *xs: np.ndarray) -> np.ndarray:
    return np.concatenate(xs, p.axis)


@reference("Broadcast")
def _broadcast(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    shape = [1] * len(p.shape)
    for n, axis in zip(x.shape, p.axes, strict=True):
        shape[axis] = n
    return np.broadcast_to(x.reshape(shape), p.shape)


def _reduction(fn: Any, empty: float) -> Any:
    def value(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
        if x.shape[p.axis] == 0:
            return np.full(node.shape, empty)
        return fn(x, p.axis)

    return value


REFERENCE["Sum"] = _reduction(np.sum, 0)
REFERENCE["Max"] = _reduction(np.max, float("-inf"))
REFERENCE["Min"] = _reduction(np.min, float("inf"))


@reference("Barrier")
def _barrier(p: Any, node: Any, *xs: np.ndarray) -> tuple[np.ndarray, ...]:
    return xs[: p.count]


@reference("Custom")
def _custom(p: Any, node: Any, *xs: np.ndarray) -> tuple[np.ndarray, ...]:
    return xs[p.count :]


@reference("Pick")
def _pick(p: Any, node: Any, several: tuple[np.ndarray, ...]) -> np.ndarray:
    return several[p.index]
