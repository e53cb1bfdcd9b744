"""Module: the base class of all layers, a dictionary of parameters and sub-modules."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx
from mlx.nn.layers._tree import (
    check_weights,
    restore,
    snapshot,
    update_modules,
    update_parameters,
)
from mlx.utils import tree_flatten, tree_unflatten

MapFn = Callable[[Any], Any]
FilterFn = Callable[["Module", str, Any], bool]


class Module(dict):
    """Base class of neural network layers.

    A module is a dictionary: attributes that are arrays, lists, tuples, dictionaries or modules
    are its items, all others are ordinary attributes. Its *parameters* are the arrays whose name
    does not start with an underscore, at any depth of modules, lists and dictionaries.

    >>> import mlx.core as mx, mlx.nn as nn
    >>> class Scale(nn.Module):
    ...     def __init__(self, dims: int):
    ...         super().__init__()
    ...         self.weight = mx.ones((dims,))
    ...     def __call__(self, x):
    ...         return x * self.weight
    >>> Scale(3)(mx.array([1.0, 2.0, 3.0])).tolist()
    [1.0, 2.0, 3.0]
    """

    __call__: Callable

    def __init__(self) -> None:
        self._no_grad: set[str] = set()
        self._training = True

    @property
    def training(self) -> bool:
        """Whether the module is in training mode (see `train` and `eval`)."""
        return self._training

    @property
    def state(self) -> Module:
        """The module itself: everything it holds, for `mx.eval` and `mx.compile`."""
        return self

    # Attributes

    def __getattr__(self, key: str) -> Any:
        try:
            return self[key]
        except KeyError:
            pass
        hint = ""
        if key in ("_no_grad", "_training"):
            hint = "; __init__ must call super().__init__() first"
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {key!r}{hint}")

    def __setattr__(self, key: str, val: Any) -> None:
        if isinstance(val, (mx.array, dict, list, tuple)):
            self.__dict__.pop(key, None)
            self[key] = val
        else:
            super().__setattr__(key, val)
            self.pop(key, None)

    def __delattr__(self, name: str) -> None:
        if name in self:
            del self[name]
        else:
            super().__delattr__(name)

    def _extra_repr(self) -> str:
        return ""

    def __repr__(self) -> str:
        children = tree_flatten(self.children(), is_leaf=self.is_module)
        text = f"{type(self).__name__}({self._extra_repr()}"
        for name, child in children:
            text += "\n" + textwrap.indent(f"({name}): {child!r}", "  ")
        return text + ("\n)" if children else ")")

    # Reading the tree

    @staticmethod
    def is_module(value: Any) -> bool:
        """Whether `value` is a Module."""
        return isinstance(value, Module)

    @staticmethod
    def valid_child_filter(module: Module, key: str, value: Any) -> bool:
        """Filter for `filter_and_map`: modules and what may contain them."""
        return isinstance(value, (dict, list))

    @staticmethod
    def valid_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """Filter for `filter_and_map`: public parameters and what may contain them."""
        return isinstance(value, (dict, list, mx.array)) and not key.startswith("_")

    @staticmethod
    def trainable_parameter_filter(module: Module, key: str, value: Any) -> bool:
        """Filter for `filter_and_map`: parameters that are not frozen."""
        return Module.valid_parameter_filter(module, key, value) and key not in module._no_grad

    def filter_and_map(
        self,
        filter_fn: FilterFn,
        map_fn: MapFn | None = None,
        is_leaf_fn: FilterFn | None = None,
    ) -> dict[str, Any]:
        """Return the contents as a dictionary, filtered and with `map_fn` applied to leaves.

        `filter_fn(module, key, value)` decides what is kept (elements of lists and dictionaries
        that are not leave an empty dictionary); `is_leaf_fn(module, key, value)` what is a leaf,
        by default everything but modules, dictionaries and lists. Keys of nested values are
        dotted paths inside their module.

        Raises RuntimeError for a value that is neither a leaf nor a container.

        >>> nn.Linear(2, 3).filter_and_map(lambda m, k, v: k == "weight", lambda a: a.shape)
        {'weight': (3, 2)}
        """
        map_fn = map_fn or (lambda value: value)
        is_leaf_fn = is_leaf_fn or _is_value
        return {
            key: _descend(self, key, value, filter_fn, map_fn, is_leaf_fn)
            for key, value in self.items()
            if filter_fn(self, key, value)
        }

    def parameters(self) -> dict[str, Any]:
        """Return all parameters as nested dictionaries and lists."""
        return self.filter_and_map(self.valid_parameter_filter)

    def trainable_parameters(self) -> dict[str, Any]:
        """Return the parameters that are not frozen as nested dictionaries and lists."""
        return self.filter_and_map(self.trainable_parameter_filter)

    def children(self) -> dict[str, Any]:
        """Return the direct sub-modules as nested dictionaries and lists."""
        return self.filter_and_map(
            self.valid_child_filter, is_leaf_fn=lambda _, __, value: isinstance(value, Module)
        )

    def leaf_modules(self) -> dict[str, Any]:
        """Return the sub-modules that have no sub-modules themselves."""

        def is_leaf(_: Module, __: str, value: Any) -> bool:
            return isinstance(value, Module) and not tree_flatten(value.children())

        return self.filter_and_map(self.valid_child_filter, is_leaf_fn=is_leaf)

    def modules(self) -> list[Module]:
        """Return the module and all modules in it, at any depth."""
        return [module for _, module in self.named_modules()]

    def named_modules(self) -> list[tuple[str, Module]]:
        """Return the module and all modules in it with their dotted paths.

        >>> [name for name, _ in nn.Sequential(nn.ReLU(), nn.Tanh()).named_modules()]
        ['', 'layers.1', 'layers.0']
        """
        found = []
        stack: list[tuple[str, Module]] = [("", self)]
        while stack:
            name, module = stack.pop()
            found.append((name, module))
            prefix = f".{name}" if name else ""
            stack.extend(tree_flatten(module.children(), prefix=prefix, is_leaf=self.is_module))
        return found

    # Changing the tree

    def update(  # type: ignore[override]
        self, parameters: dict[str, Any] | list[Any], strict: bool = True
    ) -> Module:
        """Replace the parameters that `parameters` holds; return the module.

        Raises ValueError, if `strict`, for a name that is not in the module or a value that does
        not fit its place.

        >>> layer = nn.Linear(2, 3, bias=False)
        >>> _ = layer.update({"weight": mx.zeros((3, 2))})
        >>> layer.weight.sum().item()
        0.0
        """
        update_parameters(self, parameters, strict)
        return self

    def update_modules(self, modules: dict[str, Any], strict: bool = True) -> Module:
        """Replace the sub-modules that `modules` holds (empty dictionaries: keep).

        Raises ValueError, if `strict`, for a name that is not a sub-module or a value that does
        not fit its place.

        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> net.update_modules({"layers": [{}, nn.Tanh()]}).layers[1]
        Tanh()
        """
        update_modules(self, modules, strict, self.is_module)
        return self

    def apply(
        self,
        map_fn: MapFn | dict[str, Any] | list[Any],
        filter_fn: FilterFn | None = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Map the parameters, or run the module with other parameters.

        ``apply(map_fn, filter_fn=None)`` replaces every parameter (or all that `filter_fn`
        selects) by `map_fn` of it and returns the module.

        ``apply(params, *inputs, **options)`` returns what the module returns for the inputs when
        its parameters are `params`. The module itself is not changed, also if the call raises.
        Batch statistics and other state that the call assigns are dropped.

        >>> layer = nn.Linear(2, 1, bias=False)
        >>> layer.apply({"weight": mx.ones((1, 2))}, mx.array([1.0, 2.0])).item()
        3.0
        """
        if callable(map_fn):
            self.update(self.filter_and_map(filter_fn or self.valid_parameter_filter, map_fn))
            return self
        # The second positional argument is the first input.
        inputs = args if filter_fn is None and not args else (filter_fn, *args)
        saved = snapshot(self)
        try:
            self.update(map_fn)
            return self(*inputs, **kwargs)
        finally:
            restore(saved)

    def apply_to_modules(self, apply_fn: Callable[[str, Module], Any]) -> Module:
        """Call `apply_fn(path, module)` for the module and all modules in it; return the module."""
        for name, module in self.named_modules():
            apply_fn(name, module)
        return self

    # Modes

    def freeze(
        self,
        *,
        recurse: bool = True,
        keys: str | list[str] | None = None,
        strict: bool = False,
    ) -> Module:
        """Exclude parameters from training; return the module.

        `recurse`: those of sub-modules too. `keys`: only the parameters of these names.

        Raises KeyError, if `strict`, for a name that none of these modules has.

        >>> net = nn.Linear(2, 3).freeze(keys="bias")
        >>> list(net.trainable_parameters())
        ['weight']
        """
        names = self._frozen_names(keys, recurse, strict)
        for module in self.modules() if recurse else [self]:
            module._no_grad.update(module._own_parameter_names() if names is None else names)
        return self

    def unfreeze(
        self,
        *,
        recurse: bool = True,
        keys: str | list[str] | None = None,
        strict: bool = False,
    ) -> Module:
        """Make parameters trainable again; the arguments are those of `freeze`."""
        names = self._frozen_names(keys, recurse, strict)
        self._no_grad.difference_update(set(self._no_grad) if names is None else names)
        for module in self.modules()[1:] if recurse else []:
            # Its own method: some layers keep parameters frozen.
            module.unfreeze(recurse=False, keys=keys)
        return self

    def train(self, mode: bool = True) -> Module:
        """Put the module and all modules in it into training mode, or out of it."""
        return self.apply_to_modules(lambda _, module: module._set_training_mode(mode))

    def _set_training_mode(self, mode: bool) -> None:
        """Hook for layers that change with the mode."""
        self._training = mode

    def eval(self) -> Module:
        """Leave training mode: the same as ``train(False)``."""
        return self.train(False)

    def set_dtype(
        self,
        dtype: mx.Dtype,
        predicate: Callable[[mx.Dtype], bool] | None = lambda dtype: mx.issubdtype(
            dtype, mx.floating
        ),
    ) -> None:
        """Convert the parameters whose dtype satisfies `predicate` (None: all) to `dtype`."""
        keep = predicate or (lambda _: True)
        self.apply(lambda array: array.astype(dtype) if keep(array.dtype) else array)

    def _own_parameter_names(self) -> list[str]:
        own = self.filter_and_map(
            lambda module, key, value: (
                not isinstance(value, Module) and self.valid_parameter_filter(module, key, value)
            )
        )
        return [path for path, _ in tree_flatten(own)]

    def _frozen_names(
        self, keys: str | list[str] | None, recurse: bool, strict: bool
    ) -> list[str] | None:
        if keys is None:
            return None
        keys = [keys] if isinstance(keys, str) else list(keys)
        if strict:
            modules = self.modules() if recurse else [self]
            for key in keys:
                if not any(key in module for module in modules):
                    raise KeyError(f"Module doesn't contain member {key}.")
        return keys

    # Files

    def load_weights(
        self,
        file_or_weights: str | os.PathLike | Iterable[tuple[str, mx.array]] | dict[str, mx.array],
        strict: bool = True,
    ) -> Module:
        """Set the parameters from a .npz or .safetensors file, or from (path, array) pairs.

        Raises ValueError, if `strict`, when a parameter is missing, unknown, no array or of
        another shape.

        >>> _ = nn.Linear(2, 1, bias=False).load_weights([("weight", mx.ones((1, 2)))])
        """
        weights: Any = file_or_weights
        if isinstance(weights, (str, os.PathLike)):
            weights = mx.load(os.fspath(weights))
        named = dict(weights)
        if strict:
            check_weights(named, dict(tree_flatten(self.parameters())))
        if named:
            self.update(tree_unflatten(list(named.items())), strict=False)
        return self

    def save_weights(self, file: str | os.PathLike) -> None:
        """Write the parameters to a .npz or .safetensors file.

        Raises ValueError for another extension.
        """
        path = os.fspath(file)
        params = dict(tree_flatten(self.parameters()))
        if path.endswith(".npz"):
            mx.savez(path, **params)
        elif path.endswith(".safetensors"):
            mx.save_safetensors(path, params)
        else:
            raise ValueError(f"Unsupported file extension: {path} (use .npz or .safetensors).")


def _is_value(_: Module, __: str, value: Any) -> bool:
    return not isinstance(value, (dict, list))


def _descend(
    module: Module, path: str, value: Any, keep: FilterFn, map_fn: MapFn, is_leaf: FilterFn
) -> Any:
    """Filter and map one value that `module` holds at `path`."""
    if is_leaf(module, path, value):
        return map_fn(value)
    if isinstance(value, Module):
        return value.filter_and_map(keep, map_fn, is_leaf)

    def element(key: Any, child: Any) -> Any:
        child_path = f"{path}.{key}"
        if not keep(module, child_path, child):
            return {}
        return _descend(module, child_path, child, keep, map_fn, is_leaf)

    if isinstance(value, dict):
        return {key: element(key, child) for key, child in value.items()}
    if isinstance(value, list):
        return [element(i, child) for i, child in enumerate(value)]
    raise RuntimeError(
        f"Unexpected leaf found while traversing the module: {path} is a {type(value).__name__}"
    )
