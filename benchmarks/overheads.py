"""What an operation costs besides its arithmetic: `python -m benchmarks.overheads`.

Written in MLX's API alone, so that it also runs on real MLX (with its environment's Python).
"""

import argparse
import statistics
import time
from collections.abc import Callable

import mlx.core as mx

CHAIN = 1000


def microseconds(work: Callable[[], object], count: int, repeats: int = 15) -> float:
    """Median time of `work`, divided by the count of what it does."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times) / count


def chain(x: mx.array, y: mx.array, length: int = CHAIN) -> mx.array:
    """Alternating operations with an array and with a Python number."""
    for _ in range(length // 2):
        x = x * 0.5 + y
    return x


def recording() -> float:
    x, y = mx.ones((16, 16)), mx.ones((16, 16))
    mx.eval(x, y)
    return microseconds(lambda: chain(x, y), CHAIN)


def evaluating() -> float:
    """Recording included: the difference to `recording` is keying, binding and running."""
    x, y = mx.ones((16, 16)), mx.ones((16, 16))
    return microseconds(lambda: mx.eval(chain(x, y)), CHAIN)


def compiled_chain() -> float:
    x, y = mx.ones((16, 16)), mx.ones((16, 16))
    run = mx.compile(chain)
    return microseconds(lambda: mx.eval(run(x, y)), CHAIN)


def differentiating() -> float:
    x, y = mx.ones((16, 16)), mx.ones((16, 16))
    mx.eval(x, y)
    gradient = mx.grad(lambda x, y: chain(x, y).sum())
    return microseconds(lambda: gradient(x, y), CHAIN)


def compiled_call(arrays: int) -> float:
    """A compiled function of so many arrays, recorded and evaluated."""
    values = [mx.ones((4,)) for _ in range(arrays)]
    mx.eval(values)
    run = mx.compile(lambda values: [value + 1.0 for value in values])
    return microseconds(lambda: mx.eval(run(values)), 1, repeats=101)


def new_shapes() -> float:
    """Evaluating a seen structure at sizes never seen before, for each operation."""
    length, sizes = 100, iter(range(64, 10_000))

    def work() -> None:
        size = next(sizes)
        mx.eval(chain(mx.ones((size,)), mx.ones((size,)), length))

    return microseconds(work, length)


ROWS: dict[str, tuple[Callable[[], float], str]] = {
    "recording": (recording, "µs an operation; target 2, then 1.5"),
    "recording a gradient": (differentiating, "µs an operation of the forward pass"),
    "small operations, evaluated": (evaluating, "µs an operation; target 4"),
    "small operations, compiled": (compiled_chain, "µs an operation; target 0.3"),
    "compiled call, 1 array": (lambda: compiled_call(1), "µs; target 15 + 0.4 an array"),
    "compiled call, 100 arrays": (lambda: compiled_call(100), "µs; target 15 + 0.4 an array"),
    "a never-seen shape": (new_shapes, "µs an operation, recording included; target 5"),
}


def main() -> None:
    argparse.ArgumentParser(prog="python -m benchmarks.overheads", description=__doc__).parse_args()
    for name, (measure, unit) in ROWS.items():
        try:
            print(f"{name:30s} {measure():8.2f}  {unit}", flush=True)
        except (AttributeError, NotImplementedError) as error:
            print(f"{name:30s}  missing  {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
