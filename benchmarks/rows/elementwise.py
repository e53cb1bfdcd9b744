"""Rows bound by memory: fused maps, and reductions of rows with what surrounds them."""

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim


def gelu_chain(data, jit):
    x, a, b = (mx.array(data[name]) for name in "xab")
    chain = jit(lambda x, a, b: nn.gelu_approx(x * a + b) + x)
    return lambda: chain(x, a, b)


def transposed_add(data, jit):
    x, y = mx.array(data["x"]), mx.array(data["y"])
    run = jit(lambda x, y: x.T * 0.3 + y)
    return lambda: run(x, y)


def softmax_rows(data, jit):
    x = mx.array(data["x"])
    softmax = jit(lambda x: mx.softmax(x, axis=-1))
    return lambda: softmax(x)


def softmax_grad(data, jit):
    x, out = mx.array(data["x"]), mx.array(data["out"])
    both = jit(lambda x, out: mx.vjp(lambda x: mx.softmax(x, axis=-1), [x], [out]))
    return lambda: both(x, out)


def layer_norm_grad(data, jit):
    x, weight, bias, out = (mx.array(data[name]) for name in ("x", "weight", "bias", "out"))

    def norm(x, weight, bias):
        return mx.fast.layer_norm(x, weight, bias, 1e-5)

    both = jit(lambda *primals: mx.vjp(norm, list(primals), [out]))
    return lambda: both(x, weight, bias)


def rms_norm_grad(data, jit):
    x, weight, out = (mx.array(data[name]) for name in ("x", "weight", "out"))

    def norm(x, weight):
        return mx.fast.rms_norm(x, weight, 1e-5)

    both = jit(lambda *primals: mx.vjp(norm, list(primals), [out]))
    return lambda: both(x, weight)


def cross_entropy_grad(data, jit):
    logits, targets = mx.array(data["logits"]), mx.array(data["targets"])

    def mean(logits, targets):
        return nn.losses.cross_entropy(logits, targets, reduction="mean")

    both = jit(mx.value_and_grad(mean))
    return lambda: both(logits, targets)


def adamw_update(data, jit):
    parameters = {name: mx.array(v) for name, v in data.items() if name.startswith("p")}
    gradients = {"p" + name[1:]: mx.array(v) for name, v in data.items() if name.startswith("g")}
    optimizer = optim.AdamW(1e-3, bias_correction=True)
    optimizer.init(parameters)
    mx.eval(parameters, gradients, optimizer.state)
    state = [parameters, optimizer.state]

    def update(gradients):
        parameters.update(optimizer.apply_gradients(gradients, parameters))

    update = jit(update, inputs=state, outputs=state)

    def run():
        update(gradients)
        return parameters

    return run


ROWS = {
    "gelu_chain": gelu_chain,
    "transposed_add": transposed_add,
    "softmax_rows": softmax_rows,
    "softmax_grad": softmax_grad,
    "layer_norm_grad": layer_norm_grad,
    "rms_norm_grad": rms_norm_grad,
    "cross_entropy_grad": cross_entropy_grad,
    "adamw_update": adamw_update,
}
