"""Writing into the tree of a module: replacing parameters and sub-modules, saving and restoring."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx


def _pairs(target: Any, new: Any, strict: bool, what: str) -> Iterable[tuple[Any, Any, Any]]:
    """Yield (key, current value, new value) for the values of `new` that `target` has a place for.

    `what` names in errors what a missing key would have been.
    """
    if isinstance(new, dict) and isinstance(target, (dict, list, tuple)):
        known = target if isinstance(target, dict) else {}
        for key, value in new.items():
            if key in known:
                yield key, known[key], value
            elif strict:
                raise ValueError(f'Module does not have {what} named "{key}".')
    elif isinstance(new, list) and isinstance(target, (list, tuple)):
        for i, value in enumerate(new):
            if i < len(target):
                yield i, target[i], value
            elif strict:
                raise ValueError(
                    f"List index {i} is out of bounds for destination of length {len(target)}."
                )
    elif strict and new not in ({}, []):
        raise ValueError(f"Received invalid type: {type(new).__name__}.")


def update_parameters(target: Any, parameters: Any, strict: bool) -> None:
    """Replace the arrays of `target` by those in `parameters`, in place."""
    for key, current, new in _pairs(target, parameters, strict, "parameter"):
        if isinstance(current, mx.array):
            if strict and not isinstance(new, mx.array):
                raise ValueError(f"Received invalid type: {type(new).__name__}.")
            target[key] = new
        else:
            update_parameters(current, new, strict)


def update_modules(
    target: Any, modules: Any, strict: bool, is_module: Callable[[Any], bool]
) -> None:
    """Replace the modules of `target` by those in `modules`, in place."""
    for key, current, new in _pairs(target, modules, strict, "sub-module"):
        if is_module(current) and is_module(new):
            target[key] = new
        elif isinstance(current, (dict, list)):
            update_modules(current, new, strict, is_module)
        elif strict and new != {}:
            raise ValueError(f"Received invalid type: {type(new).__name__}.")


def check_weights(named: dict[str, Any], expected: dict[str, mx.array]) -> None:
    """Raise ValueError unless `named` has exactly the names and shapes of `expected`."""
    if extra := sorted(named.keys() - expected.keys()):
        names = ",\n".join(extra)
        raise ValueError(f"Received {len(extra)} parameters not in model: \n{names}.")
    if missing := sorted(expected.keys() - named.keys()):
        names = ",\n".join(missing)
        raise ValueError(f"Missing {len(missing)} parameters: \n{names}.")
    for name, current in expected.items():
        new = named[name]
        if not isinstance(new, mx.array):
            raise ValueError(f"Expected mx.array but received {type(new)} for parameter {name}")
        if new.shape != current.shape:
            raise ValueError(
                f"Expected shape {current.shape} but received shape {new.shape} "
                f"for parameter {name}"
            )


def snapshot(module: Any) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Return every container below `module`, its items and its attributes (shallow copies)."""
    saved: dict[int, tuple[Any, Any, dict[str, Any]]] = {}
    stack: list[Any] = [module]
    while stack:
        container = stack.pop()
        if id(container) in saved:
            continue
        if isinstance(container, dict):
            saved[id(container)] = (
                container,
                dict(container),
                dict(getattr(container, "__dict__", {})),
            )
            stack.extend(container.values())
        elif isinstance(container, list):
            saved[id(container)] = (container, list(container), {})
            stack.extend(container)
        elif isinstance(container, tuple):
            stack.extend(container)
    return list(saved.values())


def restore(saved: list[tuple[Any, Any, dict[str, Any]]]) -> None:
    """Put back what `snapshot` saw."""
    for container, items, attributes in saved:
        if not isinstance(container, dict):
            container[:] = items
            continue
        # The plain dictionary's methods: a Module has an update of its own.
        dict.clear(container)
        dict.update(container, items)
        if attributes:
            container.__dict__.clear()
            container.__dict__.update(attributes)
