"""Gradients for the trainable parameters of a module.

python -m examples.documents.module_value_and_grad
"""

import mlx.core as mx
import mlx.nn as nn


def main():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    model.layers[0].freeze()

    def fn(x, y):
        return nn.losses.mse_loss(model(x), y)

    value, grads = nn.value_and_grad(model, fn)(mx.ones((5, 3)), mx.zeros((5, 1)))
    print("value", value.item())
    print("gradients", grads)
    return value, grads


if __name__ == "__main__":
    main()
