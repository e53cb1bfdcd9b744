"""What the PyTorch rows share."""

import torch


def tensors(data, *names):
    return [torch.from_numpy(data[name]) for name in names]


def unary(function):
    def make(data, jit):
        (x,) = tensors(data, "x")
        run = jit(function)
        return lambda: run(x)

    return make


def with_gradient(function, inputs, out):
    """Value and gradients, as eager or compiled autograd gives them."""
    for value in inputs:
        value.requires_grad_()

    def run():
        value = function(*inputs)
        return [value, *torch.autograd.grad(value, inputs, out)]

    return run
