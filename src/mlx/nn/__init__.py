"""Neural network layers, losses, initializers and transformations of modules."""

from mlx.nn import init, losses
from mlx.nn.layers import *  # noqa: F403
from mlx.nn.layers import __all__ as _layers
from mlx.nn.utils import average_gradients, value_and_grad

__all__ = ["average_gradients", "init", "losses", "value_and_grad", *_layers]
