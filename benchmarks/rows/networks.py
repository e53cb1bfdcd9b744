"""Training steps of the small networks, as MLX users write them."""

from functools import partial

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, *sizes: int):
        super().__init__()
        pairs = zip(sizes, sizes[1:], strict=False)
        self.layers = [nn.Linear(into, out) for into, out in pairs]

    def __call__(self, x):
        for layer in self.layers[:-1]:
            x = nn.relu(layer(x))
        return self.layers[-1](x)


class CNN(nn.Module):
    """Three 3x3 convolutions, each with ReLU and max pooling, then a linear layer."""

    def __init__(self, channels):
        super().__init__()
        pairs = zip(channels, channels[1:], strict=False)
        self.convs = [nn.Conv2d(into, out, 3, padding=1) for into, out in pairs]
        self.pool = nn.MaxPool2d(2, 2)
        self.head = nn.Linear(16 * channels[-1], 10)

    def __call__(self, x):
        for conv in self.convs:
            x = self.pool(nn.relu(conv(x)))
        return self.head(x.reshape(x.shape[0], -1))


def load(model, data, dtype=mx.float32):
    """Give the model the arrays whose names are its parameters'."""
    names = {name for name, _ in tree_flatten(model.parameters())}
    model.load_weights([(n, mx.array(v).astype(dtype)) for n, v in data.items() if n in names])
    mx.eval(model.parameters())


def training_step(model, optimizer, loss_of, batch, jit):
    """A function that makes one step on the same batch and returns the loss."""
    optimizer.init(model.trainable_parameters())
    loss_and_grad = nn.value_and_grad(model, partial(loss_of, model))
    state = [model.state, optimizer.state]
    mx.eval(state, batch)

    def step(*batch):
        loss, gradients = loss_and_grad(*batch)
        optimizer.update(model, gradients)
        return loss

    step = jit(step, inputs=state, outputs=state)

    def run():
        loss = step(*batch)
        mx.eval(loss, state)
        return loss

    run.state = state
    return run


def classification(model, x, y):
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def mlp_step(data, jit):
    model = MLP(data["x"].shape[1], *(len(data[f"layers.{i}.bias"]) for i in range(3)))
    load(model, data)
    batch = [mx.array(data["x"]), mx.array(data["y"])]
    return training_step(model, optim.Adam(1e-4, bias_correction=True), classification, batch, jit)


def cnn_step(data, jit):
    model = CNN([data["x"].shape[-1], *(len(data[f"convs.{i}.bias"]) for i in range(3))])
    load(model, data)
    batch = [mx.array(data["x"]), mx.array(data["y"])]
    optimizer = optim.SGD(1e-3, momentum=0.9)
    return training_step(model, optimizer, classification, batch, jit)


ROWS = {"mlp_step": mlp_step, "cnn_step": cnn_step}
