"""Trees of gradients, beside those of parameters and state."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import mlx.core as mx

Part = tuple[mx.array, mx.array, dict[str, Any]]
"""A gradient, its parameter and that parameter's state."""


def gather(gradients: Any, parameters: Any, state: Any, parts: list[Part]) -> bool:
    """List all parts; False where the trees are no plain ones that fit one another."""
    if type(gradients) is mx.array:
        if type(parameters) is not mx.array or type(state) is not dict or not state:
            return False
        parts.append((gradients, parameters, state))
        return True
    if type(gradients) is dict:
        if not isinstance(parameters, dict) or type(state) is not dict:
            return False
        for key, child in gradients.items():
            if key not in parameters or key not in state:
                return False
            if not gather(child, parameters[key], state[key], parts):
                return False
        return True
    lists = type(gradients) is type(parameters) is type(state) is list
    if not lists or not len(gradients) <= min(len(parameters), len(state)):
        return False
    return all([gather(*of, parts) for of in zip(gradients, parameters, state)])  # noqa: B905


def rebuilt(tree: Any, values: Iterator[mx.array]) -> Any:
    """The tree, of plain containers, with the next of the values at its leaves."""
    if type(tree) is dict:
        return {key: rebuilt(child, values) for key, child in tree.items()}
    if type(tree) is list:
        return [rebuilt(child, values) for child in tree]
    return next(values)


def check_gradients(gradients: Any, parameters: Any, path: str = "") -> None:
    """Raise unless every gradient has a parameter at its place."""
    kinds: Any
    items: list[tuple[Any, Any]]
    if isinstance(gradients, dict):
        kinds, items = dict, list(gradients.items())
    elif isinstance(gradients, (list, tuple)):
        kinds, items = (list, tuple), list(enumerate(gradients))
    else:
        kinds, items = mx.array, []
    if kinds is not mx.array and not items:
        return
    if not isinstance(parameters, kinds):
        raise _mismatch(TypeError, path, type(parameters).__name__)
    for key, child in items:
        place = f"{path}.{key}"
        if kinds is dict and key not in parameters:
            raise _mismatch(KeyError, place, "nothing")
        if kinds is not dict and key >= len(parameters):
            raise _mismatch(IndexError, place, "nothing")
        check_gradients(child, parameters[key], place)


def _mismatch(error: type[Exception], path: str, found: str) -> Exception:
    return error(
        "[apply_gradients] The gradients must have the structure of (part of) the parameters, "
        f"but the parameters have {found} at '{path[1:]}'."
    )


def overlay(tree: Any, new: Any) -> Any:
    """Return `tree` with the leaves of `new` in place of its own."""
    if isinstance(tree, dict):
        return {
            key: overlay(child, new[key]) if key in new else child for key, child in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        replaced = [overlay(a, b) for a, b in zip(tree, new, strict=False)]
        return type(tree)(replaced + list(tree[len(replaced) :]))
    return new if isinstance(new, mx.array) else tree
