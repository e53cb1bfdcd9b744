"""Measuring a row on all peers: a process each, rounds interleaved, medians, agreement."""

import json
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from .catalog import NOT_BLAS, Row
from .environments import ROOT, Peer, python_of, variables

PATIENCE = 300.0
_REST = 0.25  # seconds in which the threads of who ran before stop waiting for more work


@dataclass(frozen=True)
class Budget:
    """How long to measure: in each round `seconds`, of a peer in a row about `most` seconds.

    A run that takes longer than a round is made once a round, and twice in all at the least;
    only once, after the first that is never counted, if it takes longer than `most`.
    """

    threads: int
    rounds: int = 3
    seconds: float = 0.3
    most: float = 5.0


@dataclass
class Result:
    """What one peer did in one row; `missing` says why there is no figure."""

    rounds: list[float] = field(default_factory=list)
    runs: int = 0
    memory: float = 0.0
    first: float = 0.0
    check: list[float] = field(default_factory=list)
    missing: str = ""
    differs: bool = False

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds)


class Process:
    """A worker, asked in JSON lines."""

    def __init__(self, peer: Peer, threads: int):
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (a pipe would fill up)
        self.process = subprocess.Popen(
            [python_of(peer), "-m", "benchmarks.worker", peer.module, peer.variant],
            cwd=ROOT,
            env=variables(peer, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )

    def ask(self, **request) -> dict:
        """The reply, or {"missing": why} of a process that died or took too long."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"missing": self._last_words()}
        return self.answer()

    def answer(self) -> dict:
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
            return {"missing": f"no answer within {PATIENCE:.0f} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": self._last_words()}

    def _last_words(self) -> str:
        code = self.process.wait()
        self.errors.seek(0)
        lines = self.errors.read().strip().splitlines()
        return f"process ended with {code}: {lines[-1] if lines else 'no message'}"[:300]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


class Contest:
    """Processes that live side by side and take turns at one program or another each."""

    def __init__(self) -> None:
        self.results: dict[str, Result] = {}
        self.processes: dict[str, Process] = {}
        self.programs: dict[str, str] = {}

    def __enter__(self) -> "Contest":
        return self

    def __exit__(self, *raised) -> None:
        for process in self.processes.values():
            process.close()

    def enter(self, name: str, peer: Peer, row: str, threads: int) -> None:
        """Start a process; `build` waits for it."""
        self.processes[name] = Process(peer, threads)
        self.programs[name] = row

    def build(self) -> None:
        """Let all of them import, and then build and run their programs one after the other, so
        that no compilation disturbs another's first run."""
        replies = {name: process.answer() for name, process in self.processes.items()}
        for name, process in self.processes.items():
            reply = replies[name]
            if "missing" not in reply:
                reply = process.ask(row=self.programs[name])
            self.results[name] = Result(
                missing=reply.get("missing", ""),
                first=reply.get("ready", 0.0),
                check=reply.get("check", []),
            )

    def round(self, name: str, budget: Budget, result: Result | None = None) -> None:
        """Let one run for a round, unless its time is up; `result` stands for its own."""
        result = result or self.results[name]
        spent = sum(result.rounds) * result.runs / max(1, len(result.rounds))
        enough = spent > budget.most and (result.runs >= 2 or result.seconds > budget.most)
        if result.missing or enough:
            return
        time.sleep(_REST)
        reply = self.processes[name].ask(seconds=budget.seconds, least=1)
        if "missing" in reply:
            result.missing = reply["missing"]
            return
        result.rounds.append(statistics.median(reply["times"]))
        result.runs += len(reply["times"])
        result.memory = max(result.memory, reply["memory"])


def measure_row(row: Row, peers: Iterable[Peer], budget: Budget) -> dict[str, Result]:
    """Every peer's result in a row."""
    with Contest() as contest:
        for peer in peers:
            if peer.blas and not row.blas:
                contest.results[peer.name] = Result(missing=NOT_BLAS)
            else:
                contest.enter(peer.name, peer, row.name, budget.threads)
        contest.build()
        for _ in range(max(1, budget.rounds)):
            for name in contest.processes:
                contest.round(name, budget)
        for result in contest.results.values():
            if not (result.missing or result.rounds):
                result.missing = "was not measured"
    mark_differences(row, contest.results)
    return contest.results


def mark_differences(row: Row, results: dict[str, Result]) -> None:
    """Mark whoever is not near the median of all peers' numbers."""
    there = [r for r in results.values() if not r.missing and r.check]
    if not there or row.tolerance == 0:
        return
    length = statistics.mode(len(r.check) for r in there)
    middle = np.nanmedian([r.check for r in there if len(r.check) == length], axis=0)
    size = np.sqrt(np.mean(middle**2))
    for result in there:
        same = len(result.check) == length
        near = same and np.abs(np.array(result.check) - middle).max(initial=0)
        result.differs = not same or not near <= row.tolerance * max(size, 1e-12)


def measure_process(command: list[str], environment: dict[str, str], rounds: int) -> Result:
    """Wall time of whole processes."""
    result = Result()
    for _ in range(rounds):
        start = time.perf_counter()
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines()
            result.missing = (lines or ["failed without a message"])[-1][:300]
            break
        result.rounds.append(time.perf_counter() - start)
        result.runs += 1
    return result
