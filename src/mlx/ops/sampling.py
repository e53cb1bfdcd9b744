"""Random choices: permutations, categories, correlated normal numbers.

>>> import mlx.core as mx
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype
from mlx.graph.chains import by_types
from mlx.graph.node import Node
from mlx.ops.operands import (
    array_node,
    axis_of,
    broadcast_shape,
    can_broadcast,
    fitted,
    integer,
    shape_of,
)
from mlx.ops.random import gumbel_node, key_node, normal_node, random_bits, uniform_node
from mlx.ops.shape import narrow
from mlx.primitives.arithmetic import Minimum
from mlx.primitives.contraction import MatMul
from mlx.primitives.elementwise import Less, LessEqual, cast
from mlx.primitives.indexing import Gather
from mlx.primitives.library import outputs
from mlx.primitives.ordering import ArgMax, ArgSort
from mlx.primitives.reductions import Max, Sum, broadcast, broadcast_axes, reduce_axes
from mlx.primitives.scans import CumSum
from mlx.primitives.spectra import SVD
from mlx.primitives.transcendental import Exp, Sqrt
from mlx.primitives.views import moveaxis, reshape


def permutation(
    x: int | array, axis: int = 0, key: array | None = None, stream: Any = None
) -> array:
    """The numbers below x in random order, or an array with one axis in random order.

    >>> mx.random.permutation(5, key=mx.random.key(7))
    array([0, 1, 3, 2, 4], dtype=uint32)
    """
    if not isinstance(x, array):
        count = shape_of("random.permutation", (x,))
        return wrap(ArgSort(0)(random_bits(key_node(key), count)))
    node = x._node
    at = axis_of("random.permutation", axis, node.ndim)
    order = ArgSort(0)(random_bits(key_node(key), (node.shape[at],)))
    return wrap(Gather((at,), position=at)(node, order))


def categorical(
    logits: array,
    axis: int = -1,
    shape: Sequence[int] | None = None,
    num_samples: int | None = None,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Indices (uint32) drawn with probabilities softmax(logits) along an axis.

    ``num_samples`` adds a last axis; ``shape`` is the result's, to which the shape of logits
    without the axis broadcasts.  Raises ValueError where both are given.

    >>> mx.random.categorical(mx.array([0.0, 100.0]))
    array(1, dtype=uint32)
    """
    x = array_node("random.categorical", logits)
    at = axis_of("random.categorical", axis, x.ndim)
    size, lead = x.shape[at], (*x.shape[:at], *x.shape[at + 1 :])
    if shape is not None and num_samples is not None:
        raise ValueError("[random.categorical] Give shape or num_samples, not both.")
    if num_samples is not None:
        count = integer("random.categorical", "num_samples", num_samples)
        noise_shape, x, lead = (*x.shape, count), reshape(x, (*x.shape, 1)), (*lead, count)
    elif shape is not None:
        lead = shape_of("random.categorical", shape)
        x = moveaxis(x, at, x.ndim - 1)
        noise_shape, at = (*lead, x.shape[-1]), len(lead)
        if not can_broadcast(x.shape, noise_shape):
            raise ValueError(
                f"[random.categorical] Logits of shape {logits.shape} do not fit {lead}."
            )
    else:
        noise_shape = x.shape
    wide = cast(x, dt.promote(dt.at_least_float(x.dtype), dt.float32))
    if lead and wide.size == size > 0:
        return wrap(_drawn(key_node(key), reshape(wide, (size,)), lead))
    noise = cast(gumbel_node(key_node(key), noise_shape, dt.float32), wide.dtype)
    return wrap(ArgMax(at)(fitted(wide, noise_shape, wide.dtype) + noise))


@by_types(2)
def _drawn(key: Node, logits: Node, shape: tuple[int, ...]) -> Node:
    """Draws from one distribution, as MLX makes them: a uniform number among the sums of the
    weights.  Indices behind the last weight that is not 0 can't be drawn."""
    largest = reduce_axes(Max, logits, (0,))
    sums = CumSum(0, False, True)(Exp()(logits - broadcast(largest, logits.shape)))
    total = reshape(narrow(sums, 0, logits.size - 1, logits.size), ())
    place = uniform_node((0, 1), shape, logits.dtype, key) * broadcast(total, shape)
    wide = (*shape, logits.size)
    passed = LessEqual()(broadcast(sums, wide), broadcast_axes(place, wide, range(len(shape))))
    last = _count(Less()(sums, broadcast(total, sums.shape)))
    return Minimum()(_count(passed), broadcast(last, shape))


def _count(found: Node) -> Node:
    return reduce_axes(Sum, cast(found, dt.uint32), (found.ndim - 1,))


def multivariate_normal(
    mean: array,
    cov: array,
    shape: Sequence[int] = (),
    dtype: Dtype | None = dt.float32,
    key: array | None = None,
    stream: Any = None,
) -> array:
    """Normal vectors with given means (..., n) and covariances (..., n, n), as float32.

    ``shape`` comes before the last axis of the result; batches broadcast to it.

    >>> mx.random.multivariate_normal(mx.zeros(2), mx.eye(2), (3,)).shape
    (3, 2)
    """
    name = "random.multivariate_normal"
    centre, spread = array_node(name, mean), array_node(name, cov)
    if dtype not in (None, dt.float32):
        raise ValueError(f"[{name}] Only float32 is supported, got {dtype!r}.")
    n = centre.shape[-1] if centre.ndim else 0
    if centre.ndim < 1 or spread.ndim < 2 or spread.shape[-2:] != (n, n):
        raise ValueError(
            f"[{name}] Needs a mean (..., n) and a covariance (..., n, n), got {centre.shape} "
            f"and {spread.shape}."
        )
    lead = broadcast_shape(centre.shape[:-1], spread.shape[:-2])
    lead = broadcast_shape(lead, shape_of(name, shape))
    return wrap(_correlated(centre, spread, (*lead, n), key_node(key)))


def _correlated(centre: Node, spread: Node, shape: tuple[int, ...], key: Node) -> Node:
    """mean + z U sqrt(S) V of a singular value decomposition of the covariance: the symmetric
    root, which no choice of signs changes."""
    left, sizes, right = outputs(SVD(False), cast(spread, dt.float32))
    scales = reshape(Sqrt()(sizes), (*sizes.shape[:-1], 1, sizes.shape[-1]))
    root = MatMul()(left * fitted(scales, left.shape, dt.float32), right)
    lined = reshape(normal_node(shape, dt.float32, key), (*shape[:-1], 1, shape[-1]))
    turned = MatMul()(lined, fitted(root, (*shape[:-1], *root.shape[-2:]), dt.float32))
    return reshape(turned, shape) + fitted(cast(centre, dt.float32), shape, dt.float32)
