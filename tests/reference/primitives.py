"""What each primitive means, written with NumPy: the oracle of the generated tests.

``REFERENCE[class name](primitive, node, *values)`` gives the value, or a tuple of values.
Half precision is computed in float32 and rounded once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import special

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


@reference("AsStrided")
def _as_strided(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    at = np.full(p.shape, p.offset)
    for step, indices in zip(p.strides, np.indices(p.shape), strict=True):
        at += step * indices
    return x.ravel()[at]


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


def _floor_divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind in "iu":
        return np.where(b == 0, 0, np.floor_divide(a, np.where(b == 0, 1, b)))
    return np.logical_and(a, b) if a.dtype == bool else np.floor(a / b)


def _remainder(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind in "iu":
        return np.where(b == 0, a, np.remainder(a, np.where(b == 0, 1, b)))
    return a & ~b if a.dtype == bool else np.remainder(a, b)


def _power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype == bool:
        return a | ~b
    if a.dtype.kind in "iu":
        return np.where(b < 0, 0, np.power(a, np.where(b < 0, 0, b)))
    return np.power(a, b)


def _logaddexp(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.log(np.exp(a) + np.exp(b)) if np.iscomplexobj(a) else np.logaddexp(a, b)


def _sign(x: np.ndarray) -> np.ndarray:
    if np.iscomplexobj(x):
        return np.where(x == 0, 0, x / np.abs(np.where(x == 0, 1, x)))
    return x if x.dtype == bool else np.sign(x)


def _round(function: Any) -> Any:
    def apply(x: np.ndarray) -> np.ndarray:
        return function(x.real) + 1j * function(x.imag) if np.iscomplexobj(x) else function(x)

    return apply


def _shift(function: Any) -> Any:
    def apply(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        bits = 8 * a.dtype.itemsize
        return function(function(a, np.minimum(b, bits - 1)), (b >= bits).astype(b.dtype))

    return apply


def _plain(function: Any) -> Any:
    """For bool: as numbers 0 and 1."""
    return lambda x: function(x.astype(np.float64) if x.dtype == bool else x)


for _name, _fn in {
    "Absolute": np.abs, "Sign": _sign, "FloorDivide": _floor_divide, "Remainder": _remainder,
    "Maximum": np.maximum, "Minimum": np.minimum, "Power": _power, "LogAddExp": _logaddexp,
    "Floor": _round(_plain(np.floor)), "Ceil": _round(_plain(np.ceil)),
    "Trunc": _round(_plain(np.trunc)), "Round": _round(_plain(np.rint)),
    "BitwiseAnd": np.bitwise_and, "BitwiseOr": np.bitwise_or, "BitwiseXor": np.bitwise_xor,
    "BitwiseInvert": np.invert, "LeftShift": _shift(np.left_shift),
    "RightShift": _shift(np.right_shift), "Real": np.real, "Imag": np.imag,
    "Complex": lambda a, b: a + 1j * b, "Exp": np.exp, "Expm1": np.expm1, "Log": np.log,
    "Log2": np.log2, "Log10": np.log10, "Log1p": np.log1p, "Sin": np.sin, "Cos": np.cos,
    "Tan": np.tan, "ArcSin": np.arcsin, "ArcCos": np.arccos, "ArcTan": np.arctan,
    "ArcTan2": np.arctan2, "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh,
    "ArcSinh": np.arcsinh, "ArcCosh": np.arccosh, "ArcTanh": np.arctanh, "Erf": special.erf,
    "ErfInv": special.erfinv, "Sigmoid": lambda x: 1 / (1 + np.exp(-x)), "Sqrt": np.sqrt,
    "Rsqrt": lambda x: 1 / np.sqrt(x), "LogicalNot": np.logical_not,
    "LogicalAnd": np.logical_and, "LogicalOr": np.logical_or, "IsNaN": np.isnan,
    "IsInf": np.isinf,
}.items():  # fmt: skip
    simple(_name, _fn)


@reference("Bitcast")
def _bitcast(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.array(x, node.inputs[0].dtype.numpy).view(p.dtype.numpy)


REFERENCE["Prod"] = _reduction(np.prod, 1)


def _scan(combine: Any, identity: Any) -> Any:
    """Carry along an axis: ``combine(carry, *elements)``."""

    def value(p: Any, node: Any, *xs: np.ndarray) -> np.ndarray:
        moved = [np.moveaxis(x, p.axis, 0) for x in xs]
        if p.reverse:
            moved = [x[::-1] for x in moved]
        out = np.empty(moved[0].shape, moved[0].dtype)
        carry = np.full(out.shape[1:], identity(out.dtype))
        for i in range(len(out)):
            following = combine(carry, *(x[i] for x in moved)).astype(out.dtype)
            out[i] = following if p.inclusive else carry
            carry = following
        return np.moveaxis(out[::-1] if p.reverse else out, 0, p.axis)

    return value


def _least(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).min if dtype.kind in "iu" else -np.inf


def _greatest(dtype: np.dtype) -> Any:
    return np.iinfo(dtype).max if dtype.kind in "iu" else np.inf


REFERENCE["CumSum"] = _scan(np.add, lambda d: 0)
REFERENCE["CumProd"] = _scan(np.multiply, lambda d: 1)
REFERENCE["CumMax"] = _scan(np.maximum, _least)
REFERENCE["CumMin"] = _scan(np.minimum, _greatest)
REFERENCE["LogCumSumExp"] = _scan(_logaddexp, lambda d: -np.inf)
REFERENCE["Recurrence"] = _scan(lambda carry, a, b: a * carry + b, lambda d: 0)


def _places(p: Any, shape: tuple[int, ...], indices: Any) -> Any:
    """(position in batch, I and behind, selection in the array), in index order."""
    first = indices[0].ndim - p.behind
    for at in np.ndindex(*indices[0].shape):
        select: list[Any] = [slice(None)] * len(shape)
        select[: p.batch] = at[: p.batch]
        select[len(shape) - p.behind :] = at[first:]
        for k, axis in enumerate(p.axes):
            start = int(indices[k][at])
            start += shape[axis] if start < 0 else 0
            window = None if p.window is None else p.window[k]
            select[axis] = start if window is None else slice(start, start + window)
        yield (*at[:first], ..., *at[first:]), tuple(select)


@reference("Gather")
def _gather(p: Any, node: Any, src: np.ndarray, *indices: np.ndarray) -> np.ndarray:
    found = indices[0].ndim - p.batch - p.behind
    first = p.batch + p.position
    order = [*range(p.batch), *range(first, first + found)]
    order += [a for a in range(node.ndim) if a not in order]
    out = np.zeros([node.shape[a] for a in order], src.dtype)
    for at, select in _places(p, src.shape, indices):
        out[at] = src[select]
    return out.transpose(np.argsort(order))


@reference("ScatterSum")
def _scatter_sum(p: Any, node: Any, updates: np.ndarray, *indices: np.ndarray) -> np.ndarray:
    out = np.zeros(p.shape, updates.dtype)
    for at, select in _places(p, p.shape, indices):
        out[select] += updates[at]
    return out


@reference("Scatter")
def _scatter(
    p: Any, node: Any, array: np.ndarray, updates: np.ndarray, *indices: np.ndarray
) -> np.ndarray:
    combine = {
        "set": lambda a, b: b, "add": np.add, "prod": np.multiply, "max": np.maximum,
        "min": np.minimum,
    }[p.mode]  # fmt: skip
    out = array.copy()
    for at, select in _places(p, array.shape, indices):
        out[select] = combine(out[select], updates[at])
    return out


@reference("SliceUpdate")
def _slice_update(p: Any, node: Any, array: np.ndarray, update: np.ndarray) -> np.ndarray:
    out = array.copy()
    out[_indices(p.starts, p.steps, update.shape)] = update
    return out


@reference("SliceAdd")
def _slice_add(p: Any, node: Any, array: np.ndarray, part: np.ndarray) -> np.ndarray:
    out = array.copy()
    out[_indices(p.starts, p.steps, part.shape)] += part
    return out


@reference("ArgMax")
def _argmax(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.argmax(x, p.axis)


@reference("ArgMin")
def _argmin(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.argmin(x, p.axis)


@reference("Sort")
def _sort(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.sort(x, p.axis)


@reference("SortPart")
def _sort_part(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.take(np.sort(x, p.axis), range(*p.places), p.axis)


@reference("ArgSort")
def _argsort(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    return np.argsort(x, p.axis, kind="stable")


@reference("ArgSelect")
def _argselect(p: Any, node: Any, x: np.ndarray) -> np.ndarray:
    order = np.moveaxis(np.argsort(x, p.axis, kind="stable"), p.axis, -1)
    cut = order.shape[-1] - p.count if p.largest else p.count
    low, high = np.sort(order[..., :cut]), np.sort(order[..., cut:])
    if not p.rest:
        return np.moveaxis(high if p.largest else low, -1, p.axis)
    worst = order[..., cut : cut + 1] if p.largest else order[..., cut - 1 : cut]
    chosen = high if p.largest else low
    others = chosen[chosen != worst].reshape(*chosen.shape[:-1], p.count - 1)
    parts = [low, worst, others] if p.largest else [others, worst, high]
    return np.moveaxis(np.concatenate(parts, -1), -1, p.axis)


@reference("Threefry")
def _threefry(p: Any, node: Any, *words: np.ndarray) -> np.ndarray:
    """In Python's integers, one element at a time."""
    flat = [[int(v) for v in w.reshape(-1)] for w in words]
    out = [_threefry_words(*each)[p.word] for each in zip(*flat, strict=True)]
    return np.array(out, np.uint32).reshape(node.shape)


def _threefry_words(key0: int, key1: int, a: int, b: int) -> tuple[int, int]:
    keys, low = (key0, key1, key0 ^ key1 ^ 0x1BD11BDA), 2**32 - 1
    a, b = (a + key0) & low, (b + key1) & low
    for group in range(5):
        for count in ((13, 15, 26, 6), (17, 29, 16, 24))[group % 2]:
            a = (a + b) & low
            b = ((b << count | b >> (32 - count)) & low) ^ a
        a = (a + keys[(group + 1) % 3]) & low
        b = (b + keys[(group + 2) % 3] + group + 1) & low
    return a, b


@reference("QuantizedMatMul")
def _quantized(p: Any, node: Any, x: Any, w: Any, scales: Any, *biases: Any) -> np.ndarray:
    stream = (w[..., None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    bits = stream.reshape(*scales.shape, p.group, p.bits)
    grouped = (bits << np.arange(p.bits, dtype=np.uint32)).sum(-1)
    if p.mode == "affine":
        dense = grouped * scales[..., None] + biases[0][..., None]
    else:
        numbers = _small_floats(2, 1) if p.bits == 4 else _small_floats(4, 3)
        powers = np.exp2(scales.astype(np.float64) - 127)
        factors = _small_floats(4, 3)[scales] if p.mode == "nvfp4" else powers
        dense = (numbers[grouped] * factors[..., None]).astype(x.dtype)
    dense = dense.reshape(*w.shape[:-1], w.shape[-1] * 32 // p.bits)
    return x @ (dense.swapaxes(-1, -2) if p.transposed else dense)


def _rows_of(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """What each row chooses, where so many share an index."""
    return np.repeat(index, x.shape[0] // index.size)


@reference("ChosenMatMul")
def _chosen(p: Any, node: Any, x: np.ndarray, w: np.ndarray, index: np.ndarray) -> np.ndarray:
    return (x[:, None] @ w[_rows_of(x, index)])[:, 0]


@reference("ChosenOuter")
def _outer(p: Any, node: Any, x: np.ndarray, y: np.ndarray, index: np.ndarray) -> np.ndarray:
    rows = _rows_of(x, index)
    return np.stack([x[rows == c].T @ y[rows == c] for c in range(p.choices)])


@reference("ChosenQuantizedMatMul")
def _chosen_quantized(p: Any, node: Any, x: np.ndarray, *rest: np.ndarray) -> np.ndarray:
    *parts, index = rest
    rows = _rows_of(x, index)
    return _quantized(p.of, node, x[:, None], *(part[rows] for part in parts))[:, 0]


def _taps(p: Any, x: np.ndarray, kernel: Any, found: Any, spread: Any) -> Any:
    """Each tap, and what of x the result's positions see there."""
    wide = [(n - 1) * e + 1 if n else 0 for n, e in zip(x.shape[1:-1], spread, strict=True)]
    apart = np.zeros((x.shape[0], *wide, x.shape[-1]), x.dtype)
    apart[(slice(None), *(slice(None, None, e) for e in spread))] = x
    for tap in np.ndindex(*kernel):
        seen = apart
        for axis, (t, d, s, low, n) in enumerate(
            zip(tap, p.dilation, p.strides, p.low, found, strict=True), 1
        ):
            at = np.arange(n) * s + t * d - low
            there = (at >= 0) & (at < seen.shape[axis])
            behind = np.zeros((*seen.shape[:axis], 1, *seen.shape[axis + 1 :]), seen.dtype)
            padded = np.concatenate([seen, behind], axis)
            seen = np.take(padded, np.where(there, at, seen.shape[axis]), axis)
        yield tap, seen


def _in_groups(x: np.ndarray, groups: int) -> np.ndarray:
    return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


@reference("Convolution")
def _convolution(p: Any, node: Any, x: Any, w: Any) -> np.ndarray:
    out = np.zeros(node.shape, np.result_type(x, w))
    parts = _in_groups(out, p.groups)
    weights = w.reshape(p.groups, w.shape[0] // p.groups, *w.shape[1:])
    for tap, seen in _taps(p, x, w.shape[1:-1], node.shape[1:-1], p.spread):
        at = weights[(slice(None), slice(None), *tap)]
        parts += np.einsum("...gc,goc->...go", _in_groups(seen, p.groups), at)
    return out


@reference("Correlation")
def _correlation(p: Any, node: Any, x: Any, y: Any) -> np.ndarray:
    out = np.zeros((p.groups, node.shape[0] // p.groups, *node.shape[1:]), np.result_type(x, y))
    right = _in_groups(y, p.groups)
    for tap, seen in _taps(p, x, p.kernel, y.shape[1:-1], (1,) * len(p.kernel)):
        left = _in_groups(seen, p.groups)
        count = math.prod(left.shape[:-2])
        pair = (z.reshape(count, *z.shape[-2:]) for z in (left, right))
        out[(slice(None), slice(None), *tap)] = np.einsum("ngc,ngo->goc", *pair)
    return out.reshape(node.shape)


def _small_floats(exponent: int, fraction: int) -> np.ndarray:
    """Every float of so many bits and a sign, in the order of their codes."""
    codes = np.arange(2 ** (exponent + fraction))
    field, rest = codes >> fraction, codes % 2**fraction / 2**fraction
    bias = 2 ** (exponent - 1) - 1
    sizes = np.where(field == 0, 2.0 * rest, 1 + rest) * np.exp2(field - bias)
    return np.concatenate([sizes, -sizes])
