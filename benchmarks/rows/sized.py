"""Programs at several sizes, which show how cost grows with work."""

import mlx.core as mx

from ..inputs import FACTORS
from .derivatives import chain
from .elementwise import gelu_chain, softmax_rows
from .order import ROWS as ORDER
from .products import attention_grad, conv2d_grad, matmul


def small(data, jit):
    """A region of many small operations; `repeats` has its number as a length."""
    x, y, repeats = mx.array(data["x"]), mx.array(data["y"]), len(data["repeats"])
    run = jit(lambda x, y: chain(x, y, repeats))
    return lambda: run(x, y)


PROGRAMS = {
    "elementwise": gelu_chain,
    "softmax": softmax_rows,
    "matmul": matmul,
    "conv": conv2d_grad,
    "attention": attention_grad,
    "sort": ORDER["sort"],
    "cumsum": ORDER["cumsum"],
    "small": small,
}
ROWS = {f"{name}@{f}": program for name, program in PROGRAMS.items() for f in FACTORS}
