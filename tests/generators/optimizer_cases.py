"""The optimizers whose states and parameters are compared with recorded ones."""

import mlx.core as mx
import mlx.optimizers as optim
from mlx.utils import tree_map
from tests.generators.deterministic import array

STEPS = 3

OPTIMIZERS = {
    text: (lambda text=text: eval("optim." + text, {"optim": optim}))
    for text in (
        "SGD(0.1)",
        "SGD(0.1, 0.9, 0.01, 0.1)",
        "SGD(0.1, 0.9, 0.01, nesterov=True)",
        "RMSprop(0.01, 0.9, 1e-3)",
        "Adagrad(0.01)",
        "AdaDelta(0.5, 0.8, 1e-3)",
        "Adam(0.01)",
        "Adam(0.01, [0.8, 0.9], 1e-4, True)",
        "AdamW(0.01, weight_decay=0.1)",
        "Adamax(0.01)",
        "Lion(0.01, [0.8, 0.9], 0.1)",
        "Adafactor()",
        "Adafactor(warmup_init=True)",
        "Adafactor(0.01, scale_parameter=False, relative_step=False, beta_1=0.8, weight_decay=0.1)",
        "Muon(0.01)",
        "Muon(0.01, 0.9, 0.0, False, 3)",
        "Adam(optim.cosine_decay(0.1, 10, 0.01))",
        "SGD(optim.join_schedules([optim.linear_schedule(0, 0.1, 2), "
        "optim.exponential_decay(0.1, 0.5)], [2]))",
        "SGD(optim.step_decay(0.1, 0.5, 2))",
        "MultiOptimizer([optim.Adam(0.01), optim.SGD(0.1, 0.9)], [lambda p, g: g.ndim > 1])",
    )
}


def parameters(dtype=mx.float32):
    tree = {"w": array(1, 3, 4), "b": array(2, 5), "l": [{"q": array(3, 2, 2, 3)}]}
    return tree_map(lambda a: a.astype(dtype), tree)


def gradients(step, params):
    return tree_map(lambda p: array(10 * step + p.size, *p.shape).astype(p.dtype), params)


def history(make, dtype=mx.float32):
    """Yield parameters and state after each step."""
    optimizer = make()
    params = parameters(dtype)
    for step in range(STEPS):
        params = optimizer.apply_gradients(gradients(step, params), params)
        yield params, optimizer.state
