"""Optimizers with a step per element: RMSprop, Adagrad, AdaDelta, Adam, AdamW, Adamax."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.optimizers._base import Optimizer, Schedule


def _check_eps(name: str, eps: float) -> None:
    if eps < 0.0:
        raise ValueError(f"{name} epsilon should be >0, {eps} was provided instead")


class RMSprop(Optimizer):
    """Divide by a running root mean square of the gradients (Hinton, Coursera lecture 6e).

    ``v = alpha v + (1 - alpha) g^2``, ``w = w - lr g / (sqrt(v) + eps)``

    Raises ValueError for a negative `alpha` or `eps`.
    """

    by_types = True

    def __init__(
        self, learning_rate: float | Schedule, alpha: float = 0.99, eps: float = 1e-8
    ) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.alpha = alpha
        self.eps = eps
        if alpha < 0.0:
            raise ValueError(f"RMSprop alpha should be >=0, {alpha} was provided instead")
        _check_eps("RMSprop", eps)

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        lr = self.learning_rate.astype(gradient.dtype)
        v = self.alpha * state["v"] + (1 - self.alpha) * mx.square(gradient)
        state["v"] = v
        return parameter - lr * gradient / (mx.sqrt(v) + self.eps)


class Adagrad(Optimizer):
    """Divide by the root of the sum of all squared gradients (Duchi et al. 2011).

    ``v = v + g^2``, ``w = w - lr g / (sqrt(v) + eps)``

    Raises ValueError for a negative `eps`.
    """

    by_types = True

    def __init__(self, learning_rate: float | Schedule, eps: float = 1e-8) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps
        _check_eps("Adagrad", eps)

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        lr = self.learning_rate.astype(gradient.dtype)
        v = state["v"] + mx.square(gradient)
        state["v"] = v
        return parameter - lr * gradient / (mx.sqrt(v) + self.eps)


class AdaDelta(Optimizer):
    """Adagrad with running averages of gradients and of updates (Zeiler 2012).

    ``v = rho v + (1 - rho) g^2``, ``d = sqrt(u + eps) / sqrt(v + eps) g``,
    ``u = rho u + (1 - rho) d^2``, ``w = w - lr d``

    Raises ValueError for a negative `rho` or `eps`.
    """

    by_types = True

    def __init__(
        self, learning_rate: float | Schedule, rho: float = 0.9, eps: float = 1e-6
    ) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.rho = rho
        self.eps = eps
        if rho < 0.0:
            raise ValueError(f"AdaDelta rho should be >=0, {rho} was provided instead")
        _check_eps("AdaDelta", eps)

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["v"] = mx.zeros_like(parameter)
        state["u"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        lr = self.learning_rate.astype(gradient.dtype)
        rho, u = self.rho, state["u"]
        v = rho * state["v"] + (1 - rho) * mx.square(gradient)
        d = mx.sqrt(u + self.eps) / mx.sqrt(v + self.eps) * gradient
        state["v"] = v
        state["u"] = rho * u + (1 - rho) * mx.square(d)
        return parameter - lr * d


class Adam(Optimizer):
    """Running averages of gradients and their squares (Kingma and Ba 2015).

    ``m = b1 m + (1 - b1) g``, ``v = b2 v + (1 - b2) g^2``, ``w = w - lr m / (sqrt(v) + eps)``;
    with `bias_correction` ``m / (1 - b1^t)`` and ``v / (1 - b2^t)`` take the places of m and v.

    Raises ValueError for betas outside [0, 1) or a negative `eps`.
    """

    by_types = True

    def __init__(
        self,
        learning_rate: float | Schedule,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        bias_correction: bool = False,
    ) -> None:
        super().__init__()
        self._maybe_schedule("learning_rate", learning_rate)
        self.betas = list(betas)
        self.eps = eps
        self.bias_correction = bias_correction
        for i, beta in enumerate(betas, 1):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Adam beta{i} should be in [0, 1), {beta} was provided instead")
        if eps < 0.0:
            raise ValueError(f"Adam epsilon should be >=0, {eps} was provided instead")

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        state["m"] = mx.zeros_like(parameter)
        state["v"] = mx.zeros_like(parameter)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        dtype = gradient.dtype
        lr = self.learning_rate.astype(dtype)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = b2 * state["v"] + (1 - b2) * mx.square(gradient)
        state["m"] = m
        state["v"] = v
        if not self.bias_correction:
            return parameter - lr * m / (mx.sqrt(v) + self.eps)
        rate = self._once(("rate", dtype), lambda: (lr / (1 - b1**self.step)).astype(dtype))
        scale = self._once(("scale", dtype), lambda: mx.rsqrt(1 - b2**self.step).astype(dtype))
        return parameter - rate * m / (mx.sqrt(v) * scale + self.eps)


class AdamW(Adam):
    """Adam with weight decay apart from the gradients (Loshchilov and Hutter 2019).

    ``w = w (1 - lr weight_decay)``, then the step of Adam.

    >>> opt = optim.AdamW(learning_rate=1e-3)
    >>> new = opt.apply_gradients({"w": mx.zeros((1,))}, {"w": mx.ones((1,))})
    >>> round(new["w"].item(), 6)
    0.99999
    """

    by_types = True

    def __init__(
        self,
        learning_rate: float | Schedule,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        bias_correction: bool = False,
    ) -> None:
        super().__init__(learning_rate, betas, eps, bias_correction)
        self.weight_decay = weight_decay

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        dtype = gradient.dtype
        kept = self._once(
            ("kept", dtype), lambda: 1 - self.learning_rate.astype(dtype) * self.weight_decay
        )
        decayed = parameter * kept
        return super().apply_single(gradient, decayed, state)


class Adamax(Adam):
    """Adam with the infinity norm (Kingma and Ba 2015).

    ``m = b1 m + (1 - b1) g``, ``v = max(b2 v, |g|)``, ``w = w - lr m / (v + eps)``
    """

    by_types = True

    def __init__(
        self,
        learning_rate: float | Schedule,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(learning_rate, betas, eps)

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        lr = self.learning_rate.astype(gradient.dtype)
        b1, b2 = self.betas
        m = b1 * state["m"] + (1 - b1) * gradient
        v = mx.maximum(b2 * state["v"], mx.abs(gradient))
        state["m"] = m
        state["v"] = v
        return parameter - lr * m / (v + self.eps)
