"""Neural network layers, losses, initializers and transformations of modules."""

from mlx.nn import init, losses
from mlx.nn.layers import *  # noqa: F403
from mlx.nn.layers import __all__ as _layers
from mlx.nn.layers import (
    activations,
    base,
    containers,
    convolution,
    convolution_transpose,
    distributed,
    dropout,
    embedding,
    linear,
    normalization,
    pooling,
    positional_encoding,
    quantized,
    recurrent,
    transformer,
    upsample,
)
from mlx.nn.utils import average_gradients, value_and_grad

__all__ = [
    "activations",
    "average_gradients",
    "base",
    "containers",
    "convolution",
    "convolution_transpose",
    "distributed",
    "dropout",
    "embedding",
    "init",
    "linear",
    "losses",
    "normalization",
    "pooling",
    "positional_encoding",
    "quantized",
    "recurrent",
    "transformer",
    "upsample",
    "value_and_grad",
    *_layers,
]
