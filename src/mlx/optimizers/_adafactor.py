"""Adafactor: Adam-like steps with the second moment stored as rows and columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
from mlx.optimizers._base import Optimizer, Schedule


class Adafactor(Optimizer):
    """Adafactor (Shazeer and Stern 2018).

    `eps` are the constants added to squared gradients and the least scale of a parameter.
    `relative_step`: the step size is min(1e-2, 1/sqrt(t)) and `learning_rate` may be None;
    `warmup_init`: 1e-6 t in place of 1e-2. `scale_parameter`: step sizes grow with the root mean
    square of the parameter. `beta_1`: keep a running average of the updates too.
    """

    by_types = True

    def __init__(
        self,
        learning_rate: float | Schedule | None = None,
        eps: Sequence[float] = (1e-30, 1e-3),
        clip_threshold: float = 1.0,
        decay_rate: float = -0.8,
        beta_1: float | None = None,
        weight_decay: float = 0.0,
        scale_parameter: bool = True,
        relative_step: bool = True,
        warmup_init: bool = False,
    ) -> None:
        super().__init__()
        if learning_rate is not None:
            self._maybe_schedule("learning_rate", learning_rate)
        self.eps = eps
        self.clip_threshold = clip_threshold
        self.decay_rate = decay_rate
        self.beta_1 = beta_1
        self.weight_decay = weight_decay
        self.scale_parameter = scale_parameter
        self.relative_step = relative_step
        self.warmup_init = warmup_init

    def init_single(self, parameter: mx.array, state: dict[str, Any]) -> None:
        shape, dtype = parameter.shape, parameter.dtype
        if parameter.ndim >= 2:
            state["exp_avg_sq_row"] = mx.zeros(shape[:-1], dtype=dtype)
            state["exp_avg_sq_col"] = mx.zeros((*shape[:-2], shape[-1]), dtype=dtype)
        else:
            state["exp_avg_sq"] = mx.zeros_like(parameter)
        if self.beta_1 is not None:
            state["exp_avg"] = mx.zeros_like(parameter)

    def _step_size(self, parameter_rms: mx.array) -> mx.array:
        if self.relative_step:
            least = 1e-6 * self.step if self.warmup_init else 1e-2
            step_size = mx.minimum(least, mx.rsqrt(self.step))
        else:
            step_size = self.learning_rate
        step_size = step_size.astype(parameter_rms.dtype)
        if self.scale_parameter:
            step_size = step_size * mx.maximum(self.eps[1], parameter_rms)
        return step_size

    def _normalize(self, gradient: mx.array, state: dict[str, Any]) -> mx.array:
        """Return the gradient over the root of its running mean square."""
        beta_2 = (1.0 - self.step**self.decay_rate).astype(gradient.dtype)
        square = mx.square(gradient) + self.eps[0]
        if gradient.ndim < 2:
            mean = beta_2 * state["exp_avg_sq"] + (1 - beta_2) * square
            state["exp_avg_sq"] = mean
            return mx.rsqrt(mean) * gradient
        rows = beta_2 * state["exp_avg_sq_row"] + (1 - beta_2) * mx.mean(square, axis=-1)
        cols = beta_2 * state["exp_avg_sq_col"] + (1 - beta_2) * mx.mean(square, axis=-2)
        state["exp_avg_sq_row"] = rows
        state["exp_avg_sq_col"] = cols
        row_scale = mx.rsqrt(rows / mx.mean(rows, axis=-1, keepdims=True))
        col_scale = mx.rsqrt(cols)
        return mx.expand_dims(row_scale, -1) * mx.expand_dims(col_scale, -2) * gradient

    def apply_single(
        self, gradient: mx.array, parameter: mx.array, state: dict[str, Any]
    ) -> mx.array:
        step_size = self._step_size(_rms(parameter))
        update = self._normalize(gradient, state)
        update = update / mx.maximum(1.0, _rms(update) / self.clip_threshold)
        update = step_size * update
        if self.beta_1 is not None:
            update = self.beta_1 * state["exp_avg"] + (1 - self.beta_1) * update
            state["exp_avg"] = update
        if self.weight_decay != 0:
            parameter = parameter + parameter * (-self.weight_decay * step_size)
        return parameter - update


def _rms(x: mx.array) -> mx.array:
    return mx.sqrt(mx.mean(mx.square(x)))
