"""Costs of the runtime itself: commands, programs, hand-off between threads, the memory pool.

    python benchmarks/runtime.py

prints a table.  Medians of several rounds; everything is microseconds unless it says otherwise.
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


def median_us(function: Callable[[], object], number: int, rounds: int = 9) -> float:
    """Median over rounds of the mean microseconds of one call."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter_ns()
        for _ in range(number):
            function()
        times.append((time.perf_counter_ns() - start) / number / 1000)
    return statistics.median(times)


def row(name: str, value: float, unit: str = "us") -> None:
    print(f"| {name:<58} | {value:10.3f} {unit:<2} |", flush=True)


class Bench:
    def __init__(self) -> None:
        self.library = library = compile_ir(KERNELS, ["nothing", "busy"])
        self.nothing = library.address("nothing")
        self.busy = library.address("busy")
        self.bases = array("q", [0])
        self.turns_per_us = self._turns()

    def _turns(self) -> float:
        program = team.Program([(self.busy, [1_000_000], 1)], small=True)
        return 1e6 / median_us(lambda: team.run(program, self.bases), 5)

    def busy_program(self, tasks: int, us: float, commands: int = 1) -> team.Program:
        turns = max(1, int(us * self.turns_per_us))
        return team.Program([(self.busy, [turns], tasks)] * commands)

    def time(self, program: team.Program, number: int = 200) -> float:
        return median_us(lambda: team.run(program, self.bases), number)

    def dispatch(self) -> None:
        """Commands and programs on one thread."""
        empty = [team.Program([], small) for small in (True, False)]
        row("empty program, small (lock held)", self.time(empty[0], 5000))
        row("empty program, through the queue", self.time(empty[1], 5000))
        for small in (True, False):
            program = team.Program([(self.nothing, [], 1)] * 1000, small)
            kind = "small" if small else "through the queue"
            row(f"command of one task, {kind}", self.time(program, 50), "ns")
        tasks = team.Program([(self.nothing, [], 1000)])
        with team.threads(1):
            row("task, 1 thread", self.time(tasks, 50), "ns")
        with team.threads(2):
            row("task, 2 threads", self.time(tasks, 50), "ns")
        ticket_program = team.Program([])
        row(
            "submit and wait of an empty program",
            median_us(lambda: team.wait(team.submit(ticket_program, self.bases)), 1000),
        )

    def hand_off(self) -> None:
        """Commands of two equal tasks on two threads, against half the work."""
        for us in (1, 5, 20, 100, 1000):
            commands = max(1, 2000 // us)
            program = self.busy_program(2, us, commands)
            ideal = us * commands
            number = max(1, 2000 // ideal)
            with team.threads(1):
                alone = self.time(program, number)
            with team.threads(2):
                together = self.time(program, number)
            row(f"2 tasks of {us} us: time over half the serial time", 2 * together / alone, "x")
        program = self.busy_program(2, 50)

        def cold() -> None:
            time.sleep(0.001)
            team.run(program, self.bases)

        with team.threads(1):
            alone = median_us(cold, 100)
        with team.threads(2):
            together = median_us(cold, 100)
        row("2 tasks of 50 us, workers asleep: serial", alone - median_us(_sleep, 100))
        row("2 tasks of 50 us, workers asleep: two threads", together - median_us(_sleep, 100))

    def competition(self) -> None:
        """A parallel program while another process keeps one core busy."""
        program = self.busy_program(16, 50, 20)
        with team.threads(1):
            row("16 ms of work: 1 thread, machine free", self.time(program, 5))
        with team.threads(2):
            row("16 ms of work: 2 threads, machine free", self.time(program, 5))
        rival = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            time.sleep(0.2)
            with team.threads(1):
                row("16 ms of work: 1 thread, one core taken", self.time(program, 10))
            with team.threads(2):
                row("16 ms of work: 2 threads, one core taken", self.time(program, 10))
                before = time.process_time()
                start = time.perf_counter()
                for _ in range(10):
                    team.run(program, self.bases)
                elapsed = time.perf_counter() - start
                row("  CPU time over useful time", (time.process_time() - before) / 0.16, "x")
                row("  elapsed over the fair share (2/3 of two cores)", elapsed / 0.12, "x")
        finally:
            rival.kill()
            rival.wait()


def _sleep() -> None:
    time.sleep(0.001)


def pool() -> None:
    """The memory pool, warm and cold."""
    for size in (100, 4096, 100_000, 4 << 20):
        row(
            f"allocate and free {size} bytes, warm",
            median_us(lambda s=size: memory.allocate(s), 5000),
        )
    held = []

    def cold() -> None:
        block = memory.allocate(64 << 20)
        ctypes.memset(block.address, 1, block.nbytes)
        held.append(block)

    row("allocate and touch 64 MiB, new", median_us(cold, 1, 5))
    held.clear()

    def warm() -> None:
        block = memory.allocate(64 << 20)
        ctypes.memset(block.address, 1, block.nbytes)

    row("allocate and touch 64 MiB, from the cache", median_us(warm, 1, 5))
    memory.clear_cache()
    row("np.empty and touch 64 MiB", median_us(lambda: np.empty(64 << 20, np.uint8).fill(1), 1, 5))


def main() -> None:
    bench = Bench()
    print(f"{team.num_threads()} threads, {os.cpu_count()} cores\n")
    print(f"| {'what':<58} | {'time':>13} |")
    print(f"|{'-' * 60}|{'-' * 15}|")
    bench.dispatch()
    bench.hand_off()
    bench.competition()
    pool()


if __name__ == "__main__":
    main()
