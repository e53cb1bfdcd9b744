"""The rows in PyTorch, eager or through torch.compile."""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from . import torch_decode, torch_networks, torch_products
from .torch_common import tensors, unary, with_gradient


def warm() -> None:
    torch.ones(256, 256) @ torch.ones(256, 256)


def finish(outputs: object) -> None:
    """On the CPU PyTorch has computed already."""


def arrays(outputs: object) -> list[np.ndarray]:
    values = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    return [v.detach().float().numpy() if v.is_floating_point() else v.numpy() for v in values]


def compiler(variant: str) -> Callable:
    if variant == "compiled":
        return torch.compile
    return lambda function: function


def settle() -> None:
    """PyTorch keeps no freed memory of its own on the CPU."""


def gelu_chain(data, jit):
    x, a, b = tensors(data, *"xab")
    chain = jit(lambda x, a, b: F.gelu(x * a + b, approximate="tanh") + x)
    return lambda: chain(x, a, b)


def transposed_add(data, jit):
    x, y = tensors(data, "x", "y")
    run = jit(lambda x, y: x.T * 0.3 + y)
    return lambda: run(x, y)


def softmax_grad(data, jit):
    x, out = tensors(data, "x", "out")
    return with_gradient(jit(lambda x: torch.softmax(x, -1)), [x], out)


def layer_norm_grad(data, jit):
    x, weight, bias, out = tensors(data, "x", "weight", "bias", "out")
    norm = jit(lambda x, w, b: F.layer_norm(x, w.shape, w, b))
    return with_gradient(norm, [x, weight, bias], out)


def rms_norm_grad(data, jit):
    x, weight, out = tensors(data, "x", "weight", "out")
    norm = jit(lambda x, w: F.rms_norm(x, w.shape, w, 1e-5))
    return with_gradient(norm, [x, weight], out)


def cross_entropy_grad(data, jit):
    logits, targets = tensors(data, "logits", "targets")
    targets = targets.long()
    return with_gradient(jit(lambda x: F.cross_entropy(x, targets)), [logits], None)


def adamw_update(data, jit):
    parameters = tensors(data, *(f"p{i}" for i in range(50)))
    for i, parameter in enumerate(parameters):
        parameter.grad = torch.from_numpy(data[f"g{i}"])
    optimizer = torch.optim.AdamW(parameters, 1e-3, weight_decay=0.01, fused=True)
    step = jit(optimizer.step)

    def run():
        step()
        return parameters

    return run


def chain(x, y):
    for _ in range(250):
        x = torch.tanh(x * 0.1 + y) @ y
    return x


def small_ops(data, jit):
    x, y = tensors(data, "x", "y")
    run = jit(chain)
    return lambda: run(x, y)


def small_ops_grad(data, jit):
    x, y = tensors(data, "x", "y")
    run = jit(torch.func.grad_and_value(lambda x, y: chain(x, y).sum()))
    return lambda: run(x, y)[::-1]


def parameters(data):
    return {name: torch.from_numpy(v) for name, v in data.items() if name.startswith("layers")}


def hessian(data, jit):
    (x,) = tensors(data, "x")
    weights = parameters(data)

    def scalar(x):
        hidden = torch.tanh(weights["layers.0.weight"] @ x + weights["layers.0.bias"])
        return (weights["layers.1.weight"] @ hidden + weights["layers.1.bias"])[0]

    run = jit(torch.func.jacfwd(torch.func.jacrev(scalar)))
    return lambda: run(x)


def per_example_grads(data, jit):
    x, y = tensors(data, "x", "y")
    weights = parameters(data)

    def loss(weights, x, y):
        for i in range(3):
            x = weights[f"layers.{i}.weight"] @ x + weights[f"layers.{i}.bias"]
            x = torch.relu(x) if i < 2 else x
        return F.cross_entropy(x[None], y[None])

    run = jit(torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0, 0)))
    labels = y.long()
    return lambda: [value for _, value in sorted(run(weights, x, labels).items())]


def fft(data, jit):
    x = torch.complex(*tensors(data, "real", "imag"))
    run = jit(torch.fft.fft)
    return lambda: run(x)


def random_normal(data, jit):
    shape = data["x"].shape
    return jit(lambda: torch.randn(shape))


def embedding_grad(data, jit):
    table, ids, out = tensors(data, "table", "ids", "out")
    ids = ids.long()
    return with_gradient(jit(lambda table: F.embedding(ids, table)), [table], out)


ROWS = {
    "gelu_chain": gelu_chain,
    "transposed_add": transposed_add,
    "softmax_rows": unary(lambda x: torch.softmax(x, -1)),
    "softmax_grad": softmax_grad,
    "layer_norm_grad": layer_norm_grad,
    "rms_norm_grad": rms_norm_grad,
    "cross_entropy_grad": cross_entropy_grad,
    "adamw_update": adamw_update,
    "small_ops": small_ops,
    "small_ops_grad": small_ops_grad,
    "hessian": hessian,
    "per_example_grads": per_example_grads,
    "cumsum": unary(lambda x: torch.cumsum(x, 0)),
    "sort": unary(lambda x: torch.sort(x)[0]),
    "topk": unary(lambda x: torch.sort(torch.topk(x, 50)[0])[0]),
    "argmax_rows": unary(lambda x: torch.argmax(x, -1)),
    "fft": fft,
    "random_normal": random_normal,
    "embedding_grad": embedding_grad,
    **torch_products.ROWS,
    **torch_networks.ROWS,
    **torch_decode.ROWS,
}
