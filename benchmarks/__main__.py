"""Measure every row on every peer: `python -m benchmarks`; `--help` lists the options."""

import argparse
import os
import sys
import time
from datetime import date
from pathlib import Path

from .catalog import Row
from .catalog import choose as choose_rows
from .environments import Peer, pin, prepare
from .environments import choose as choose_peers
from .extras import EXTRAS
from .harness import Budget, Result, measure_row
from .machine import measure_limits
from .plot import draw_ratios
from .report import present, write_headlines, write_report
from .starts import measure_starts
from .store import Store, load, save
from .table import aligned, lines, one_line, remarks

ALL, NONE = "all", "none"


def arguments(argv: list[str] | None) -> argparse.Namespace:
    def names(text: str) -> list[str]:
        return [name.strip() for name in text.split(",") if name.strip()]

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--only", type=names, default=[], help="rows, groups or beginnings of names; or 'none'")
    add("--peers", type=names, default=[], help="e.g. numpy,torch (ours always)")
    add("--tables", type=names, help=f"{','.join(EXTRAS)}, all or none; default all without --only")
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--rounds", type=int, default=3)
    add("--seconds", type=float, default=0.2, help="of each peer in each round")
    add("--most", type=float, default=5.0, help="seconds of a peer in a row, if two runs fit")
    add("--output", type=Path, help="Markdown to write; its .json beside it keeps raw results")
    add("--plot", type=Path, help="picture to draw")
    add("--readme", type=Path, help="file whose table of a few rows is to be renewed")
    add("--resume", action="store_true", help="measure only what the .json doesn't have")
    return parser.parse_args(argv)


def chosen_tables(options: argparse.Namespace) -> list[str]:
    names = options.tables
    if names is None:
        names = [NONE] if options.only else [ALL]
    if names in ([ALL], [NONE]):
        return list(EXTRAS) if names == [ALL] else []
    unknown = [name for name in names if name not in EXTRAS]
    if unknown:
        raise ValueError(f"no table is called {unknown[0]}; known: {', '.join(EXTRAS)}")
    return names


class Session:
    """One run of the command: what is measured goes into the store, and to disk at once."""

    def __init__(self, options: argparse.Namespace, store: Store):
        self.options = options
        self.store = store
        self.budget = Budget(options.threads, options.rounds, options.seconds, options.most)
        self.start = time.monotonic()

    def say(self, text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self.start), 60)
        print(f"[{minutes:2}:{seconds:02}] {text}", file=sys.stderr, flush=True)

    def measure(self, rows: list[Row], peers: list[Peer]) -> None:
        if self.options.resume:
            rows = [r for r in rows if not self.store.has(r.name, [p.name for p in peers])]
        self.store.meet(measure_limits(self.budget.threads))
        for row in rows:
            if not row.process:
                self.keep(row, measure_row(row, peers, self.budget))
                self.store.meet(measure_limits(self.budget.threads))
        by_name = {row.name: row for row in rows}
        for name, found in measure_starts(rows, peers, self.budget):
            self.keep(by_name[name], found)

    def keep(self, row: Row, found: dict[str, Result]) -> None:
        options = self.options
        how = f"{date.today()}, {options.rounds} rounds of {options.seconds:g} s"
        self.store.update(row.name, found, how)
        self.say(one_line(row, self.store.results[row.name]))
        self.write()

    def tables(self, names: list[str]) -> None:
        for name in names:
            if self.options.resume and name in self.store.extras:
                continue
            self.store.extras[name] = EXTRAS[name](self.budget)
            self.say(f"table {name} done")
            self.write()

    def write(self) -> None:
        """Everything that was asked for, as far as it is known."""
        options, store = self.options, self.store
        if options.output:
            save(store, options.output.with_suffix(".json"))
            write_report(store, options.output, options.plot)
        if options.plot and store.results:
            caption = f"{store.machine}, {store.threads} threads."
            draw_ratios(present(store), store.results, options.plot, caption)
        if options.readme:
            write_headlines(store, options.readme)

    def show(self, rows: list[Row], names: list[str]) -> None:
        """What was measured, on the terminal."""
        store = self.store
        rows = [row for row in rows if row.name in store.results]
        if rows and store.limits:
            print(aligned(lines(rows, store.results, store.limits)))
            print("\n".join(remarks(rows, store.results)))
        for name in names:
            extra = store.extras[name]
            print(f"\n{extra.title}: {extra.text}\n{aligned([extra.header, *extra.lines])}")
        print(f"\nThe machine: {store.limits}.")


def main(argv: list[str] | None = None) -> int:
    """Make the peers' environments, measure, print and write the tables."""
    options = arguments(argv)
    try:
        rows = [] if options.only == [NONE] else choose_rows(options.only)
        peers = choose_peers(["mlx-jit", *options.peers] if options.peers else [])
        tables = chosen_tables(options)
        output = options.output
        store = load(output and output.with_suffix(".json"), options.threads)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    pin(options.threads)
    session = Session(options, store)
    reasons = {peer.name: prepare(peer) for peer in peers}
    for name, reason in reasons.items():
        if reason:
            session.say(f"{name} is left out: {reason}")
    session.measure(rows, [peer for peer in peers if not reasons[peer.name]])
    session.tables(tables)
    session.write()
    session.show(rows, tables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
