"""A peer's process: builds one row, then times it whenever the parent asks.

Requests and replies are lines of JSON on stdin and stdout, after a first {} when it is ready:
{"row": name} -> {"ready": seconds of set-up and first run, "check": numbers to compare}
{"seconds": s, "least": n} -> {"times": [...], "memory": growth of the peak in bytes}
"""

import ctypes
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from .catalog import NO_ROW
from .inputs import inputs

LIBC = ctypes.CDLL(None)
SAMPLES = 24  # numbers that stand for a row's result, shared out among its arrays


def status(field: str) -> int:
    """A field of this process's memory, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak() -> None:
    """Lower the recorded peak of this process's memory to its present size.

    What the C library keeps of freed memory (copies made for comparing) goes first.
    """
    if hasattr(LIBC, "malloc_trim"):
        LIBC.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")


def fingerprint(values: list[np.ndarray]) -> list[float]:
    """A few numbers of each array, by which results are compared: spread and samples."""
    numbers: list[float] = []
    samples = max(2, SAMPLES // max(1, len(values)))
    for value in values:
        flat = np.asarray(value).reshape(-1)
        parts = [flat.real, flat.imag] if np.iscomplexobj(flat) else [flat]
        for part in parts:
            real = part.astype(np.float64)
            at = np.linspace(0, real.size - 1, min(samples, real.size)).astype(np.int64)
            spread = [float(np.sqrt(np.mean(real**2)))]
            numbers += spread + real[at].tolist()
    return [float(f"{number:.7g}") for number in numbers]


class Worker:
    """One row on one peer."""

    def __init__(self, peer, variant: str):
        self.peer = peer
        self.variant = variant
        self.run: Callable[[], object] | None = None
        self.base = 0

    def build(self, row: str) -> dict:
        make = self.peer.ROWS.get(row)
        if make is None:
            return {"missing": NO_ROW}
        self.peer.warm()
        data = inputs(row)
        start = time.perf_counter()
        forget_peak()
        self.base = status("VmRSS:") - sum(v.nbytes for v in data.values())
        self.run = make(data, self.peer.compiler(self.variant))
        del data
        values = self.peer.arrays(self.run())
        seconds = time.perf_counter() - start
        check = fingerprint(values)
        del values
        self.peer.settle()
        forget_peak()
        return {"ready": seconds, "check": check}

    def measure(self, seconds: float, least: int) -> dict:
        times: list[float] = []
        end = time.perf_counter() + seconds
        while len(times) < least or time.perf_counter() < end:
            start = time.perf_counter()
            self.peer.finish(self.run())
            times.append(time.perf_counter() - start)
        return {"times": times, "memory": max(status("VmHWM:") - self.base, 0)}


def serve(worker: Worker) -> None:
    """Answer until stdin ends; what fails is answered with its reason."""
    replies = sys.stdout
    sys.stdout = sys.stderr  # what a framework prints must not get between the replies
    print("{}", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "row" in request:
                reply = worker.build(request["row"])
            else:
                reply = worker.measure(request["seconds"], request["least"])
        except Exception as error:  # whatever a framework raises is a result of the benchmark
            reply = {"missing": f"{type(error).__name__}: {error}"[:300]}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    _, module, variant = sys.argv
    serve(Worker(importlib.import_module(module), variant))
