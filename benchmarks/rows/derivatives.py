"""Many small operations, and nested transformations."""

import mlx.core as mx
import mlx.nn as nn

REPEATS = 250  # of four operations each: multiply, add, tanh, matmul


def chain(x, y, repeats=REPEATS):
    """A thousand operations on small matrices."""
    for _ in range(repeats):
        x = mx.tanh(x * 0.1 + y) @ y
    return x


def small_ops(data, jit):
    x, y = mx.array(data["x"]), mx.array(data["y"])
    run = jit(chain)
    return lambda: run(x, y)


def small_ops_grad(data, jit):
    x, y = mx.array(data["x"]), mx.array(data["y"])
    run = jit(mx.value_and_grad(lambda x, y: chain(x, y).sum()))
    return lambda: run(x, y)


def parameters(data):
    return {name: mx.array(v) for name, v in data.items() if name.startswith("layers")}


def hessian(data, jit):
    x, weights = mx.array(data["x"]), parameters(data)

    def scalar(x):
        hidden = mx.tanh(weights["layers.0.weight"] @ x + weights["layers.0.bias"])
        return (weights["layers.1.weight"] @ hidden + weights["layers.1.bias"])[0]

    def column(x, direction):
        return mx.jvp(mx.grad(scalar), [x], [direction])[1][0]

    run = jit(mx.vmap(column, in_axes=(None, 0)))
    basis = mx.eye(x.size)
    return lambda: run(x, basis)


def per_example_grads(data, jit):
    x, y, weights = mx.array(data["x"]), mx.array(data["y"]), parameters(data)

    def loss(weights, x, y):
        for i in range(3):
            x = weights[f"layers.{i}.weight"] @ x + weights[f"layers.{i}.bias"]
            x = nn.relu(x) if i < 2 else x
        return mx.logsumexp(x) - mx.take(x, y)

    run = jit(mx.vmap(mx.grad(loss), in_axes=(None, 0, 0)))
    return lambda: [gradient for _, gradient in sorted(run(weights, x, y).items())]


ROWS = {
    "small_ops": small_ops,
    "small_ops_grad": small_ops_grad,
    "hessian": hessian,
    "per_example_grads": per_example_grads,
}
