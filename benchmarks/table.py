"""The results as a table: aligned for a terminal, or in Markdown."""

from .catalog import NO_ROW, Row
from .harness import Result
from .machine import Limits

Results = dict[str, dict[str, Result]]


def figure(row: Row, result: Result) -> str:
    if result.missing:
        return "missing"
    value = result.seconds * row.scale
    text = f"{value:.0f}" if value >= 100 else f"{value:.3g}"
    return text + ("≠" if result.differs else "")


def one_line(row: Row, found: dict[str, Result]) -> str:
    """A row as it is shown while the others are still measured."""
    figures = (f"{name} {figure(row, result)}" for name, result in found.items())
    return f"{row.name} ({row.unit}): {', '.join(figures)}"


def best(results: dict[str, Result], ours: bool) -> tuple[str, Result] | None:
    """The fastest of our variants or of the others, leaving out who computes something else."""
    there = [
        (name, result)
        for name, result in results.items()
        if not result.missing and not result.differs and name.startswith("mlx-jit") == ours
    ]
    return min(there, key=lambda item: item[1].seconds) if there else None


def limit_share(row: Row, result: Result, limits: Limits) -> str:
    """How much of the machine's limit the result reaches, where the row has one."""
    if not (row.bytes or row.flops):
        return ""
    least = row.bytes / limits.copy + row.flops / limits.f32
    return f"{100 * least / result.seconds:.0f}%"


def lines(rows: list[Row], results: Results, limits: Limits) -> list[list[str]]:
    """Header and body. The ratio is our best time over the best peer's: below 1 is faster."""
    names = list(next(iter(results.values()))) if results else []
    table = [["row", "unit", *names, "ours / best", "MB ours / best", "of limit"]]
    for row in rows:
        found = results[row.name]
        ours, other = best(found, True), best(found, False)
        ratio = memory = share = ""
        if ours and other:
            ratio = f"{ours[1].seconds / other[1].seconds:.2f} {other[0]}"
            memory = f"{ours[1].memory / 1e6:.0f} / {other[1].memory / 1e6:.0f}"
        if ours:
            share = limit_share(row, ours[1], limits)
        figures = [figure(row, found[n]) for n in names]
        table.append([row.name, row.unit, *figures, ratio, memory, share])
    return table


def aligned(table: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    )


def markdown(table: list[list[str]]) -> str:
    rule = ["---", "---", *["---:"] * (len(table[0]) - 2)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [table[0], rule, *table[1:]])


def notes(rows: list[Row], results: Results) -> list[str]:
    """What each row measures, then the remarks."""
    text = [f"- {row.name}: {row.what}." for row in rows]
    return text + remarks(rows, results)


def remarks(rows: list[Row], results: Results) -> list[str]:
    """Why figures are missing or marked; the same reason for several rows is said once."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        for name, result in results[row.name].items():
            reason = "≠ its numbers differ from the other peers'" * result.differs
            reason = result.missing or reason
            if reason and reason != NO_ROW:
                found.setdefault((name, reason), []).append(row.name)
    return [f"- {name}: {reason} ({', '.join(r)})" for (name, reason), r in found.items()]
