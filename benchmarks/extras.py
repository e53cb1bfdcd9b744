"""Tables besides the rows: bandwidth, threads, sizes, a busy machine, equal bits."""

import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from .catalog import ROWS, Row
from .environments import PEERS, ROOT, Peer, prepare, python_of, variables
from .harness import Budget, Contest, Result
from .inputs import FACTORS, sized
from .machine import stream_rate
from .store import Extra
from .table import number

BOUND = (
    "matmul_f32_1024", "matmul_bf16_2048", "matmul_512x64x64", "linear_gelu", "conv2d_grad",
    "attention_grad", "cnn_step", "mlp_step", "gpt_step", "per_example_grads", "sort",
    "random_normal",
)  # fmt: skip
STREAMED = (
    "gelu_chain", "transposed_add", "softmax_rows", "softmax_grad", "layer_norm_grad",
    "rms_norm_grad", "cross_entropy_grad", "adamw_update", "cumsum", "embedding_grad",
    "matvec_f32", "matvec_bf16", "matvec_q8", "matvec_q4", "topk", "argmax_rows",
)  # fmt: skip
MIXED = ("gelu_chain", "softmax_grad", "matmul_f32_1024", "conv2d_grad", "mlp_step", "gpt_step")
ROUNDS = 5  # ratios of two times need more rounds than times


def peer(name: str) -> Peer:
    return next(peer for peer in PEERS if peer.name == name)


def rows(names: tuple[str, ...]) -> list[Row]:
    return [row for row in ROWS if row.name in names]


def milliseconds(result: Result) -> str:
    return "failed" if result.missing else number(1e3 * result.seconds)


def over(slow: Result, fast: Result) -> float:
    return math.nan if slow.missing or fast.missing else slow.seconds / fast.seconds


def bandwidth(budget: Budget) -> Extra:
    """Rows bound by memory, and in turn with them a copy, or a read, of arrays out of caches."""
    lines = []
    for row in rows(STREAMED):
        with Contest() as contest:
            contest.enter(row.name, peer("mlx-jit compiled"), row.name, budget.threads)
            contest.build()
            limits, shares, result = [], [], contest.results[row.name]
            for _ in range(ROUNDS):
                limits.append(stream_rate(row.reads, budget.threads))
                contest.round(row.name, budget)
                if not result.missing:
                    shares.append(row.bytes / result.rounds[-1] / limits[-1])
            kind = "read" if row.reads else "copy"
            limit = f"{kind} {statistics.median(limits) / 1e9:.0f} GB/s"
            share = "" if result.missing else f"{statistics.median(shares):.0%}"
            lines.append([row.name, milliseconds(result), limit, share])
        print("bandwidth:", *lines[-1], file=sys.stderr, flush=True)
    text = (
        "What memory allows changes within minutes, so each row takes turns with a copy (where it "
        "only reads: a read) of arrays beyond the caches, on the same threads; medians of the "
        f"{ROUNDS} turns. Inputs and outputs count once. Target 85 %."
    )
    return Extra("Bandwidth", text, ["row", "ms", "in turn with it", "share"], lines)


def scaling(budget: Budget) -> Extra:
    """The compiled rows on one thread and on all, in turn."""
    many, lines = budget.threads, []
    for row in rows(BOUND):
        with Contest() as contest:
            for threads in (1, many):
                contest.enter(str(threads), peer("mlx-jit compiled"), row.name, threads)
            contest.build()
            for _ in range(ROUNDS):
                for name in contest.processes:
                    contest.round(name, budget)
            alone, all_of_them = contest.results["1"], contest.results[str(many)]
            gain = f"{over(alone, all_of_them):.2f}"
            lines.append([row.name, milliseconds(alone), milliseconds(all_of_them), gain])
        print("scaling:", *lines[-1], file=sys.stderr, flush=True)
    text = f"One thread against {many}, the same process otherwise; target 1.8 for two. ms."
    return Extra("Threads", text, ["row", "1 thread", f"{many} threads", "speed-up"], lines)


def work(name: str, factor: int) -> float:
    """How much more there is to do than at factor 1."""
    if name == "sort":
        size = 1 << 18
        return factor * math.log2(size * factor) / math.log2(size)
    return factor


def sizes(budget: Budget) -> Extra:
    """Programs at 1, 4 and 16 times the work."""
    lines = []
    for name in sized(1):
        with Contest() as contest:
            for factor in FACTORS:
                program = f"{name}@{factor}"
                contest.enter(program, peer("mlx-jit compiled"), program, budget.threads)
            contest.build()
            for _ in range(budget.rounds):
                for program in contest.processes:
                    contest.round(program, budget)
            found = [contest.results[f"{name}@{f}"] for f in FACTORS]
            costs = [over(r, found[0]) / work(name, f) for r, f in zip(found, FACTORS, strict=True)]
            lines.append([name, *map(milliseconds, found), *(f"{cost:.2f}" for cost in costs[1:])])
        print("sizes:", *lines[-1], file=sys.stderr, flush=True)
    header = ["program", *(f"{f}x" for f in FACTORS), *(f"cost at {f}x" for f in FACTORS[1:])]
    text = (
        "Time in ms at 1, 4 and 16 times the work, and the cost of a unit of work over its cost "
        "at 1x: at most 1 is linear or better (a sort counts n log n). The smallest elementwise "
        "sizes fit the last-level cache."
    )
    return Extra("Sizes", text, header, lines)


@contextmanager
def rival() -> Iterator[None]:
    """A process that keeps the last of our cores busy."""
    core = max(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{core}])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        time.sleep(0.1)
        yield
    finally:
        process.kill()
        process.wait()


def busy(budget: Budget) -> Extra:
    """Ours and PyTorch's slow-down while another process has one core."""
    names = [n for n in ("mlx-jit compiled", "torch", "jax") if not prepare(peer(n))]
    lines = []
    for row in rows(MIXED):
        with Contest() as contest:
            for name in names:
                contest.enter(name, peer(name), row.name, budget.threads)
            contest.build()
            disturbed = {name: replace(contest.results[name], rounds=[]) for name in names}
            for _ in range(ROUNDS):
                for name in names:
                    contest.round(name, budget)
                with rival():
                    for name in names:
                        contest.round(name, budget, disturbed[name])
            cells = [row.name]
            for name in names:
                alone = contest.results[name]
                slower = f"{over(disturbed[name], alone):.2f}"
                cells += [milliseconds(alone), milliseconds(disturbed[name]), slower]
            lines.append(cells)
        print("busy:", *lines[-1], file=sys.stderr, flush=True)
    header = ["row", *(h for n in names for h in (n, "busy", "slow-down"))]
    text = (
        "Alone, and while a process that never rests is bound to one of the cores; ms. With two "
        "cores 1.33 would be perfect, 2 is what equal shares that wait for each other give."
    )
    return Extra("A busy machine", text, header, lines)


def exact(budget: Budget) -> Extra:
    """Each row's program evaluated as usual and after every operation: the same bits?"""
    lines = []
    ours = peer("mlx-jit")
    for row in ROWS:
        if row.process:
            continue
        done = subprocess.run(
            [python_of(ours), "-m", "benchmarks.exact", row.name],
            cwd=ROOT, env=variables(ours, budget.threads), capture_output=True, text=True,
        )  # fmt: skip
        reply = json.loads(done.stdout) if done.returncode == 0 else {}
        if not reply:
            said = (done.stderr.strip().splitlines() or ["no message"])[-1]
            lines.append([row.name, "failed", "", said[:100]])
        else:
            differing = str(reply["differing"]) if reply["differing"] else "none"
            regions = (str(reply["regions"]), str(reply["stepwise regions"]))
            lines.append([row.name, *regions, differing])
        print("exact:", *lines[-1], file=sys.stderr, flush=True)
    text = (
        "Every row's program twice from the same start, in full size: evaluated as usual, and with "
        "every operation alone; how many numbers differ in a bit."
    )
    header = ["row", "evaluations", "one operation each", "numbers that differ"]
    return Extra("Fusion changes no bit", text, header, lines)


EXTRAS: dict[str, Callable[[Budget], Extra]] = {
    "bandwidth": bandwidth,
    "scaling": scaling,
    "sizes": sizes,
    "busy": busy,
    "exact": exact,
}
