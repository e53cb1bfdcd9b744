"""Functional training: parameters go in, gradients and new parameters come out.

python -m examples.documents.value_and_grad
"""

import mlx.core as mx
import mlx.nn as nn
from mlx.optimizers import AdamW


def forward(params, inputs):
    return inputs @ params["weight"] + params["bias"]


def mse(params, inputs, targets):
    outputs = forward(params, inputs)
    lvalue = (outputs - targets).square().mean()
    return lvalue


def lasso(params, inputs, targets, a=1.0, b=1.0):
    outputs = forward(params, inputs)
    mse = (outputs - targets).square().mean()
    l1 = mx.abs(outputs - targets).mean()

    loss = a * mse + b * l1

    return loss, mse, l1


def losses():
    """Value and gradients of a loss, and of one that returns more than the loss."""
    params = {"weight": mx.ones((3, 2)), "bias": mx.zeros((2,))}
    inputs = mx.arange(12.0).reshape(4, 3)
    targets = mx.zeros((4, 2))

    # Returns lvalue, dlvalue/dparams
    lvalue, grads = mx.value_and_grad(mse)(params, inputs, targets)
    print("mse", lvalue.item(), "gradient of the bias", grads["bias"].tolist())

    (loss, mean_square, l1), grads = mx.value_and_grad(lasso)(params, inputs, targets)
    print("lasso", loss.item(), "=", mean_square.item(), "+", l1.item())
    return lvalue, loss, mean_square, l1, grads


def train(steps=1000, seed=0):
    """The training loop of the document; returns the last loss and the parameters."""
    mx.random.seed(seed)
    net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    params = net.parameters()
    opt = AdamW(1e-3)

    def loss_fn(p, x, y):
        logits = net.apply(p, x)
        return mx.mean((logits - y) ** 2)

    for _ in range(steps):
        x = mx.random.normal((128, 32))
        y = mx.random.normal((128, 10))
        val, grads = mx.value_and_grad(loss_fn)(params, x, y)
        params = opt.update(params, grads)
    return val, params


if __name__ == "__main__":
    losses()
    value, _ = train()
    print("loss after training", value.item())
