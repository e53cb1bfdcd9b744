"""Measure every row on every peer: `python -m benchmarks`; `--help` lists the options."""

import argparse
import os
import platform
import shutil
import sys
import tempfile
from pathlib import Path

from .catalog import NO_ROW, Row
from .catalog import choose as choose_rows
from .environments import Peer, pin, prepare, python_of, variables
from .environments import choose as choose_peers
from .harness import Result, measure_process, measure_row
from .machine import Limits, measure_limits
from .plot import draw_ratios
from .table import Results, aligned, lines, markdown, notes, one_line, remarks


def arguments(argv: list[str] | None) -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return [name.strip() for name in text.split(",") if name.strip()]

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--only", type=names, default=[], help="rows or groups, comma-separated")
    parser.add_argument("--peers", type=names, default=[], help="e.g. numpy,torch (ours always)")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each peer in each round")
    parser.add_argument("--output", type=Path, help="also write a Markdown file")
    parser.add_argument("--plot", type=Path, help="also draw a picture")
    return parser.parse_args(argv)


def measure(row: Row, peers: list[Peer], options: argparse.Namespace) -> dict[str, Result]:
    if not row.process:
        return measure_row(row, peers, options.threads, options.rounds, options.seconds)
    return {peer.name: whole_process(row, peer, options) for peer in peers}


def whole_process(row: Row, peer: Peer, options: argparse.Namespace) -> Result:
    """Rows that time a process from start to exit; a cold cache is an empty folder each time."""
    cache = Path(tempfile.mkdtemp(prefix="benchmark-cache-"))
    environment = variables(peer, options.threads, cache)
    try:
        if row.name == "import":
            if not peer.imports:
                return Result(missing=NO_ROW)
            command = [python_of(peer), "-c", peer.imports]
            measure_process(command, environment, 1)
            return measure_process(command, environment, options.rounds)
        command = [python_of(peer), "-m", "benchmarks.first_step", peer.module, peer.variant]
        cold = measure_process(command, environment, 1)
        if row.name.endswith("cold") or cold.missing:
            return cold
        return measure_process(command, environment, options.rounds)
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def report(rows: list[Row], results: Results, limits: Limits, options) -> str:
    head = (
        f"{platform.machine()}, {options.threads} threads, {options.rounds} rounds of "
        f"{options.seconds:g} s; medians of the rounds' medians.\n\nThe machine: {limits}."
    )
    legend = "`ours / best`: below 1, we are faster than the fastest peer, which is named."
    table = markdown(lines(rows, results, limits))
    return "\n\n".join([head, table, legend, "\n".join(notes(rows, results))]) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Make the peers' environments, measure, print the table."""
    options = arguments(argv)
    try:
        rows = choose_rows(options.only)
        peers = choose_peers(["mlx-jit", *options.peers] if options.peers else [])
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    pin(options.threads)
    reasons = {peer.name: prepare(peer) for peer in peers}
    peers = [peer for peer in peers if not reasons[peer.name]]
    limits = measure_limits(options.threads)
    results: Results = {}
    for row in rows:
        results[row.name] = measure(row, peers, options)
        print(one_line(row, results[row.name]), file=sys.stderr, flush=True)
    limits = limits.or_better(measure_limits(options.threads))
    print(aligned(lines(rows, results, limits)))
    print(f"\nThe machine: {limits}.")
    for name, reason in reasons.items():
        if reason:
            print(f"{name} was left out: {reason}")
    print("\n".join(remarks(rows, results)))
    if options.output:
        options.output.write_text(report(rows, results, limits, options))
    if options.plot:
        draw_ratios(rows, results, options.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
