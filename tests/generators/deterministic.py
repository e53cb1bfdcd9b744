"""Inputs and parameters that do not depend on a framework's random numbers."""

import numpy as np

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten


def floats(seed, shape, dtype="float32"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def array(seed, *shape):
    """An array of normal numbers that `seed` and `shape` determine."""
    return mx.array(floats(seed, shape))


def fill(module):
    """Replace every parameter by numbers that its path and shape determine."""
    new = []
    for path, parameter in tree_flatten(module.parameters()):
        values = 0.5 * floats([len(path), *map(ord, path)], parameter.shape)
        # Variances must be positive.
        new.append((path, mx.array(abs(values) + 0.5 if "var" in path else values)))
    if new:
        module.update(tree_unflatten(new))
    return module


def weighted_sum(tree):
    """A scalar in which every element of every array counts differently."""
    total = mx.array(0.0)
    for _, value in tree_flatten(tree):
        weight = mx.arange(1, value.size + 1).reshape(value.shape) / value.size
        total = total + (value * weight).sum()
    return total


def gradients(module, inputs):
    """Gradients for the trainable parameters and, where it is floating, the first input."""
    first, *others = inputs
    params = module.trainable_parameters()
    point = {"params": params}
    if mx.issubdtype(first.dtype, mx.floating):
        point["x"] = first

    def scalar(point):
        module.update(point["params"])
        return weighted_sum(module(point.get("x", first), *others))

    result = mx.grad(scalar)(point)
    module.update(params)
    return result


def flat(name, tree):
    """A dictionary of NumPy arrays with names that start with `name`."""
    return {
        f"{name}/{path}": np.array(value.astype(mx.float32)) for path, value in tree_flatten(tree)
    }


def save(path, arrays):
    """Write a dictionary of arrays to one small file."""
    np.savez_compressed(
        path,
        names=np.array(list(arrays)),
        shapes=np.array([",".join(map(str, a.shape)) for a in arrays.values()]),
        values=np.concatenate([a.ravel() for a in arrays.values()]).astype("float32"),
    )


def load(path):
    """Read what `save` wrote."""
    file = np.load(path)
    arrays, start = {}, 0
    values = file["values"]
    for name, text in zip(file["names"], file["shapes"], strict=True):
        shape = tuple(map(int, text.split(","))) if text else ()
        size = int(np.prod(shape))
        arrays[str(name)] = values[start : start + size].reshape(shape)
        start += size
    return arrays


def assert_close(values, expected):
    """Compare dictionaries of arrays: same names, and values equal up to rounding in float32."""
    assert sorted(values) == sorted(expected)
    for name, array in expected.items():
        scale = max(1.0, np.abs(array).max(initial=0))
        np.testing.assert_allclose(values[name], array, 2e-5, 2e-5 * scale, err_msg=name)
