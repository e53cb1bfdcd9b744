"""Evaluates a graph node by node with NumPy: the oracle of the tests, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from mlx.array import array, wrap
from mlx.base.dtype import Dtype, from_numpy
from mlx.graph.node import Node, ancestors
from mlx.primitives.custom import CompiledCall
from mlx.runtime import memory
from mlx.runtime.buffer import Buffer
from mlx.runtime.segments import expand
from tests.reference.primitives import REFERENCE


def leaf(value: Any, dtype: Dtype | None = None) -> Node:
    """A node with a copy of a NumPy array as its data."""
    value = np.array(value, None if dtype is None else dtype.numpy, order="C")
    storage = memory.allocate(max(value.nbytes, 1))
    if value.nbytes:
        memory.as_bytes(storage, 0, value.nbytes)[:] = value.reshape(-1).view(np.uint8)
    found = dtype or from_numpy(value.dtype)
    assert found is not None, value.dtype
    return Node(None, (), value.shape, found, Buffer(storage))


def handle(value: Any, dtype: Dtype | None = None) -> array:
    return wrap(leaf(value, dtype))


def evaluate(
    roots: Sequence[Node], given: Mapping[Node, np.ndarray] | None = None, wide: bool = False
) -> list[Any]:
    """The values of nodes, computed in order of recording.

    ``given`` replaces the values of nodes.  With ``wide`` all floats are float64 and complex
    numbers complex128, whatever the nodes' dtypes: for finite differences.
    """
    expand(roots)
    known: dict[Node, Any] = {n: _typed(v, n, wide) for n, v in (given or {}).items()}
    for node in ancestors(roots):
        if node in known:
            continue
        if isinstance(node.data, Buffer):
            known[node] = _typed(stored(node), node, wide)
            continue
        if node.primitive is None:
            raise ValueError(f"{node} has no value: {node.data}.")
        values = [_unhalved(known[source]) for source in node.inputs]
        if isinstance(node.primitive, CompiledCall):
            graph = node.primitive.graph
            given = dict(zip(graph.inputs, values, strict=True))
            known[node] = tuple(evaluate(graph.outputs, given, wide))
            continue
        rule = REFERENCE[type(node.primitive).__name__]
        with np.errstate(all="ignore"):
            known[node] = _typed(rule(node.primitive, node, *values), node, wide)
    return [known[root] for root in roots]


def stored(node: Node) -> np.ndarray:
    """A copy of an evaluated node's data."""
    node.data.wait()
    nbytes = node.size * node.dtype.size
    if nbytes == 0:
        return np.zeros(node.shape, node.dtype.numpy)
    found = memory.as_bytes(node.data.storage, node.data.offset, nbytes)
    return found.view(node.dtype.numpy).reshape(node.shape).copy()


def value(x: array | Node) -> np.ndarray:
    return evaluate([x if isinstance(x, Node) else x._node])[0]


def _unhalved(x: Any) -> Any:
    """Half precision computes in float32."""
    if isinstance(x, tuple):
        return tuple(_unhalved(v) for v in x)
    return x.astype(np.float32) if x.dtype in (np.float16, ml_dtypes.bfloat16) else x


def _typed(x: Any, node: Node, wide: bool) -> Any:
    """The value in the node's dtype, its shape checked."""
    if node.dtype is None:
        types = list(node.shape)
    else:
        x, types = (x,), [(node.shape, node.dtype)]
    out = []
    for v, (shape, dtype) in zip(x, types, strict=True):
        v = np.asarray(v)
        assert v.shape == tuple(shape), f"{node} is said to be {shape}, computed {v.shape}"
        out.append(v.astype(_wider(dtype) if wide else dtype.numpy))
    return out[0] if node.dtype is not None else tuple(out)


def _wider(dtype: Dtype) -> Any:
    if not dtype.is_inexact:
        return dtype.numpy
    return np.complex128 if dtype.is_complex else np.float64
