"""Layers with quantized weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.nn._checks import positive
from mlx.nn.layers.base import Module
from mlx.utils import tree_map_with_path

# Group size and bits of each mode when none are given.
_DEFAULTS = {"affine": (64, 4), "mxfp4": (32, 4), "nvfp4": (16, 4), "mxfp8": (32, 8)}


def quantization_settings(mode: str, group_size: int | None, bits: int | None) -> tuple[int, int]:
    """Return group size and bits, those of the mode where None; ValueError for another mode."""
    if mode not in _DEFAULTS:
        raise ValueError(f"[quantize] Invalid mode {mode!r}: expected one of {tuple(_DEFAULTS)}.")
    default_group, default_bits = _DEFAULTS[mode]
    return (default_group if group_size is None else group_size), (
        default_bits if bits is None else bits
    )


def skip_draw() -> None:
    """Advance the random state by the weight that a new layer draws.

    Converting a layer draws one in MLX too, so that what is drawn afterwards, such as LoRA's
    matrices, is the same there and here.
    """
    mx.random.uniform()


class Quantized(Module):
    """Base class of layers whose `weight`, `scales` and `biases` come from `mx.quantize`."""

    def _set_quantized(
        self, weight: mx.array, group_size: int | None, bits: int | None, mode: str
    ) -> None:
        self.group_size, self.bits = quantization_settings(mode, group_size, bits)
        self.mode = mode
        self.weight, self.scales, *biases = mx.quantize(
            weight, self.group_size, self.bits, mode=mode
        )
        self.biases = biases[0] if biases else None

    def _settings(self) -> dict[str, Any]:
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def _settings_repr(self) -> str:
        return f"group_size={self.group_size}, bits={self.bits}, mode={self.mode}"

    def _matmul(self, x: mx.array) -> mx.array:
        return mx.quantized_matmul(
            x,
            self["weight"],
            scales=self["scales"],
            biases=self.get("biases"),
            transpose=True,
            **self._settings(),
        )

    def _from_weight(
        self, weight: mx.array, group_size: int | None, bits: int | None, mode: str
    ) -> None:
        """Initialize without drawing a weight."""
        Module.__init__(self)
        self._set_quantized(weight, group_size, bits, mode)


class QuantizedEmbedding(Quantized):
    """`Embedding` with a quantized table; its parameters are frozen.

    >>> layer = nn.QuantizedEmbedding(10, 64)
    >>> layer(mx.array([1, 2])).shape, layer.as_linear(mx.ones((2, 64))).shape
    ((2, 64), (2, 10))
    """

    def __init__(
        self,
        num_embeddings: int,
        dims: int,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> None:
        weight = mx.random.normal(
            (num_embeddings, dims), scale=math.sqrt(1 / positive("QuantizedEmbedding", dims))
        )
        self._from_table(weight, group_size, bits, mode)

    def _from_table(
        self, weight: mx.array, group_size: int | None, bits: int | None, mode: str
    ) -> None:
        self._from_weight(weight, group_size, bits, mode)
        self.num_embeddings, self.dims = weight.shape
        self.freeze()

    def _extra_repr(self) -> str:
        return f"{self.num_embeddings}, {self.dims}, {self._settings_repr()}"

    def __call__(self, x: mx.array) -> mx.array:
        biases = self.get("biases")
        return mx.dequantize(
            self["weight"][x],
            scales=self["scales"][x],
            biases=None if biases is None else biases[x],
            **self._settings(),
        )

    def as_linear(self, x: mx.array) -> mx.array:
        """Multiply by the transposed table."""
        return self._matmul(x)

    @classmethod
    def from_embedding(
        cls,
        embedding_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> QuantizedEmbedding:
        """Quantize the table of an `Embedding`."""
        layer = cls.__new__(cls)
        skip_draw()
        layer._from_table(embedding_layer.weight, group_size, bits, mode)
        return layer


class QuantizedLinear(Quantized):
    """`Linear` with a quantized weight; its parameters are frozen.

    >>> nn.QuantizedLinear(64, 32)(mx.ones((2, 64))).shape
    (2, 32)
    """

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        bias: bool = True,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> None:
        bound = math.sqrt(1 / positive("QuantizedLinear", input_dims))
        weight = mx.random.uniform(-bound, bound, (output_dims, input_dims))
        self._from_weight(weight, group_size, bits, mode)
        if bias:
            self.bias = mx.zeros((output_dims,))
        self.freeze()

    def _extra_repr(self) -> str:
        output_dims, packed = self.weight.shape
        return (
            f"input_dims={packed * 32 // self.bits}, output_dims={output_dims}, "
            f"bias={'bias' in self}, {self._settings_repr()}"
        )

    def __call__(self, x: mx.array) -> mx.array:
        y = self._matmul(x)
        return y + self["bias"] if "bias" in self else y

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "affine",
    ) -> QuantizedLinear:
        """Quantize the weight of a `Linear`."""
        layer = cls.__new__(cls)
        skip_draw()
        layer._from_weight(linear_layer.weight, group_size, bits, mode)
        # As in MLX the bias stays trainable here.
        layer.freeze()
        if "bias" in linear_layer:
            layer.bias = linear_layer.bias
        return layer


class QQLinear(Module):
    """Linear layer without bias that quantizes its input and its weight.

    While training the weight is kept as it is and quantized in the product; `eval` quantizes it
    for good and `train` turns it back.
    """

    scales: mx.array

    def __init__(
        self,
        input_dims: int,
        output_dims: int,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "nvfp4",
    ) -> None:
        super().__init__()
        bound = math.sqrt(1 / positive("QQLinear", input_dims))
        self._start(
            mx.random.uniform(-bound, bound, (output_dims, input_dims)), group_size, bits, mode
        )

    def _start(self, weight: mx.array, group_size: int | None, bits: int | None, mode: str) -> None:
        self.group_size, self.bits = quantization_settings(mode, group_size, bits)
        self.mode = mode
        self.weight = weight
        self._quantized = False

    def _settings(self) -> dict[str, Any]:
        return {"group_size": self.group_size, "bits": self.bits, "mode": self.mode}

    def _extra_repr(self) -> str:
        output_dims, input_dims = self.weight.shape
        if self._quantized:
            input_dims = input_dims * 32 // self.bits
        return (
            f"input_dims={input_dims}, output_dims={output_dims}, "
            f"group_size={self.group_size}, bits={self.bits}, mode={self.mode}"
        )

    def _set_training_mode(self, mode: bool) -> None:
        super()._set_training_mode(mode)
        if mode:
            self.dequantize()
        else:
            self.quantize()

    def quantize(self) -> None:
        """Quantize the weight, unless it is already."""
        if not self._quantized:
            self.weight, self.scales, *_ = mx.quantize(self.weight, **self._settings())
            self._quantized = True

    def dequantize(self) -> None:
        """Turn a quantized weight back to floating point."""
        if self._quantized:
            self.weight = mx.dequantize(self.weight, scales=self.scales, **self._settings())
            del self.scales
            self._quantized = False

    def __call__(self, x: mx.array) -> mx.array:
        return mx.qqmm(x, self["weight"], scales=self.get("scales"), **self._settings())

    @classmethod
    def from_linear(
        cls,
        linear_layer: Module,
        group_size: int | None = None,
        bits: int | None = None,
        mode: str = "nvfp4",
    ) -> QQLinear:
        """Take over the weight of a `Linear`; NotImplementedError if it has a bias."""
        if "bias" in linear_layer:
            raise NotImplementedError("QQLinear does not support bias yet.")
        layer = cls.__new__(cls)
        Module.__init__(layer)
        skip_draw()
        layer._start(linear_layer.weight, group_size, bits, mode)
        layer._set_training_mode(linear_layer.training)
        return layer


def quantize_linear(
    layer: Module,
    group_size: int | None,
    bits: int | None,
    mode: str,
    quantize_input: bool,
) -> Module:
    """Return the quantized layer of a `Linear`."""
    if not quantize_input:
        return QuantizedLinear.from_linear(layer, group_size, bits, mode)
    if mode not in ("nvfp4", "mxfp8"):
        raise ValueError(
            f"Quantized activations are only supported for 'nvfp4' and 'mxfp8' modes, got {mode}."
        )
    return QQLinear.from_linear(layer, group_size, bits, mode)


def quantize(
    model: Module,
    group_size: int | None = None,
    bits: int | None = None,
    *,
    mode: str = "affine",
    quantize_input: bool = False,
    class_predicate: Callable[[str, Module], bool | dict[str, Any]] | None = None,
) -> None:
    """Replace the layers of `model` that have a method `to_quantized` by quantized ones.

    `class_predicate(path, layer)` selects them: True, False, or a dictionary with arguments for
    `to_quantized`.

    Raises ValueError where it selects a layer that cannot be quantized.

    >>> net = nn.Sequential(nn.Linear(64, 64), nn.ReLU())
    >>> nn.quantize(net)
    >>> type(net.layers[0]).__name__
    'QuantizedLinear'
    """
    select = class_predicate or (lambda _, layer: hasattr(layer, "to_quantized"))

    def convert(path: str, layer: Any) -> Any:
        chosen = select(path, layer)
        if chosen is False or chosen is None:
            return layer
        if not isinstance(chosen, (bool, dict)):
            raise ValueError(
                "[quantize] class_predicate must return a bool or a dictionary of arguments, "
                f"got {type(chosen).__name__}."
            )
        if not hasattr(layer, "to_quantized"):
            raise ValueError(f"Unable to quantize model of type {type(layer)}")
        if isinstance(chosen, dict):
            return layer.to_quantized(**chosen)
        options: dict[str, Any] = {"quantize_input": True} if quantize_input else {}
        return layer.to_quantized(group_size=group_size, bits=bits, mode=mode, **options)

    if not isinstance(model, Module):
        raise TypeError(f"[quantize] Expected a Module, got {type(model).__name__}.")
    leaves = tree_map_with_path(convert, model.leaf_modules(), is_leaf=Module.is_module)
    model.update_modules(leaves)
