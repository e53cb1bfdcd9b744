"""Loss functions. Each takes `reduction`: "none", "mean" or "sum".

All raise ValueError for another reduction, or for shapes that do not fit each other.
"""

from __future__ import annotations

import math

import mlx.core as mx
from mlx.nn._checks import need_arrays
from mlx.nn._precision import narrow_all, widen

_REDUCTIONS = ("none", "mean", "sum")


def _reduce(loss: mx.array, reduction: str = "none") -> mx.array:
    if reduction == "none":
        return loss
    if reduction == "mean":
        return mx.mean(loss)
    if reduction == "sum":
        return mx.sum(loss)
    raise ValueError(f"Invalid reduction. Must be one of {_REDUCTIONS}.")


def _same_shape(name: str, a: mx.array, other: str, b: mx.array) -> None:
    need_arrays("loss", a, b)
    if a.shape != b.shape:
        raise ValueError(f"{name} shape {a.shape} does not match {other} shape {b.shape}.")


def _weigh(loss: mx.array, weights: mx.array | None) -> mx.array:
    if weights is None:
        return loss
    need_arrays("weights", weights)
    if weights.shape != loss.shape:
        raise ValueError(
            f"Weights with shape {weights.shape} is not the same as "
            f"output loss with shape {loss.shape}."
        )
    return loss * weights


def cross_entropy(
    logits: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    axis: int = -1,
    label_smoothing: float = 0.0,
    reduction: str = "none",
) -> mx.array:
    """Cross entropy of unnormalized `logits`, classes along `axis`.

    `targets` are class indices (the shape of `logits` without `axis`) or probabilities (the shape
    of `logits`); `weights` multiply the loss of each sample before the reduction.

    Raises ValueError for a `label_smoothing` outside [0, 1).

    >>> logits = mx.array([[0.0, 0.0], [0.0, 0.0]])
    >>> round(nn.losses.cross_entropy(logits, mx.array([0, 1]), reduction="mean").item(), 4)
    0.6931
    """
    if not 0 <= label_smoothing < 1:
        raise ValueError(f"Label smoothing must be in [0, 1), got {label_smoothing}.")
    need_arrays("cross_entropy", logits, targets)
    as_probs = targets.ndim == logits.ndim
    expected = list(logits.shape)
    if not as_probs and expected:
        if not -len(expected) <= axis < len(expected):
            raise ValueError(f"[cross_entropy] Invalid axis {axis} for logits {logits.shape}.")
        expected.pop(axis)
    if tuple(expected) != tuple(targets.shape):
        raise ValueError(
            f"Targets shape {targets.shape} does not match logits shape {logits.shape}."
        )
    given, logits = logits, widen(logits)
    # Logits less their maximum: exact also where they are large and close.
    peak = mx.stop_gradient(mx.max(logits, axis=axis, keepdims=True))
    shifted = logits - peak
    if as_probs:
        score = mx.sum(shifted * targets, axis=axis)
    else:
        picked = mx.take_along_axis(logits, mx.expand_dims(targets, axis), axis)
        score = (picked - peak).squeeze(axis)
    if label_smoothing > 0:
        smooth = mx.mean(shifted, axis=axis)
        score = (1 - label_smoothing) * score + label_smoothing * smooth
    loss = mx.log(mx.sum(mx.exp(shifted), axis=axis)) - score
    loss = _reduce(_weigh(loss, weights), reduction)
    return narrow_all(loss, given, targets if as_probs else None, weights)


def binary_cross_entropy(
    inputs: mx.array,
    targets: mx.array,
    weights: mx.array | None = None,
    with_logits: bool = True,
    reduction: str = "mean",
) -> mx.array:
    """Cross entropy of two classes, elementwise.

    `inputs` are logits, or probabilities if not `with_logits` (their logarithms are then limited
    to at least -100). `weights` must have the shape of `inputs`.

    >>> loss = nn.losses.binary_cross_entropy(mx.array([0.0]), mx.array([1.0]))
    >>> round(loss.item(), 4)
    0.6931
    """
    _same_shape("Inputs", inputs, "targets", targets)
    x = widen(inputs)
    if with_logits:
        loss = mx.logaddexp(0.0, x) - targets * x
    else:
        log_p = mx.maximum(mx.log(x), -100)
        log_q = mx.maximum(mx.log(1 - x), -100)
        loss = -(targets * log_p + (1 - targets) * log_q)
    return narrow_all(_reduce(_weigh(loss, weights), reduction), inputs, targets, weights)


def l1_loss(predictions: mx.array, targets: mx.array, reduction: str = "mean") -> mx.array:
    """Absolute difference.

    >>> nn.losses.l1_loss(mx.array([1.0, 2.0]), mx.array([0.0, 0.0])).item()
    1.5
    """
    _same_shape("Predictions", predictions, "targets", targets)
    return _reduce(mx.abs(predictions - targets), reduction)


def mse_loss(predictions: mx.array, targets: mx.array, reduction: str = "mean") -> mx.array:
    """Squared difference.

    >>> nn.losses.mse_loss(mx.array([1.0, 2.0]), mx.array([0.0, 0.0])).item()
    2.5
    """
    _same_shape("Predictions", predictions, "targets", targets)
    return _reduce(mx.square(predictions - targets), reduction)


def nll_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: str = "none"
) -> mx.array:
    """Negative of the log-probabilities `inputs` at the class indices `targets`.

    >>> nn.losses.nll_loss(mx.array([[-1.0, -2.0]]), mx.array([1])).tolist()
    [2.0]
    """
    picked = mx.take_along_axis(inputs, mx.expand_dims(targets, axis), axis)
    return _reduce(-picked.squeeze(axis), reduction)


def gaussian_nll_loss(
    inputs: mx.array,
    targets: mx.array,
    vars: mx.array,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> mx.array:
    """Negative log-likelihood of `targets` under normal distributions.

    `inputs` are the means, `vars` the variances (at least `eps`); `full` adds the constant
    ``log(2 pi) / 2``.
    """
    _same_shape("Inputs", inputs, "targets", targets)
    _same_shape("Inputs", inputs, "vars", vars)
    vars = mx.maximum(vars, eps)
    loss = 0.5 * (mx.log(vars) + mx.square(targets - inputs) / vars)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduce(loss, reduction)


def kl_div_loss(
    inputs: mx.array, targets: mx.array, axis: int = -1, reduction: str = "none"
) -> mx.array:
    """Kullback-Leibler divergence of log-probabilities: ``sum(exp(targets) * (targets - inputs))``.

    >>> nn.losses.kl_div_loss(mx.zeros((2, 3)), mx.zeros((2, 3))).tolist()
    [0.0, 0.0]
    """
    return _reduce(mx.sum(mx.exp(targets) * (targets - inputs), axis=axis), reduction)


def smooth_l1_loss(
    predictions: mx.array, targets: mx.array, beta: float = 1.0, reduction: str = "mean"
) -> mx.array:
    """Squared difference over ``2 * beta`` below `beta`, absolute difference from there on."""
    _same_shape("Predictions", predictions, "targets", targets)
    diff = mx.abs(predictions - targets)
    loss = mx.where(diff < beta, 0.5 * mx.square(diff) / beta, diff - 0.5 * beta)
    return _reduce(loss, reduction)


def huber_loss(
    inputs: mx.array, targets: mx.array, delta: float = 1.0, reduction: str = "none"
) -> mx.array:
    """Half the squared difference up to `delta`, linear from there on."""
    error = mx.abs(inputs - targets)
    linear = delta * (error - 0.5 * delta)
    return _reduce(mx.where(error > delta, linear, 0.5 * mx.square(error)), reduction)


def log_cosh_loss(inputs: mx.array, targets: mx.array, reduction: str = "none") -> mx.array:
    """Logarithm of the hyperbolic cosine of the difference."""
    errors = inputs - targets
    return _reduce(mx.logaddexp(errors, -errors) - math.log(2), reduction)


def hinge_loss(inputs: mx.array, targets: mx.array, reduction: str = "none") -> mx.array:
    """``max(1 - inputs * targets, 0)`` with targets of -1 and 1."""
    return _reduce(mx.maximum(1 - inputs * targets, 0), reduction)


def triplet_loss(
    anchors: mx.array,
    positives: mx.array,
    negatives: mx.array,
    axis: int = -1,
    p: int = 2,
    margin: float = 1.0,
    eps: float = 1e-6,
    reduction: str = "none",
) -> mx.array:
    """``max(d(anchors, positives) - d(anchors, negatives) + margin, 0)`` with the p-norm distance.

    Source: Balntas et al. 2016.
    """

    need_arrays("triplet_loss", anchors, positives, negatives)

    def distance(other: mx.array) -> mx.array:
        return mx.power(mx.sum(mx.power(mx.abs(anchors - other), p), axis=axis) + eps, 1 / p)

    return _reduce(mx.maximum(distance(positives) - distance(negatives) + margin, 0), reduction)


def cosine_similarity_loss(
    x1: mx.array, x2: mx.array, axis: int = 1, eps: float = 1e-8, reduction: str = "none"
) -> mx.array:
    """Cosine of the angle between `x1` and `x2` along `axis`; the divisor is at least `eps`.

    >>> x = mx.array([[3.0, 4.0]])
    >>> round(nn.losses.cosine_similarity_loss(x, x).item(), 4)
    1.0
    """
    norms = mx.linalg.norm(x1, axis=axis) * mx.linalg.norm(x2, axis=axis)
    return _reduce(mx.sum(x1 * x2, axis=axis) / mx.maximum(norms, eps), reduction)


def margin_ranking_loss(
    inputs1: mx.array,
    inputs2: mx.array,
    targets: mx.array,
    margin: float = 0.0,
    reduction: str = "none",
) -> mx.array:
    """``max(-targets * (inputs1 - inputs2) + margin, 0)`` with targets of -1 and 1."""
    need_arrays("margin_ranking_loss", inputs1, inputs2, targets)
    if not inputs1.shape == inputs2.shape == targets.shape:
        raise ValueError(
            "The shapes of the arguments do not match. The provided shapes are "
            f"inputs1.shape={inputs1.shape}, inputs2.shape={inputs2.shape}, and "
            f"targets.shape={targets.shape}."
        )
    return _reduce(mx.maximum(0, -targets * (inputs1 - inputs2) + margin), reduction)
