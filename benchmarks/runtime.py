"""Costs of the runtime itself: commands, programs, hand-off between threads, the memory pool.

    python benchmarks/runtime.py

prints a table: the best round (what the code costs) and the median (what the machine gives,
other processes included).
"""

from __future__ import annotations

import ctypes
import os
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable

import numpy as np

from mlx.backend.llvm.jit import compile_ir
from mlx.runtime import memory, team

KERNELS = """
define void @nothing(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
  ret void
}

define void @busy(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
entry:
  %turns = load i64, ptr %consts
  br label %body
body:
  %turn = phi i64 [ 0, %entry ], [ %after, %body ]
  %after = add i64 %turn, 1
  call void asm sideeffect "", "r"(i64 %after)
  %more = icmp slt i64 %after, %turns
  br i1 %more, label %body, label %out
out:
  ret void
}
"""


class Times:
    """Mean microseconds of a call, one for each round."""

    def __init__(self, rounds: list[float]) -> None:
        self.best = min(rounds)
        self.median = statistics.median(rounds)


def measure(function: Callable[[], object], number: int, rounds: int = 15) -> Times:
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        for _ in range(number):
            function()
        times.append((time.perf_counter_ns() - start) / number / 1000)
    return Times(times)


def row(name: str, times: Times, scale: float = 1, unit: str = "us") -> None:
    best, median = times.best * scale, times.median * scale
    print(f"| {name:<50} | {best:12.3f} | {median:12.3f} | {unit:<2} |", flush=True)


class Bench:
    def __init__(self) -> None:
        self.library = library = compile_ir(KERNELS, ["nothing", "busy"])
        self.nothing = library.address("nothing")
        self.busy = library.address("busy")
        self.bases = array("q", [0])
        self.turns_per_us = self._turns()

    def _turns(self) -> float:
        program = team.Program([(self.busy, [1_000_000], 1)], small=True)
        return 1e6 / measure(lambda: team.run(program, self.bases), 5).best

    def busy_program(self, tasks: int, us: float, commands: int = 1) -> team.Program:
        turns = max(1, int(us * self.turns_per_us))
        return team.Program([(self.busy, [turns], tasks)] * commands)

    def time(self, program: team.Program, number: int = 200) -> Times:
        return measure(lambda: team.run(program, self.bases), number)

    def dispatch(self) -> None:
        """Commands, tasks and programs that do nothing."""
        for small, kind in ((True, "small"), (False, "queued")):
            row(f"empty program, {kind}", self.time(team.Program([], small), 5000))
        for small, kind in ((True, "small"), (False, "queued")):
            program = team.Program([(self.nothing, [], 1)] * 1000, small)
            row(f"command of one task, {kind}", self.time(program, 50), unit="ns")
        tasks = team.Program([(self.nothing, [], 1000)])
        for threads in (1, 2):
            with team.threads(threads):
                row(f"task, {threads} threads", self.time(tasks, 50), unit="ns")
        program = team.Program([])
        row("submit and wait", measure(lambda: team.wait(team.submit(program, self.bases)), 500))

    def hand_off(self) -> None:
        """Commands of two equal tasks, one after the other, by one thread and by two."""
        for us in (1, 5, 20, 100, 1000):
            commands = max(1, 1000 // us)
            program = self.busy_program(2, us, commands)
            for threads in (1, 2):
                with team.threads(threads):
                    times = measure(lambda p=program: team.run(p, self.bases), 1, 100)
                row(f"command of 2 tasks of {us} us, {threads} threads", times, 1 / commands)
        program = self.busy_program(2, 100)

        def cold() -> float:
            time.sleep(0.002)
            start = time.perf_counter_ns()
            team.run(program, self.bases)
            return (time.perf_counter_ns() - start) / 1000

        for threads in (1, 2):
            with team.threads(threads):
                row(
                    f"2 tasks of 100 us, others asleep, {threads} threads",
                    Times([cold() for _ in range(100)]),
                )

    def competition(self) -> None:
        """16 ms of work in tasks of 50 us, alone and while a process keeps one core busy."""
        program = self.busy_program(16, 50, 20)
        self._compete(program, "")
        rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            time.sleep(0.2)
            self._compete(program, ", rival")
        finally:
            rival.kill()
            rival.wait()

    def _compete(self, program: team.Program, label: str) -> None:
        for threads in (1, 2):
            with team.threads(threads):
                before = time.process_time()
                times = measure(lambda: team.run(program, self.bases), 1, 40)
                used = (time.process_time() - before) * 1e6 / 40
            row(f"16 ms of work, {threads} threads{label}", times)
            row("    CPU time over the work's own", Times([used / 16_000]), unit="x")


def pool() -> None:
    """The memory pool, warm and cold."""
    for size in (100, 4096, 100_000, 4 << 20):
        row(f"allocate and free {size} bytes", measure(lambda s=size: memory.allocate(s), 5000))

    def touch() -> None:
        block = memory.allocate(64 << 20)
        ctypes.memset(block.address, 1, block.nbytes)

    def touch_new() -> None:
        touch()
        memory.clear_cache()

    row("allocate and touch 64 MiB, new", measure(touch_new, 1))
    row("allocate and touch 64 MiB, cached", measure(touch, 1))
    row("np.empty and touch 64 MiB", measure(lambda: np.empty(64 << 20, np.uint8).fill(1), 1))


def main() -> None:
    bench = Bench()
    print(f"{team.num_threads()} threads, {os.cpu_count()} cores\n")
    print(f"| {'what':<50} | {'best':>12} | {'median':>12} |    |")
    print(f"|{'-' * 52}|{'-' * 14}|{'-' * 14}|----|")
    bench.dispatch()
    bench.hand_off()
    bench.competition()
    pool()


if __name__ == "__main__":
    main()
