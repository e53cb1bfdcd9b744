"""What an operation costs besides its arithmetic: `python -m benchmarks.overheads`.

Written in MLX's API alone, so that it also runs on real MLX (with its environment's Python).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import mlx.core as mx

from .counters import kernels_compiled
from .inputs import inputs
from .rows import ROWS, compiler

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


def attend(x: mx.array, keys: mx.array) -> mx.array:
    """Operations of every kind whose sizes depend on a length."""
    weights = mx.softmax(x @ keys.transpose(0, 2, 1) * 0.25, axis=-1)
    return mx.maximum((weights @ keys).reshape(-1, 4, 4).sum(axis=1), 0.5)


def growing() -> float:
    """A cache that grows by one each time, for each of the 30 operations recorded."""
    x = mx.ones((1, 1, 16))
    keys = mx.ones((1, 40, 16))

    def work() -> None:
        nonlocal keys
        keys = mx.concatenate([keys, x], axis=1)
        mx.eval(attend(x, keys), keys)

    for _ in range(10):
        work()
    return microseconds(work, 30, repeats=60)


def new_lengths_compile() -> float:
    """Kernels compiled or loaded for 100 lengths, after 20 others."""

    def work(length: int) -> None:
        mx.eval(attend(mx.ones((2, length, 16)), mx.ones((2, length, 16))))

    classes = (2, 3, 4, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 200, 255, 256)
    for length in (1, *classes):
        work(length)
    before = kernels_compiled()
    for length in range(5, 257, 3):
        work(length)
    return float(kernels_compiled() - before)


def recorded(name: str) -> Callable[[], float]:
    """Recording one operation of a kind."""

    def measure() -> float:
        x, y, row = mx.ones((16, 16)), mx.ones((16, 16)), mx.ones((16,))
        mask, at = x > 0, mx.array([1, 2, 3])
        mx.eval(x, y, row, mask, at)
        work: dict[str, Callable[[], object]] = {
            "x + y": lambda: x + y,
            "exp": lambda: mx.exp(x),
            "sum": lambda: x.sum(axis=-1),
            "where": lambda: mx.where(mask, x, y),
            "concatenate": lambda: mx.concatenate([x, y], axis=1),
            "matmul": lambda: x @ y,
            "reshape": lambda: x.reshape(4, 64),
            "transpose": lambda: x.transpose(1, 0),
            "x[:, 1:3]": lambda: x[:, 1:3],
            "x[i]": lambda: x[at],
            "astype": lambda: x.astype(mx.float16),
            "cumsum": lambda: mx.cumsum(x, axis=0),
            "sort": lambda: mx.sort(x),
        }
        return microseconds(lambda: [work[name]() for _ in range(200)], 200)

    return measure


RECORDED = (
    "x + y", "exp", "sum", "where", "concatenate", "matmul", "reshape", "transpose",
    "x[:, 1:3]", "x[i]", "astype", "cumsum", "sort",
)  # fmt: skip


def keying() -> float:
    """What a seen region costs besides being recorded: keying, allocating, running."""
    return evaluating() - recording()


def import_beyond_numpy() -> float:
    """Process start to exit with our imports, less the same with NumPy's; milliseconds."""

    def seconds(imports: str) -> float:
        times = []
        for _ in range(7):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", imports], check=True)
            times.append(time.perf_counter() - start)
        return statistics.median(times)

    ours = "import mlx.core, mlx.nn, mlx.optimizers"
    return 1e3 * (seconds(ours) - seconds("import numpy"))


def first_step(warm: bool) -> float:
    """Seconds from process start to the end of the GPT's first training step."""
    command = [sys.executable, "-m", "benchmarks.first_step", "benchmarks.rows", "plain"]
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"MLX_CACHE_DIR": cache}
        times = []
        for _ in range(3 if warm else 1):
            start = time.perf_counter()
            subprocess.run(command, check=True, env=environment)
            times.append(time.perf_counter() - start)
    return times[-1]


def plain_loop() -> float:
    """The GPT's training step, evaluated each time, over the same step compiled."""
    data = inputs("gpt_step")
    steps = [ROWS["gpt_step"](data, compiler(variant)) for variant in ("plain", "compiled")]
    times: list[list[float]] = [[], []]
    for turn in range(5):
        for step, found in zip(steps, times, strict=True):
            start = time.perf_counter()
            step()
            if turn:
                found.append(time.perf_counter() - start)
    return statistics.median(times[0]) / statistics.median(times[1])


def asynchronous() -> float:
    """A loop that asks for the next step before it reads the last, over its longer half:
    recording alone, or running alone."""
    weight = mx.random.normal((1024, 1024)) * 0.01
    x = mx.ones((256, 1024))
    mx.eval(weight, x)

    def record(x: mx.array) -> mx.array:
        return chain(x, x, 400)[:, :1024] @ weight @ weight

    def timed(evaluate: Callable[[mx.array], object], count: int = 20) -> float:
        found, last = x, x
        start = time.perf_counter()
        for _ in range(count):
            last, found = found, record(found)
            evaluate(found)
            if evaluate is mx.async_eval:
                last[0, 0].item()
        mx.eval(found)
        return time.perf_counter() - start

    timed(mx.eval)
    recording_alone = microseconds(lambda: record(x), 1) * 20 / 1e6
    both, overlapped = timed(mx.eval), timed(mx.async_eval)
    return overlapped / max(recording_alone, both - recording_alone)


def evaluated_once() -> float:
    """1000 steps of gradient descent evaluated at the end, over evaluating each step."""
    x, y = mx.random.normal((256, 32)), mx.random.normal((256,))
    gradient = mx.grad(lambda w: ((x @ w - y) ** 2).mean())

    def train(each: bool) -> float:
        w = mx.zeros((32,))
        mx.eval(w, x, y)
        start = time.perf_counter()
        for _ in range(1000):
            w = w - 0.01 * gradient(w)
            if each:
                mx.eval(w)
        mx.eval(w)
        return time.perf_counter() - start

    train(True), train(False)
    return statistics.median(train(False) for _ in range(3)) / train(True)


ROWS_QUICK: dict[str, tuple[Callable[[], float], str]] = {
    "recording": (recording, "µs an operation; target 1.5"),
    **{f"recording {name}": (recorded(name), "µs; target 1.5") for name in RECORDED},
    "recording a gradient": (differentiating, "µs an operation of the forward pass"),
    "keying and running": (keying, "µs an operation of a seen region; target 1 for keying"),
    "small operations, evaluated": (evaluating, "µs an operation; target 4"),
    "small operations, compiled": (compiled_chain, "µs an operation; target 0.3"),
    "compiled call, 1 array": (lambda: compiled_call(1), "µs; target 15 + 0.9"),
    "compiled call, 100 arrays": (lambda: compiled_call(100), "µs; target 15 + 90"),
    "a never-seen shape": (new_shapes, "µs an operation, recording included; target 5"),
    "a growing cache": (growing, "µs an operation, recording and running included"),
    "kernels for new lengths": (new_lengths_compile, "compiled; target 0"),
    "evaluated once": (evaluated_once, "times evaluating each of 1000 steps; target 2"),
    "asynchronous loop": (asynchronous, "times the longer of recording and running; ideal 1"),
}
ROWS_SLOW: dict[str, tuple[Callable[[], float], str]] = {
    "import": (import_beyond_numpy, "ms beyond NumPy's; target 100"),
    "plain loop, GPT step": (plain_loop, "times the compiled step; target 1.25"),
    "first step, cold": (lambda: first_step(False), "s; target JAX's time"),
    "first step, warm": (lambda: first_step(True), "s; target 1.5"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overheads", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out what takes seconds")
    options = parser.parse_args()
    rows = ROWS_QUICK if options.quick else ROWS_QUICK | ROWS_SLOW
    for name, (measure, unit) in rows.items():
        try:
            print(f"{name:30s} {measure():8.2f}  {unit}", flush=True)
        except (AttributeError, NotImplementedError, LookupError) as error:
            print(f"{name:30s}  missing  {type(error).__name__}: {error}", flush=True)


if __name__ == "__main__":
    main()
