"""Transformations of functions that use a module, and averaging of gradients over processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

import mlx.core as mx
from mlx.nn.layers.base import Module
from mlx.utils import tree_flatten, tree_map, tree_reduce, tree_unflatten


def value_and_grad(model: Module, fn: Callable) -> Callable:
    """Return a function with the value of `fn` and its gradients for `model`.

    The gradients are those of the first result of `fn` with respect to
    ``model.trainable_parameters()``, in their structure.

    Raises TypeError if `model` is not a Module.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> loss, grads = nn.value_and_grad(model, lambda x: model(x).sum())(mx.array([1.0, 2.0]))
    >>> grads["weight"].tolist()
    [[1.0, 2.0]]
    """
    if not isinstance(model, Module):
        raise TypeError(f"[value_and_grad] The model must be a Module, got {type(model).__name__}.")

    @wraps(fn)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        params = model.trainable_parameters()
        places: list[tuple[Any, Any]] = []
        _list_places(params, model, places)
        before = [owner[key] for owner, key in places]
        stands: list[mx.array] = []

        def with_parameters(given: list[mx.array], *args: Any, **kwargs: Any) -> Any:
            stands[:] = given
            for (owner, key), value in zip(places, given):  # noqa: B905 (one each)
                owner[key] = value
            return fn(*args, **kwargs)

        try:
            value, gradients = mx.value_and_grad(with_parameters)(before, *args, **kwargs)
        finally:
            for (owner, key), old, stand in zip(places, before, stands):  # noqa: B905 (or none)
                if owner[key] is stand:  # else the function assigned another
                    owner[key] = old
        return value, _filled(params, iter(gradients))

    return wrapped


def _list_places(params: Any, owner: Any, places: list[tuple[Any, Any]]) -> None:
    """List where the arrays of `params` are in a module (or in a container in it)."""
    for key, child in params.items() if isinstance(params, dict) else enumerate(params):
        if isinstance(child, mx.array):
            places.append((owner, key))
        else:
            _list_places(child, owner[key], places)


def _filled(params: Any, values: Iterator[mx.array]) -> Any:
    """Dictionaries and lists as `params`, with the next of the values at the leaves."""
    if isinstance(params, dict):
        return {key: _filled(child, values) for key, child in params.items()}
    if isinstance(params, list):
        return [_filled(child, values) for child in params]
    return next(values)


def checkpoint(module: Module, fn: Callable | None = None) -> Callable:
    """Return `module` (or `fn`, a function that uses it) as a checkpointed function.

    What it computes inside is not kept for the backward pass but computed again.

    >>> layer = nn.Linear(2, 3)
    >>> nn.utils.checkpoint(layer)(mx.ones((2,))).shape
    (3,)
    """
    function = module if fn is None else fn

    def with_parameters(params: Any, *args: Any, **kwargs: Any) -> Any:
        saved = module.trainable_parameters()
        module.update(params)
        try:
            return function(*args, **kwargs)
        finally:
            module.update(saved)

    checkpointed = mx.checkpoint(with_parameters)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        return checkpointed(module.trainable_parameters(), *args, **kwargs)

    return wrapped if fn is None else wraps(fn)(wrapped)


def average_gradients(
    gradients: Any,
    group: Any = None,
    all_reduce_size: int = 32 * 1024**2,
    communication_stream: Any = None,
) -> Any:
    """Average a tree of gradients over the processes of a group.

    Gradients of one dtype are joined to messages of about `all_reduce_size` bytes (not positive:
    one message an array). One process alone gets its gradients back.
    """
    group = group if group is not None else mx.distributed.init()
    size = group.size()
    if size == 1:
        return gradients

    def average(x: mx.array) -> mx.array:
        return mx.distributed.all_sum(x, group=group, stream=communication_stream) / size

    if all_reduce_size <= 0:
        return tree_map(average, gradients)
    flat = list(tree_flatten(gradients))
    averaged: dict[str, mx.array] = {}
    for part in _messages(flat, all_reduce_size):
        arrays = [array for _, array in part]
        message = average(mx.concatenate([a.reshape(-1) for a in arrays]))
        start = 0
        for path, array in part:
            averaged[path] = message[start : start + array.size].reshape(array.shape)
            start += array.size
    return tree_unflatten([(path, averaged[path]) for path, _ in flat])


def _messages(flat: list[tuple[str, mx.array]], limit: int) -> list[list[tuple[str, mx.array]]]:
    """Group arrays of one dtype into parts that end with the array that reaches `limit` bytes."""
    open_parts: dict[Any, tuple[list[tuple[str, mx.array]], int]] = {}
    parts = []
    for path, array in flat:
        part, size = open_parts.get(array.dtype, ([], 0))
        part.append((path, array))
        size += array.nbytes
        open_parts[array.dtype] = (part, size)
        if size >= limit:
            parts.append(part)
            del open_parts[array.dtype]
    return parts + [part for part, _ in open_parts.values()]


def clip_grad_norm_sharded(
    gradients: Any, max_norm: float, group: Any = None
) -> tuple[Any, mx.array]:
    """Like `mlx.optimizers.clip_grad_norm` for gradients of which each process has a shard."""
    group = group if group is not None else mx.distributed.init()
    squared = tree_reduce(
        lambda total, g: total + g.astype(mx.float32).square().sum(), gradients, mx.array(0.0)
    )
    if group.size() > 1:
        squared = mx.distributed.all_sum(squared, group=group)
    norm = mx.sqrt(squared)
    scale = mx.minimum(max_norm / (norm + 1e-6), 1.0)
    return tree_map(lambda g: (g * scale).astype(g.dtype), gradients), norm
