"""Layers and losses say what is wrong with arguments that make no sense."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim

X = mx.ones((2, 3))
CASES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (ValueError, "Linear", lambda: nn.Linear(0, 3)),
    (TypeError, "Linear", lambda: nn.Linear("3", 3)),  # type: ignore[arg-type]
    (ValueError, "Bilinear", lambda: nn.Bilinear(-1, 3, 3)),
    (ValueError, "Embedding", lambda: nn.Embedding(3, 0)),
    (ValueError, "QuantizedEmbedding", lambda: nn.QuantizedEmbedding(3, 0)),
    (ValueError, "QuantizedLinear", lambda: nn.QuantizedLinear(0, 3)),
    (ValueError, "QQLinear", lambda: nn.QQLinear(0, 3)),
    (ValueError, "RNN", lambda: nn.GRU(3, 0)),
    (ValueError, "Conv", lambda: nn.Conv1d(3, 4, 0)),
    (ValueError, "Conv", lambda: nn.Conv2d(4, 4, 3, groups=0)),
    (ValueError, "MultiHeadAttention", lambda: nn.MultiHeadAttention(4, 0)),
    (TypeError, "Bilinear", lambda: nn.Bilinear(3, 3, 3)(X, 1.0)),  # type: ignore[arg-type]
    (TypeError, "Dropout2d", lambda: nn.Dropout2d()([1.0])),  # type: ignore[arg-type]
    (TypeError, "AvgPool1d", lambda: nn.AvgPool1d(2)(None)),  # type: ignore[arg-type]
    (TypeError, "BatchNorm", lambda: nn.BatchNorm(3)("x")),  # type: ignore[arg-type]
    (TypeError, "GroupNorm", lambda: nn.GroupNorm(1, 3)(1)),  # type: ignore[arg-type]
    (TypeError, "InstanceNorm", lambda: nn.InstanceNorm(3)([X])),  # type: ignore[arg-type]
    (TypeError, "ALiBi", lambda: nn.ALiBi()([X])),  # type: ignore[arg-type]
    (TypeError, "Upsample", lambda: nn.Upsample(2)([X])),  # type: ignore[arg-type]
    (TypeError, "cross_entropy", lambda: nn.losses.cross_entropy(X, 1)),  # type: ignore[arg-type]
    (ValueError, "cross_entropy", lambda: nn.losses.cross_entropy(X, X[0], axis=2)),
    (TypeError, "loss", lambda: nn.losses.mse_loss(X, [1.0])),  # type: ignore[arg-type]
    (TypeError, "quantize", lambda: nn.quantize(X)),  # type: ignore[arg-type]
    (TypeError, "clip_grad_norm", lambda: optim.clip_grad_norm({"a": 1.0}, 1.0)),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_it_is_named(number: int) -> None:
    kind, name, call = CASES[number]
    with pytest.raises(kind, match=rf"\[{name}\]"):
        call()


def test_any_integer_is_a_size() -> None:
    assert nn.Linear(np.int64(3), mx.array(2))(X).shape == (2, 2)  # type: ignore[arg-type]
