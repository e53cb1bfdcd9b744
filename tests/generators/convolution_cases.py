"""Convolutions whose values and gradients are compared with recorded ones."""

import mlx.core as mx
from tests.generators.deterministic import array, weighted_sum

CASES = {
    "1d": ((2, 9, 4), (6, 3, 4), {}),
    "1d strided": ((2, 11, 4), (6, 3, 2), {"stride": 2, "padding": 2, "groups": 2}),
    "1d long kernel": ((1, 40, 1), (1, 33, 1), {"padding": 4}),
    "2d": ((2, 8, 7, 3), (5, 3, 3, 3), {"padding": 1}),
    "2d pointwise": ((2, 4, 5, 6), (7, 1, 1, 6), {}),
    "2d strided": ((1, 17, 15, 3), (20, 7, 7, 3), {"stride": 2, "padding": 3}),
    "2d dilated": ((1, 12, 11, 4), (4, 3, 2, 4), {"kernel_dilation": (2, 3), "padding": (2, 1)}),
    "2d spread": ((1, 5, 4, 3), (4, 4, 4, 3), {"input_dilation": 2, "padding": 2}),
    "2d flipped": ((1, 6, 7, 3), (4, 3, 2, 3), {"flip": True}),
    "2d uneven padding": ((1, 6, 7, 3), (4, 3, 2, 3), {"padding": ([0, 2], [3, 1])}),
    "2d grouped": ((2, 6, 6, 8), (12, 3, 3, 2), {"groups": 4, "padding": 1}),
    "2d depthwise": ((2, 9, 8, 20), (20, 3, 3, 1), {"groups": 20, "padding": 1, "stride": 2}),
    "2d multiplied": ((1, 7, 8, 6), (12, 3, 3, 1), {"groups": 6, "padding": 1}),
    "3d": ((1, 5, 4, 6, 2), (3, 2, 3, 2, 2), {"stride": (1, 2, 1), "padding": 1}),
}


def results(name):
    """The value of a case, and the gradients of a weighted sum of it."""
    shape, kernel, options = CASES[name]
    x, w = array(1, *shape), array(2, *kernel)

    def run(x, w):
        return mx.conv_general(x, w, **options)

    of_x, of_w = mx.grad(lambda x, w: weighted_sum(run(x, w)), argnums=(0, 1))(x, w)
    return {"value": run(x, w), "x": of_x, "w": of_w}
