"""Measuring a row on all peers: a process each, rounds interleaved, medians, agreement."""

import json
import select
import statistics
import subprocess
import time
from dataclasses import dataclass, field

import numpy as np

from .catalog import Row
from .environments import ROOT, Peer, python_of, variables

PATIENCE = 300.0


@dataclass
class Result:
    """What one peer did in one row; `missing` says why there is no figure."""

    rounds: list[float] = field(default_factory=list)
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
        self.process = subprocess.Popen(
            [python_of(peer), "-m", "benchmarks.worker", peer.module, peer.variant],
            cwd=ROOT,
            env=variables(peer, threads),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def ask(self, **request) -> dict:
        """The reply, or {"missing": why} of a process that died or took too long."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"missing": self._last_words()}
        if not select.select([self.process.stdout], [], [], PATIENCE)[0]:
            self.process.kill()
            return {"missing": f"no answer within {PATIENCE:.0f} s"}
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"missing": self._last_words()}

    def _last_words(self) -> str:
        code = self.process.wait()
        lines = self.process.stderr.read().strip().splitlines()
        return f"process ended with {code}: {lines[-1] if lines else 'no message'}"[:300]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


def measure_row(
    row: Row, peers: list[Peer], threads: int, rounds: int, seconds: float
) -> dict[str, Result]:
    """Every peer's result in a row; their processes live side by side and take turns."""
    results = {peer.name: Result() for peer in peers}
    processes = {}
    try:
        for peer in peers:
            # One after the other, so that no compilation disturbs another's first run.
            process = processes[peer.name] = Process(peer, threads)
            reply = process.ask(row=row.name)
            result = results[peer.name]
            result.missing = reply.get("missing", "")
            result.first, result.check = reply.get("ready", 0.0), reply.get("check", [])
        for _ in range(rounds):
            for name, result in results.items():
                if not result.missing:
                    _round(processes[name], result, seconds)
    finally:
        for process in processes.values():
            process.close()
    mark_differences(row, results)
    return results


def _round(process: Process, result: Result, seconds: float) -> None:
    reply = process.ask(seconds=seconds, least=2)
    if "missing" in reply:
        result.missing = reply["missing"]
        return
    result.rounds.append(statistics.median(reply["times"]))
    result.memory = max(result.memory, reply["memory"])


def mark_differences(row: Row, results: dict[str, Result]) -> None:
    """Mark whoever is not near the median of all peers' numbers."""
    there = [r for r in results.values() if not r.missing]
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
    return result
