"""Raw results in a JSON file, so that a later run can renew some rows and keep the others."""

import json
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .catalog import ROWS
from .environments import PEERS
from .harness import Result, mark_differences
from .machine import Limits, processor

Results = dict[str, dict[str, Result]]


@dataclass
class Extra:
    """A table besides the rows: text before it, its header and its lines."""

    title: str
    text: str
    header: list[str]
    lines: list[list[str]]


@dataclass
class Store:
    """All that is known of one machine and number of threads."""

    machine: str
    threads: int
    limits: Limits | None = None
    results: Results = field(default_factory=dict)
    extras: dict[str, Extra] = field(default_factory=dict)
    measured: dict[str, str] = field(default_factory=dict)

    def update(self, row: str, found: dict[str, Result], how: str) -> None:
        """Results of some peers in a row, which are compared with those that were there."""
        known = self.results.get(row, {}) | found
        order = [peer.name for peer in PEERS]
        self.results[row] = {name: known[name] for name in order if name in known}
        self.measured[row] = how
        for entry in ROWS:
            if entry.name == row:
                mark_differences(entry, self.results[row])

    def meet(self, limits: Limits) -> None:
        self.limits = limits.or_better(self.limits) if self.limits else limits

    def has(self, row: str, peers: list[str]) -> bool:
        return set(peers) <= set(self.results.get(row, {}))


def machine() -> str:
    return f"{processor()} ({platform.machine()})"


def load(path: Path | None, threads: int) -> Store:
    """What the file holds; an empty store if there is none.

    Raises ValueError if it is of another machine or number of threads: a table of both would lie.
    """
    if path is None or not path.exists():
        return Store(machine(), threads)
    raw = json.loads(path.read_text())
    if (raw["machine"], raw["threads"]) != (machine(), threads):
        raise ValueError(
            f"{path} holds results of {raw['machine']} with {raw['threads']} threads; delete it or "
            "name another file in --output"
        )
    return Store(
        raw["machine"],
        raw["threads"],
        Limits(**raw["limits"]) if raw["limits"] else None,
        {
            row: {peer: Result(**result) for peer, result in found.items()}
            for row, found in raw["results"].items()
        },
        {name: Extra(**extra) for name, extra in raw["extras"].items()},
        raw["measured"],
    )


def save(store: Store, path: Path) -> None:
    """Each result on a line, so that differences between two files are readable."""
    raw = asdict(store)
    text = json.dumps(raw | {"results": {}})[:-1].replace('"results": {}, ', "")
    lines = []
    for row, found in raw["results"].items():
        peers = (f"  {json.dumps(name)}: {json.dumps(result)}" for name, result in found.items())
        lines.append(f"{json.dumps(row)}: {{\n" + ",\n".join(peers) + "\n}")
    partial = path.with_suffix(".partial")
    partial.write_text(text + ', "results": {\n' + ",\n".join(lines) + "\n}}\n")
    partial.replace(path)
