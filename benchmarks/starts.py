"""Rows that time whole processes: importing, and the first training step from process start."""

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from .catalog import NO_ROW, Row
from .environments import Peer, python_of, variables
from .harness import Budget, Result, measure_process

COLD, WARM = "gpt_first_step_cold", "gpt_first_step_warm"


def measure_starts(rows: Iterable[Row], peers: list[Peer], budget: Budget):
    """(name of a row, its results), peers taking turns; the warm start follows the cold one."""
    names = [row.name for row in rows]
    if "import" in names:
        yield "import", {peer.name: importing(peer, budget) for peer in peers}
    if COLD in names or WARM in names:
        both = {peer.name: first_steps(peer, budget) for peer in peers}
        for at, name in enumerate((COLD, WARM)):
            if name in names:
                yield name, {peer: pair[at] for peer, pair in both.items()}


def importing(peer: Peer, budget: Budget) -> Result:
    if not peer.imports:
        return Result(missing=NO_ROW)
    command = [python_of(peer), "-c", peer.imports]
    environment = variables(peer, budget.threads)
    measure_process(command, environment, 1)
    return measure_process(command, environment, max(5, budget.rounds))


def first_steps(peer: Peer, budget: Budget) -> tuple[Result, Result]:
    """With caches that are empty, and then with what the first process left there."""
    if peer.yardstick or peer.module.endswith("numpy_rows"):
        return Result(missing=NO_ROW), Result(missing=NO_ROW)
    cache = Path(tempfile.mkdtemp(prefix="benchmark-cache-"))
    environment = variables(peer, budget.threads, cache)
    command = [python_of(peer), "-m", "benchmarks.first_step", peer.module, peer.variant]
    try:
        cold = measure_process(command, environment, 1)
        if cold.missing:
            return cold, cold
        rounds = budget.rounds if cold.seconds < 2 * budget.most else 1
        return cold, measure_process(command, environment, rounds)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
