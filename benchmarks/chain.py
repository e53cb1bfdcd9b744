"""The gradient of a very long chain, recorded and evaluated: `python -m benchmarks.chain`.

Also the loop that evaluates only at its end, against the one that evaluates each step.
"""

import argparse
import time

import mlx.core as mx

from .worker import status

FACTOR = 1 - 2.0**-23  # a float32, so that the derivative is known


def long_gradient(length: int) -> tuple[float, float, float]:
    """Seconds to record, seconds to evaluate, and the derivative of the chain at 0.5."""

    def function(x: mx.array) -> mx.array:
        for _ in range(length // 2):
            x = x * FACTOR + 1e-7
        return x.sum()

    x = mx.full((16,), 0.5)
    start = time.perf_counter()
    gradient = mx.grad(function)(x)
    recorded = time.perf_counter()
    mx.eval(gradient)
    return recorded - start, time.perf_counter() - recorded, gradient[0].item()


def training_loop(steps: int, evaluate_each: bool) -> float:
    """Seconds for linear regression by gradient descent, evaluated each step or at the end."""
    mx.random.seed(0)
    x = mx.random.normal((64, 8))
    y = x @ mx.random.normal((8,))
    weights = mx.zeros((8,))
    gradient = mx.grad(lambda w: ((x @ w - y) ** 2).mean())
    mx.eval(x, y, weights)
    start = time.perf_counter()
    for _ in range(steps):
        weights = weights - 0.01 * gradient(weights)
        if evaluate_each:
            mx.eval(weights)
    mx.eval(weights)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chain", description=__doc__)
    parser.add_argument("--length", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=1000)
    options = parser.parse_args()
    for _ in range(2):
        each = training_loop(options.steps, evaluate_each=True)
        end = training_loop(options.steps, evaluate_each=False)
    print(f"{options.steps} steps evaluated each: {each:.2f} s, at the end: {end:.2f} s")
    print(f"ratio {end / each:.2f}; target 2")
    record, evaluate, value = long_gradient(options.length)
    expected = FACTOR ** (options.length // 2)
    print(f"gradient of {options.length:,} operations: {value:.4f}, expected {expected:.4f}")
    print(f"recorded in {record:.1f} s, evaluated in {evaluate:.1f} s; target 60 s together")
    print(f"peak memory of the process {status('VmHWM:') / 1e9:.2f} GB; target 4 GB")


if __name__ == "__main__":
    main()
