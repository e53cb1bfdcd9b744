"""Dropout of elements and of whole feature maps."""

from __future__ import annotations

import mlx.core as mx
from mlx.nn._checks import need_arrays
from mlx.nn.layers.base import Module


class _Dropout(Module):
    """Zero parts of the input at random while training; `_mask_shape` says which parts."""

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"The dropout probability {p} is not in [0, 1)")
        self._p_1 = 1 - p

    def _extra_repr(self) -> str:
        return f"p={1 - self._p_1}"

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        raise NotImplementedError

    def __call__(self, x: mx.array) -> mx.array:
        if self._p_1 == 1 or not self.training:
            return x
        need_arrays(type(self).__name__, x)
        keep = mx.random.bernoulli(p=self._p_1, shape=self._mask_shape(x))
        return (keep * x) * (1 / self._p_1)


class Dropout(_Dropout):
    """Zero each element with probability `p` while training and scale the others by ``1/(1-p)``.

    Raises ValueError unless ``0 <= p < 1``.

    >>> nn.Dropout(0.5).eval()(mx.ones((2,))).tolist()
    [1.0, 1.0]
    """

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        return x.shape


class Dropout2d(_Dropout):
    """Zero whole channels of inputs ``([N,] H, W, C)`` with probability `p` while training.

    Raises ValueError unless ``0 <= p < 1`` and the input has 3 or 4 dimensions.
    """

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        if x.ndim not in (3, 4):
            raise ValueError(
                f"Received input with {x.ndim} dimensions. Expected 3 or 4 dimensions."
            )
        return (*x.shape[:-3], 1, 1, x.shape[-1])


class Dropout3d(_Dropout):
    """Zero whole channels of inputs ``([N,] D, H, W, C)`` with probability `p` while training.

    Raises ValueError unless ``0 <= p < 1`` and the input has 4 or 5 dimensions.
    """

    def _mask_shape(self, x: mx.array) -> tuple[int, ...]:
        if x.ndim not in (4, 5):
            raise ValueError(
                f"Received input with {x.ndim} dimensions. Expected 4 or 5 dimensions."
            )
        return (*x.shape[:-4], 1, 1, 1, x.shape[-1])
