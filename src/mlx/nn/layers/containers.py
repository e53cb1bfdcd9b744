"""Sequential: modules called one after the other."""

from __future__ import annotations

from collections.abc import Callable

import mlx.core as mx
from mlx.nn.layers.base import Module


class Sequential(Module):
    """Call the given modules (or other callables) in order, each on the result of the last.

    >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    >>> net(mx.ones((5, 2))).shape
    (5, 1)
    """

    def __init__(self, *modules: Callable[[mx.array], mx.array]) -> None:
        super().__init__()
        self.layers = list(modules)

    def __call__(self, x: mx.array) -> mx.array:
        for layer in self.layers:
            x = layer(x)
        return x
