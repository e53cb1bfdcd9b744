"""Learning rates as functions of the step, for the `learning_rate` of an optimizer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import mlx.core as mx

Schedule = Callable[[Any], Any]


def exponential_decay(init: float, decay_rate: float) -> Schedule:
    """``init * decay_rate ** step``.

    >>> optim.exponential_decay(8.0, 0.5)(mx.array(3)).item()
    1.0
    """
    return lambda step: init * decay_rate**step


def step_decay(init: float, decay_rate: float, step_size: int) -> Schedule:
    """``init * decay_rate ** (step // step_size)``.

    >>> optim.step_decay(8.0, 0.5, 10)(mx.array(25)).item()
    2.0
    """
    return lambda step: init * decay_rate ** (step // step_size)


def cosine_decay(init: float, decay_steps: int, end: float = 0.0) -> Schedule:
    """From `init` to `end` in `decay_steps` along half a cosine, then `end`.

    >>> optim.cosine_decay(1.0, 100)(mx.array(100)).item()
    0.0
    """

    def schedule(step: Any) -> Any:
        s = mx.minimum(step, decay_steps)
        return end + 0.5 * (1.0 + mx.cos((math.pi / decay_steps) * s)) * (init - end)

    return schedule


def join_schedules(schedules: Sequence[Schedule], boundaries: Sequence[int]) -> Schedule:
    """Run `schedules` one after the other; each counts its steps from its boundary.

    Raises ValueError without schedules, or unless there is one boundary fewer than schedules.

    >>> warmup = optim.linear_schedule(0.0, 1.0, steps=10)
    >>> schedule = optim.join_schedules([warmup, optim.exponential_decay(1.0, 0.5)], [10])
    >>> schedule(mx.array(11)).item()
    0.5
    """
    if len(schedules) == 0:
        raise ValueError("Must provide at least 1 schedule to join.")
    if len(schedules) != len(boundaries) + 1:
        raise ValueError(
            f"Received {len(boundaries)} boundaries but expected {len(schedules) - 1}."
        )

    def schedule(step: Any) -> Any:
        value = schedules[0](step)
        for boundary, following in zip(boundaries, schedules[1:], strict=True):
            value = mx.where(step < boundary, value, following(step - boundary))
        return value

    return schedule


def linear_schedule(init: float, end: float, steps: int) -> Schedule:
    """From `init` to `end` in `steps` along a line, then `end`.

    Raises ValueError unless `steps` is positive.

    >>> optim.linear_schedule(0.0, 1.0, steps=10)(mx.array(5)).item()
    0.5
    """
    if steps < 1:
        raise ValueError(f"steps must be greater than 0, but got {steps}.")

    def schedule(step: Any) -> Any:
        return mx.minimum(step, steps) * ((end - init) / steps) + init

    return schedule
