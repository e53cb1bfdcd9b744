"""Calls every public function with arguments that make no sense; prints what surprises.

Run as a program by the tests, so that a crash of it is a failure of theirs.  Arguments: the seed
and the number of calls a function.
"""

from __future__ import annotations

import faulthandler
import inspect
import random
import sys
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import mlx.core as mx

EXPECTED = (ValueError, TypeError, IndexError, MemoryError)
LEFT_OUT = ("save", "export", "import", "set_", "new_", "load", "start_", "stop_", "init", "split")
"""Names that begin like this write files, change settings or need hardware."""
SECONDS = 60
"""After so many in one call it counts as hanging."""


class Odd:
    """Nothing that a function knows."""


SENSELESS: list[Callable[[], Any]] = [
    *[lambda v=v: v for v in (None, "abc", b"x", Odd(), Ellipsis, slice(0, 2, 0), len, mx.sin)],
    *[lambda v=v: v for v in (-1, 0, 1, 3, -100, 10**6, 1 << 40, -(1 << 40), 1 << 63, -(1 << 70))],
    *[lambda v=v: v for v in (0.5, -1.5, float("nan"), float("inf"), 1e300, 1j, True)],
    *[lambda v=v: v for v in ([], (), [1, [2]], [None], (-1, 2), (1 << 40,) * 2, [0.5], (1, 0))],
    *[lambda v=v: v for v in (mx.float16, mx.int8, mx.complex64, "float32", np.float32, mx.gpu)],
    *[lambda v=v: v for v in ("ij,jk->ik", {"a": 1}, {1, 2}, range(3))],
    lambda: np.ones(3),
    lambda: np.array(["a"]),
    lambda: np.array(None),
]
ARRAYS: list[Callable[[], Any]] = [
    *[
        lambda s=s: mx.ones(s)
        for s in ((), (0,), (3,), (0, 3), (2, 3), (3, 3), (2, 3, 4), (1,) * 9)
    ],
    *[lambda d=d: mx.ones((3, 3), d) for d in (mx.float16, mx.float64, mx.complex64, mx.bool_)],
    lambda: mx.array([-1, 100]),
    lambda: mx.array([1 << 40]),
    lambda: mx.array([float("nan"), float("inf"), -1e38]),
    lambda: mx.ones((4, 4), mx.uint8),
    lambda: [mx.ones((2,)), mx.ones((3,))],
]


def functions() -> Iterator[tuple[str, Callable]]:
    for space in (mx, mx.linalg, mx.fft, mx.random, mx.fast, mx.array):
        for name, value in sorted(vars(space).items()):
            is_function = isinstance(value, types.FunctionType)
            if is_function and not name.startswith(("_", *LEFT_OUT)):
                yield f"{space.__name__}.{name}", value


def arguments(function: Callable, choice: random.Random) -> list[Any]:
    found = inspect.signature(function).parameters.values()
    plain = [p for p in found if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    needed = sum(p.default is p.empty for p in plain)
    count = choice.randint(needed, max(needed, len([p for p in plain if p.name != "stream"])))
    sources = [ARRAYS if choice.random() < (0.3 if i else 0.7) else SENSELESS for i in range(count)]
    return [choice.choice(source)() for source in sources]


def leaves(result: Any) -> list[mx.array]:
    if isinstance(result, (list, tuple)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result] if isinstance(result, mx.array) else []


def surprise(function: Callable, given: list[Any]) -> Exception | None:
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    try:
        mx.eval([x for x in leaves(function(*given)) if x.size < 1 << 24])
    except EXPECTED:
        return None
    except Exception as error:
        return error
    finally:
        faulthandler.cancel_dump_traceback_later()
    return None


def main(seed: int, calls: int) -> None:
    mx.set_memory_limit(1 << 28)
    for name, function in functions():
        choice = random.Random(f"{seed} {name}")
        for _ in range(calls):
            given = arguments(function, choice)
            if name.startswith("array."):
                given[:1] = [choice.choice(ARRAYS[:-1])()]
            error = surprise(function, given)
            if error is not None:
                shown = ", ".join(f"{a!r:.40}" for a in given)
                print(f"{name}({shown}): {type(error).__name__}: {error}")


if __name__ == "__main__":
    faulthandler.enable()
    main(int(sys.argv[1]), int(sys.argv[2]))
