"""Layers whose parameters are divided among the processes of a group."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import mlx.core as mx
from mlx.nn._checks import positive
from mlx.nn.layers.base import Module
from mlx.nn.layers.quantized import Quantized, QuantizedLinear, skip_draw
from mlx.utils import tree_flatten, tree_map_with_path, tree_unflatten

Segments = int | list[int]
Sharding = str | Callable[[str, mx.array], Any]


@lru_cache
def sum_gradients(group: Any) -> Callable[[mx.array], Any]:
    """Return the identity whose gradient is summed over the processes of `group`."""
    if group.size() == 1:
        return lambda x: x

    @mx.custom_function
    def identity(x: mx.array) -> mx.array:
        return x

    @identity.vjp
    def summed(_: mx.array, cotangent: mx.array, __: mx.array) -> mx.array:
        return mx.distributed.all_sum(cotangent, group=group)

    return identity


def _shard_array(array: mx.array, axis: int, segments: Segments, group: Any) -> mx.array:
    """Return this process's part of every segment of `array` along `axis`."""
    if group.size() == 1:
        return array
    parts = [
        mx.split(part, group.size(), axis=axis)[group.rank()]
        for part in mx.split(array, segments, axis=axis)
    ]
    return mx.contiguous(mx.concatenate(parts, axis=axis))


def _check_sharding(sharding: Sharding) -> None:
    if sharding not in ("all-to-sharded", "sharded-to-all"):
        raise ValueError(
            f"Sharding type {sharding=} not supported, "
            "choose one of 'all-to-sharded' or 'sharded-to-all'"
        )


def _predicate(sharding: Sharding, segments: Segments) -> Callable[[str, mx.array], Any]:
    """Return a function from path and array to None, an axis, or (axis, segments)."""
    if callable(sharding):
        return sharding
    _check_sharding(sharding)

    def all_to_sharded(path: str, array: mx.array) -> Any:
        return (0 if path.endswith("bias") else max(array.ndim - 2, 0)), segments

    def sharded_to_all(path: str, array: mx.array) -> Any:
        return None if path.endswith("bias") else (-1, segments)

    return all_to_sharded if sharding == "all-to-sharded" else sharded_to_all


def _shard_tree(parameters: Any, predicate: Callable[[str, mx.array], Any], group: Any) -> Any:
    def shard(path: str, array: mx.array) -> mx.array:
        chosen = predicate(path, array)
        if chosen is None:
            return array
        axis, segments = (chosen, 1) if isinstance(chosen, int) else chosen
        return _shard_array(array, axis, segments, group)

    return tree_map_with_path(shard, parameters)


def shard_inplace(
    module: Module, sharding: Sharding, *, segments: Segments = 1, group: Any = None
) -> None:
    """Replace the parameters of `module` by this process's part of them.

    `sharding` is "all-to-sharded", "sharded-to-all" or a function from path and array to None, an
    axis, or an axis and segments.

    Raises ValueError for another `sharding`.
    """
    group = group or mx.distributed.init()
    predicate = _predicate(sharding, segments)
    module.update(_shard_tree(module.parameters(), predicate, group))


def shard_linear(
    module: Module, sharding: str, *, segments: Segments = 1, group: Any = None
) -> Module:
    """Return the sharded layer of a `Linear` or `QuantizedLinear`.

    Raises ValueError for a `sharding` other than "all-to-sharded" and "sharded-to-all".
    """
    _check_sharding(sharding)
    if "weight" not in module:
        raise TypeError(
            f"[shard_linear] Expected a Linear or QuantizedLinear, got {type(module).__name__}."
        )
    to_sharded = sharding == "all-to-sharded"
    if isinstance(module, QuantizedLinear):
        cls: Any = QuantizedAllToShardedLinear if to_sharded else QuantizedShardedToAllLinear
        return cls.from_quantized_linear(module, segments=segments, group=group)
    cls = AllToShardedLinear if to_sharded else ShardedToAllLinear
    return cls.from_linear(module, segments=segments, group=group)


def _divide(name: str, dims: int, group: Any) -> int:
    if dims % group.size() != 0:
        raise ValueError(f"Cannot shard the {name} of size {dims} across {group.size()} devices.")
    return dims // group.size()


class _Sharded(Module):
    """What the sharded linear layers share."""

    _sharding: str
    _divided: str

    def _sizes(self, input_dims: int, output_dims: int) -> tuple[int, int]:
        """Return the input and output size of this process's part."""
        if self._divided == "output":
            return input_dims, _divide("output", output_dims, self.group)
        return _divide("input", input_dims, self.group), output_dims

    def _whole(self, input_dims: int, output_dims: int) -> tuple[int, int]:
        size = self.group.size()
        if self._divided == "output":
            return input_dims, output_dims * size
        return input_dims * size, output_dims

    def _take(self, layer: Module, segments: Segments) -> None:
        """Take over this process's part of the parameters of `layer`."""
        predicate = _predicate(self._sharding, segments)
        for name, array in _shard_tree(dict(layer.parameters()), predicate, self.group).items():
            self[name] = array


class _ShardedLinear(_Sharded):
    def __init__(
        self, input_dims: int, output_dims: int, bias: bool = True, group: Any = None
    ) -> None:
        super().__init__()
        bound = math.sqrt(1.0 / positive(type(self).__name__, input_dims))
        self.group = group or mx.distributed.init()
        inputs, outputs = self._sizes(input_dims, output_dims)
        self.weight = mx.random.uniform(-bound, bound, (outputs, inputs))
        if bias:
            self.bias = mx.random.uniform(-bound, bound, (outputs,))

    def _extra_repr(self) -> str:
        input_dims, output_dims = self._whole(*self.weight.shape[::-1])
        return f"input_dims={input_dims}, output_dims={output_dims}, bias={'bias' in self}"

    @classmethod
    def from_linear(cls, linear_layer: Module, *, segments: Segments = 1, group: Any = None) -> Any:
        """Shard a `Linear`; each of its `segments` is divided by itself."""
        layer = cls.__new__(cls)
        Module.__init__(layer)
        layer.group = group or mx.distributed.init()
        skip_draw()
        if "bias" in linear_layer:
            skip_draw()
        layer._take(linear_layer, segments)
        return layer


class AllToShardedLinear(_ShardedLinear):
    """`Linear` of whole inputs, with the outputs divided among the processes.

    Raises ValueError unless `output_dims` is a multiple of the number of processes.
    """

    _sharding = "all-to-sharded"
    _divided = "output"

    def __call__(self, x: mx.array) -> mx.array:
        y = sum_gradients(self.group)(x) @ self["weight"].T
        return y + self["bias"] if "bias" in self else y


class ShardedToAllLinear(_ShardedLinear):
    """`Linear` of divided inputs, with the outputs summed over the processes.

    Raises ValueError unless `input_dims` is a multiple of the number of processes.
    """

    _sharding = "sharded-to-all"
    _divided = "input"

    def __call__(self, x: mx.array) -> mx.array:
        x = mx.distributed.all_sum(x @ self["weight"].T, group=self.group)
        return x + self["bias"] if "bias" in self else x


class _QuantizedShardedLinear(_Sharded, Quantized):
    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int = 64,
        bits: int = 4,
        mode: str = "affine",
        group: Any = None,
    ) -> None:
        super().__init__()
        bound = math.sqrt(1.0 / positive(type(self).__name__, input_dims))
        self.group = group or mx.distributed.init()
        inputs, outputs = self._sizes(input_dims, output_dims)
        weight = mx.random.uniform(-bound, bound, (outputs, inputs))
        self._set_quantized(weight, group_size, bits, mode)
        if bias:
            self.bias = mx.zeros((outputs,))
        self.freeze()

    def unfreeze(self, *args: Any, **kwargs: Any) -> Module:
        """Make the parameters of sub-modules trainable again; its own stay frozen."""
        super().unfreeze(*args, **kwargs)
        return self.freeze(recurse=False)

    def _extra_repr(self) -> str:
        outputs, packed = self.weight.shape
        input_dims, output_dims = self._whole(packed * 32 // self.bits, outputs)
        return (
            f"input_dims={input_dims}, output_dims={output_dims}, "
            f"bias={'bias' in self}, {self._settings_repr()}"
        )

    @classmethod
    def from_quantized_linear(
        cls, quantized_linear_layer: Module, *, segments: Segments = 1, group: Any = None
    ) -> Any:
        """Shard a `QuantizedLinear`; each of its `segments` is divided by itself."""
        layer = cls.__new__(cls)
        Module.__init__(layer)
        layer.group = group or mx.distributed.init()
        for name in ("group_size", "bits", "mode"):
            setattr(layer, name, getattr(quantized_linear_layer, name))
        skip_draw()
        layer._take(quantized_linear_layer, segments)
        layer.freeze()
        return layer


class QuantizedAllToShardedLinear(_QuantizedShardedLinear):
    """`QuantizedLinear` of whole inputs, with the outputs divided among the processes."""

    _sharding = "all-to-sharded"
    _divided = "output"

    def __call__(self, x: mx.array) -> mx.array:
        y = self._matmul(sum_gradients(self.group)(x))
        return y + self["bias"] if "bias" in self else y


class QuantizedShardedToAllLinear(_QuantizedShardedLinear):
    """`QuantizedLinear` of divided inputs, with the outputs summed over the processes."""

    _sharding = "sharded-to-all"
    _divided = "input"

    def __call__(self, x: mx.array) -> mx.array:
        y = mx.distributed.all_sum(self._matmul(x), group=self.group)
        return y + self["bias"] if "bias" in self else y


class FullyShardedModule(Module):
    """Keep of each parameter of `module` only a part of the rows; gather them for a call.

    Gradients are averaged over the processes and divided the same way. `compute_dtype` is the
    dtype in which floating point parameters are gathered and used when there are several
    processes.
    """

    def __init__(self, module: Module, group: Any = None, compute_dtype: Any = None) -> None:
        super().__init__()
        group = group or mx.distributed.init()
        if not isinstance(module, Module):
            raise TypeError(f"[FullyShardedModule] Expected a Module, got {type(module).__name__}.")
        self.module = module
        size = group.size()
        self.__dict__["_paths"] = [
            path
            for path, array in tree_flatten(module.parameters())
            if array.ndim > 0 and array.shape[0] % size == 0
        ]
        self._gather_fn = _gather(group, compute_dtype)
        if size > 1:
            paths = set(self._paths)
            shard_inplace(module, lambda path, _: 0 if path in paths else None, group=group)

    def _extra_repr(self) -> str:
        return f"num_sharded_params={len(self._paths)}"

    def _run(self, fn: Callable, *args: Any, **kwargs: Any) -> Any:
        parts = dict(tree_flatten(self.module.parameters()))
        own = {path: parts[path] for path in self._paths}
        if own:
            whole = {path: self._gather_fn(part) for path, part in own.items()}
            self.module.update(tree_unflatten(whole))
        try:
            return fn(*args, **kwargs)
        finally:
            if own:
                self.module.update(tree_unflatten(own))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._run(self.module, *args, **kwargs)

    def as_linear(self, *args: Any, **kwargs: Any) -> Any:
        """Call `as_linear` of the module with the gathered parameters."""
        return self._run(self.module.as_linear, *args, **kwargs)


def _gather(group: Any, compute_dtype: Any) -> Callable[[mx.array], Any]:
    """Return a function from a part to the whole array whose gradient goes the other way."""
    size = group.size()
    if size == 1:
        return lambda part: part

    @mx.custom_function
    def gather(part: mx.array) -> mx.array:
        if compute_dtype is not None and mx.issubdtype(part.dtype, mx.floating):
            part = part.astype(compute_dtype)
        return mx.distributed.all_gather(part, group=group)

    @gather.vjp
    def scatter(part: mx.array, cotangent: mx.array, _: mx.array) -> mx.array:
        mean = mx.distributed.sum_scatter(cotangent, group=group) / size
        return mean.astype(part.dtype)

    return gather


def fully_shard(module: Module, *, group: Any = None, compute_dtype: Any = None) -> Module:
    """Wrap the leaf modules of `module` that have parameters in `FullyShardedModule`.

    With one process the module is returned as it is.
    """
    group = group or mx.distributed.init()
    if group.size() == 1:
        return module

    def wrap(_: str, leaf: Any) -> Any:
        if not Module.is_module(leaf) or not tree_flatten(leaf.parameters()):
            return leaf
        return FullyShardedModule(leaf, group, compute_dtype)

    if not tree_flatten(module.children(), is_leaf=Module.is_module):
        return wrap("", module)
    leaves = tree_map_with_path(wrap, module.leaf_modules(), is_leaf=Module.is_module)
    module.update_modules(leaves)
    return module
