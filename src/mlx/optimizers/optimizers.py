"""All optimizers."""

from mlx.optimizers._adafactor import Adafactor
from mlx.optimizers._adaptive import AdaDelta, Adagrad, Adam, Adamax, AdamW, RMSprop
from mlx.optimizers._base import MultiOptimizer, Optimizer, clip_grad_norm
from mlx.optimizers._momentum import SGD, Lion, Muon

__all__ = [
    "SGD",
    "AdaDelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Lion",
    "MultiOptimizer",
    "Muon",
    "Optimizer",
    "RMSprop",
    "clip_grad_norm",
]
