"""Classify scikit-learn's bundled handwritten digits with a small perceptron, in seconds.

Run it with `python -m examples.digits`.
"""

import argparse
import time
from functools import partial

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim


def network() -> nn.Module:
    """64 pixels to 10 classes."""
    return nn.Sequential(
        nn.Dropout(0.2),
        nn.Linear(64, 256),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, 256),
        nn.ReLU(),
        nn.Dropout(0.3),
        nn.Linear(256, 10),
    )


def loss_of(model: nn.Module, x: mx.array, y: mx.array) -> mx.array:
    return nn.losses.cross_entropy(model(x), y, reduction="mean")


def accuracy(model: nn.Module, x: mx.array, y: mx.array) -> float:
    model.eval()
    hits = mx.mean(mx.argmax(model(x), axis=1) == y).item()
    model.train()
    return hits


def train(model: nn.Module, x: mx.array, y: mx.array, epochs: int, batch: int = 64) -> None:
    """Adam over shuffled batches, one compiled function a step."""
    optimizer = optim.Adam(learning_rate=2e-3)
    optimizer.init(model.trainable_parameters())
    loss_and_grad = nn.value_and_grad(model, partial(loss_of, model))
    state = [model.state, optimizer.state, mx.random.state]

    @partial(mx.compile, inputs=state, outputs=state)
    def step(x: mx.array, y: mx.array) -> mx.array:
        loss, gradients = loss_and_grad(x, y)
        optimizer.update(model, gradients)
        return loss

    for epoch in range(epochs):
        order = mx.random.permutation(x.shape[0])
        for start in range(0, x.shape[0] - batch + 1, batch):
            chosen = order[start : start + batch]
            loss = step(x[chosen], y[chosen])
            mx.eval(state, loss)
        print(f"epoch {epoch + 1:2d}  loss {loss.item():.4f}")


def main(argv: list[str] | None = None) -> float:
    """Train and return the accuracy on the quarter of the digits that was held out."""
    parser = argparse.ArgumentParser(prog="python -m examples.digits", description=__doc__)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    mx.random.seed(options.seed)
    digits = load_digits()
    parts = train_test_split(
        (digits.data / 16).astype(np.float32),
        digits.target.astype(np.int32),
        test_size=0.25,
        random_state=options.seed,
        stratify=digits.target,
    )
    x, x_test, y, y_test = map(mx.array, parts)
    model = network()
    started = time.perf_counter()
    train(model, x, y, options.epochs)
    reached = accuracy(model, x_test, y_test)
    seconds = time.perf_counter() - started
    print(f"test accuracy {100 * reached:.2f} % after {seconds:.1f} s")
    return reached


if __name__ == "__main__":
    main()
