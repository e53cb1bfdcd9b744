"""Activations, as functions and as layers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import mlx.core as mx
from mlx.nn._precision import narrow, widen
from mlx.nn.layers.base import Module


def sigmoid(x: mx.array) -> mx.array:
    """Logistic function ``1 / (1 + exp(-x))``."""
    return mx.sigmoid(x)


def relu(x: mx.array) -> mx.array:
    """``max(x, 0)``."""
    return mx.maximum(x, 0)


def relu2(x: mx.array) -> mx.array:
    """``max(x, 0)`` squared."""
    return mx.square(mx.maximum(x, 0))


def relu6(x: mx.array) -> mx.array:
    """``min(max(x, 0), 6)``."""
    return mx.minimum(mx.maximum(x, 0), 6.0)


def leaky_relu(x: mx.array, negative_slope: float = 0.01) -> mx.array:
    """``x`` where positive, else ``negative_slope * x``."""
    return mx.maximum(negative_slope * x, x)


def prelu(x: mx.array, alpha: mx.array) -> mx.array:
    """``max(x, 0) + alpha * min(x, 0)`` with `alpha` a parameter."""
    return mx.maximum(0, x) + alpha * mx.minimum(0, x)


def elu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    return mx.where(x > 0, x, alpha * (mx.exp(x) - 1))


def celu(x: mx.array, alpha: float = 1.0) -> mx.array:
    """``max(x, 0) + min(0, alpha * (exp(x / alpha) - 1))``."""
    return mx.maximum(x, 0.0) + alpha * (mx.exp(mx.minimum(x, 0.0) / alpha) - 1)


def selu(x: mx.array) -> mx.array:
    """Self-normalizing scaled `elu` (Klambauer et al. 2017)."""
    return elu(x, 1.67326) * 1.0507


def softplus(x: mx.array) -> mx.array:
    """``log(1 + exp(x))``."""
    return mx.logaddexp(x, 0)


def softsign(x: mx.array) -> mx.array:
    """``x / (1 + |x|)``."""
    return x / (1 + mx.abs(x))


def softshrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """``x`` moved towards 0 by `lambd`, and 0 within `lambd` of it."""
    return mx.where(mx.abs(x) > lambd, x - mx.sign(x) * lambd, 0)


def hard_shrink(x: mx.array, lambd: float = 0.5) -> mx.array:
    """``x``, and 0 within `lambd` of it."""
    return mx.where(mx.abs(x) > lambd, x, 0)


def hard_tanh(x: mx.array, min_val: float = -1.0, max_val: float = 1.0) -> mx.array:
    """``x`` limited to ``[min_val, max_val]``."""
    return mx.minimum(mx.maximum(x, min_val), max_val)


def hardswish(x: mx.array) -> mx.array:
    """``x * min(max(x + 3, 0), 6) / 6`` (Howard et al. 2019)."""
    return x * mx.minimum(mx.maximum(x + 3, 0), 6) / 6


def silu(x: mx.array) -> mx.array:
    """``x * sigmoid(x)``, also called swish."""
    return x * mx.sigmoid(x)


def mish(x: mx.array) -> mx.array:
    """``x * tanh(softplus(x))`` (Misra 2019)."""
    wide = widen(x)
    # tanh(log(1 + e)) = n / (n + 2) with n = (1 + e)^2 - 1; from x = 20 on it is 1
    e = mx.exp(mx.minimum(wide, 20.0))
    n = e * (e + 2)
    return narrow(wide * (n / (n + 2)), x)


def gelu(x: mx.array) -> mx.array:
    """``x`` times the normal cumulative distribution function of ``x``."""
    wide = widen(x)
    return narrow(0.5 * wide * (1 + mx.erf(wide * math.sqrt(0.5))), x)


def gelu_approx(x: mx.array) -> mx.array:
    """`gelu` with the tanh approximation (Hendrycks and Gimpel 2016)."""
    wide = widen(x)
    scale = math.sqrt(2 / math.pi)
    inner = wide * (scale + 0.044715 * scale * mx.square(wide))
    return narrow(0.5 * wide * (1 + mx.tanh(inner)), x)


def gelu_fast_approx(x: mx.array) -> mx.array:
    """`gelu` approximated by ``x * sigmoid(1.702 * x)``."""
    return x * mx.sigmoid(1.702 * x)


def glu(x: mx.array, axis: int = -1) -> mx.array:
    """First half along `axis` times the sigmoid of the second.

    >>> nn.glu(mx.zeros((2, 6))).shape
    (2, 3)
    """
    a, b = mx.split(x, indices_or_sections=2, axis=axis)
    return a * mx.sigmoid(b)


def step(x: mx.array, threshold: float = 0.0) -> mx.array:
    """1 where ``x >= threshold``, else 0."""
    return mx.where(x >= threshold, 1, 0)


def tanh(x: mx.array) -> mx.array:
    """Hyperbolic tangent."""
    return mx.tanh(x)


def softmax(x: mx.array, axis: int = -1) -> mx.array:
    """``exp(x) / sum(exp(x))`` along `axis`."""
    return mx.softmax(x, axis=axis)


def softmin(x: mx.array, axis: int = -1) -> mx.array:
    """Softmax of ``-x`` along `axis`."""
    return mx.softmax(-x, axis=axis)


def log_softmax(x: mx.array, axis: int = -1) -> mx.array:
    """Logarithm of the softmax along `axis`."""
    return x - mx.logsumexp(x, axis=axis, keepdims=True)


def log_sigmoid(x: mx.array) -> mx.array:
    """Logarithm of the logistic function."""
    return -softplus(-x)


class _Activation(Module):
    """A layer without settings that calls `function`."""

    function: Callable[..., mx.array]

    def __call__(self, x: mx.array) -> mx.array:
        return type(self).function(x)


class Sigmoid(_Activation):
    """Layer of `sigmoid`."""

    function = staticmethod(sigmoid)


class Mish(_Activation):
    """Layer of `mish`."""

    function = staticmethod(mish)


class ReLU(_Activation):
    """Layer of `relu`."""

    function = staticmethod(relu)


class ReLU2(_Activation):
    """Layer of `relu2`."""

    function = staticmethod(relu2)


class ReLU6(_Activation):
    """Layer of `relu6`."""

    function = staticmethod(relu6)


class Softmax(_Activation):
    """Layer of `softmax` along the last axis."""

    function = staticmethod(softmax)


class Softmin(_Activation):
    """Layer of `softmin` along the last axis."""

    function = staticmethod(softmin)


class Softplus(_Activation):
    """Layer of `softplus`."""

    function = staticmethod(softplus)


class Softsign(_Activation):
    """Layer of `softsign`."""

    function = staticmethod(softsign)


class SiLU(_Activation):
    """Layer of `silu`."""

    function = staticmethod(silu)


class LogSoftmax(_Activation):
    """Layer of `log_softmax` along the last axis."""

    function = staticmethod(log_softmax)


class LogSigmoid(_Activation):
    """Layer of `log_sigmoid`."""

    function = staticmethod(log_sigmoid)


class Tanh(_Activation):
    """Layer of `tanh`."""

    function = staticmethod(tanh)


class Hardswish(_Activation):
    """Layer of `hardswish`."""

    function = staticmethod(hardswish)


class HardTanh(_Activation):
    """Layer of `hard_tanh`."""

    function = staticmethod(hard_tanh)


class SELU(_Activation):
    """Layer of `selu`."""

    function = staticmethod(selu)


class GLU(Module):
    """Layer of `glu`."""

    def __init__(self, axis: int = -1) -> None:
        super().__init__()
        self.axis = axis

    def __call__(self, x: mx.array) -> Any:
        return glu(x, axis=self.axis)


class LeakyReLU(Module):
    """Layer of `leaky_relu`."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self._negative_slope = negative_slope

    def __call__(self, x: mx.array) -> mx.array:
        return leaky_relu(x, self._negative_slope)


class ELU(Module):
    """Layer of `elu`."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return elu(x, self._alpha)


class CELU(Module):
    """Layer of `celu`."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__()
        self._alpha = alpha

    def __call__(self, x: mx.array) -> mx.array:
        return celu(x, self._alpha)


class PReLU(Module):
    """Layer of `prelu`: the slopes are the parameter `weight` of shape ``(num_parameters,)``."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25) -> None:
        super().__init__()
        self.weight = mx.full([num_parameters], init)

    def __call__(self, x: mx.array) -> mx.array:
        return prelu(x, self.weight)


class Softshrink(Module):
    """Layer of `softshrink`."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return softshrink(x, self.lambd)


class HardShrink(Module):
    """Layer of `hard_shrink`."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def __call__(self, x: mx.array) -> mx.array:
        return hard_shrink(x, self.lambd)


class Step(Module):
    """Layer of `step`."""

    def __init__(self, threshold: float = 0.0) -> None:
        super().__init__()
        self.threshold = threshold

    def __call__(self, x: mx.array) -> mx.array:
        return step(x, self.threshold)


class GELU(Module):
    """Layer of `gelu` (`approx` "none"), `gelu_approx` ("precise" or "tanh") or
    `gelu_fast_approx` ("fast").

    Raises ValueError for another `approx`.
    """

    def __init__(self, approx: str = "none") -> None:
        super().__init__()
        allowed = ["none", "precise", "tanh", "fast"]
        if approx not in allowed:
            raise ValueError(f"The approximation should be in {allowed} but '{approx}' was given")
        self._approx = approx

    def __call__(self, x: mx.array) -> mx.array:
        if self._approx == "none":
            return gelu(x)
        return gelu_fast_approx(x) if self._approx == "fast" else gelu_approx(x)
