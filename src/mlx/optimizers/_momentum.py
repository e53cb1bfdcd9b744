"""Optimizers with one running average of the gradients: SGD, Lion, Muon."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.optimizers._base import Optimizer, Schedule


class SGD(Optimizer):
    """Stochastic gradient descent with momentum.

    ``v = momentum v + (1 - dampening) g``, ``w = w - lr v`` (``g + momentum v`` in place of v
    with `nesterov`); `weight_decay` times the parameter is added to g.

    Raises ValueError for `nesterov` without momentum or with dampening.

    >>> opt = optim.SGD(learning_rate=0.1, momentum=0.9)
    >>> new = opt.apply_gradients({"w": mx.array(1.0)}, {"w": mx.array(1.0)})
    >>> round(new["w"].item(), 6)
    0.9
    """

    by_types = True

    def __init__(
        self,
        learning_rate: float | Schedule,
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        dampening: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening.")
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.dampening = dampening
        self.nesterov = nesterov

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        lr = self.learning_rate.astype(gradient.dtype)
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        if self.momentum <= 0:
            return parameter - lr * gradient
        new = (1 - self.dampening) * gradient if self.dampening > 0 else gradient
        v = self.momentum * state["v"] + new
        state["v"] = v
        return parameter - lr * (gradient + self.momentum * v if self.nesterov else v)


class Lion(Optimizer):
    """The sign of an interpolated gradient (Chen et al. 2023).

    ``c = b1 m + (1 - b1) g``, ``m = b2 m + (1 - b2) g``, ``w = w - lr (sign(c) + decay w)``
    """

    by_types = True

    def __init__(
        self,
        learning_rate: float | Schedule,
        betas: Sequence[float] = (0.9, 0.99),
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = list(betas)
        self.weight_decay = weight_decay

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["m"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        lr = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = state["m"]
        c = b1 * m + (1 - b1) * gradient
        state["m"] = b2 * m + (1 - b2) * gradient
        if self.weight_decay > 0:
            parameter = (1 - lr * self.weight_decay) * parameter
        return parameter - lr * mx.sign(c)


class Muon(Optimizer):
    """Momentum whose matrices are made nearly orthogonal (Jordan et al. 2024).

    Parameters of more than two dimensions are taken as matrices of shape ``(shape[0], -1)``;
    those of fewer get the plain momentum step.
    """

    by_types = True

    def __init__(
        self,
        learning_rate: float | Schedule,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        nesterov: bool = True,
        ns_steps: int = 5,
    ) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.nesterov = nesterov
        self.ns_steps = ns_steps

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def _orthogonalize(self, x: mx.array) -> mx.array:
        """Newton-Schulz iteration of degree five on a matrix."""
        a, b, c = 3.4445, -4.7750, 2.0315
        wide = x.shape[-2] <= x.shape[-1]
        x = x if wide else x.T
        x = x / (mx.linalg.norm(x, keepdims=True) + 1e-7)
        for _ in range(self.ns_steps):
            gram = x @ x.T
            x = a * x + (b * gram + c * (gram @ gram)) @ x
        return x if wide else x.T

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        lr = self.learning_rate.astype(gradient.dtype)
        if self.weight_decay != 0:
            gradient = gradient + self.weight_decay * parameter
        v = self.momentum * state["v"] + (1 - self.momentum) * gradient
        state["v"] = v
        update = v
        if self.nesterov:
            update = gradient * (1 - self.momentum) + v * self.momentum
        if update.ndim < 2:
            return parameter - lr * update
        shape = update.shape
        update = self._orthogonalize(update.reshape(shape[0], -1)).reshape(shape)
        lr = lr * max(1, shape[-2] / shape[-1]) ** 0.5
        return parameter - lr * update
