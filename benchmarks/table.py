"""The results as a table: aligned for a terminal, or in Markdown."""

from .catalog import NO_ROW, NOT_BLAS, Row
from .environments import PEERS
from .harness import Result
from .machine import Limits
from .store import Results

EXPECTED = (NO_ROW, NOT_BLAS)
YARDSTICKS = {peer.name for peer in PEERS if peer.yardstick}


def number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def figure(row: Row, result: Result | None) -> str:
    if result is None or result.missing in EXPECTED:
        return ""
    if result.missing:
        return "failed"
    return number(result.seconds * row.scale) + ("≠" if result.differs else "")


def one_line(row: Row, found: dict[str, Result]) -> str:
    """A row as it is shown while the others are still measured."""
    figures = [f"{name} {figure(row, result)}" for name, result in found.items()]
    return f"{row.name} ({row.unit}): " + ", ".join(f for f in figures if not f.endswith(" "))


def best(results: dict[str, Result], ours: bool) -> tuple[str, Result] | None:
    """The fastest of our variants or of the others, leaving out who computes something else."""
    there = [
        (name, result)
        for name, result in results.items()
        if not result.missing
        and not result.differs
        and name not in YARDSTICKS
        and name.startswith("mlx-jit") == ours
    ]
    return min(there, key=lambda item: item[1].seconds) if there else None


def ratio(results: dict[str, Result]) -> float | None:
    """Our best time over the best peer's: below 1, we are faster."""
    ours, other = best(results, True), best(results, False)
    return ours[1].seconds / other[1].seconds if ours and other else None


def limit_share(row: Row, result: Result, limits: Limits) -> str:
    """How much of the machine's limit the result reaches, where the row has one."""
    if not (row.bytes or row.flops):
        return ""
    bandwidth = max(limits.read, limits.copy) if row.reads else limits.copy
    least = row.bytes / bandwidth + row.flops / limits.flops(row.dtype)
    return f"{100 * least / result.seconds:.0f}%"


def lines(rows: list[Row], results: Results, limits: Limits, bold: str = "") -> list[list[str]]:
    """Header and body; what is behind the best peer stands between two of `bold`."""
    present = {name for row in rows for name in results[row.name]}
    names = [peer.name for peer in PEERS if peer.name in present]
    table = [["row", "unit", *names, "ours / best", "MB ours / best", "of limit"]]
    for row in rows:
        found = results[row.name]
        ours, other, share = best(found, True), best(found, False), ratio(found)
        compared = memory = limit = ""
        if ours and other and share:
            mark = bold if share > 1 else ""
            compared = f"{mark}{share:.2f}{mark} {other[0]}"
            if not row.process:
                mark = bold if ours[1].memory > other[1].memory + 1e6 else ""
                memory = f"{mark}{ours[1].memory / 1e6:.0f}{mark} / {other[1].memory / 1e6:.0f}"
        if ours:
            limit = limit_share(row, ours[1], limits)
        figures = [figure(row, found.get(n)) for n in names]
        table.append([row.name, row.unit, *figures, compared, memory, limit])
    return table


def aligned(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in table
    )


def markdown(table: list[list[str]], texts: int = 2) -> str:
    """The first columns are text, the others figures."""
    rule = ["---"] * texts + ["---:"] * (len(table[0]) - texts)
    return "\n".join("| " + " | ".join(line) + " |" for line in [table[0], rule, *table[1:]])


def remarks(rows: list[Row], results: Results) -> list[str]:
    """Why figures are missing or marked; the same reason for several rows is said once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, result in results[row.name].items():
            reason = "≠ its numbers differ from the other peers'" * result.differs
            reason = result.missing or reason
            if reason and reason not in EXPECTED:
                found.setdefault((name, reason), []).append(row.name)
    return [f"- {name}: {reason} ({', '.join(r)})" for (name, reason), r in found.items()]
