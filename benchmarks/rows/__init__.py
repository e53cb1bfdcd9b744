"""The rows in MLX's API. The same files run on real MLX and on this project."""

from collections.abc import Callable

import numpy as np

import mlx.core as mx
from mlx.utils import tree_flatten

from . import decode, derivatives, elementwise, gpt, networks, order, products, sized

ROWS: dict[str, Callable] = {
    name: function
    for module in (elementwise, products, networks, gpt, decode, derivatives, order, sized)
    for name, function in module.ROWS.items()
}


def warm() -> None:
    """Bring up threads and pools, so that a row's memory is its own."""
    mx.eval(mx.ones((256, 256)) @ mx.ones((256, 256)))


def finish(outputs: object) -> None:
    mx.eval(outputs)


def arrays(outputs: object) -> list[np.ndarray]:
    """Outputs as NumPy arrays; half precision, which NumPy lacks in part, as float32."""
    mx.eval(outputs)
    halves = (mx.bfloat16, mx.float16)
    values = [value for _, value in tree_flatten([outputs])]
    return [np.array(v.astype(mx.float32) if v.dtype in halves else v) for v in values]


def compiler(variant: str) -> Callable:
    """What a row passes its function through."""
    return mx.compile if variant == "compiled" else lambda function, **state: function


def settle() -> None:
    """Let go of memory that only building a row took."""
    mx.clear_cache()
