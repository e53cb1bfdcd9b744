"""The table as a picture: each framework's best time over ours, a row a line."""

from pathlib import Path

from matplotlib.figure import Figure

from .catalog import Row
from .harness import Result
from .table import Results, best

COLOURS = {"numpy": "tab:gray", "mlx": "tab:blue", "mlx+blas": "tab:cyan"}
COLOURS |= {"torch": "tab:red", "jax": "tab:green"}


def framework_times(found: dict[str, Result], ours: float) -> dict[str, float]:
    """The ratio of each framework's fastest variant that computes the same."""
    ratios: dict[str, float] = {}
    for name, result in found.items():
        framework = name.split(" ")[0]
        if framework == "mlx-jit" or result.missing or result.differs:
            continue
        ratio = result.seconds / ours
        ratios[framework] = min(ratio, ratios.get(framework, ratio))
    return ratios


def draw_ratios(rows: list[Row], results: Results, path: Path) -> None:
    """Write a PNG or SVG; rows that we have no figure for are left out."""
    lines = []
    for row in rows:
        ours = best(results[row.name], ours=True)
        if ours:
            lines.append((row.name, framework_times(results[row.name], ours[1].seconds)))
    figure = Figure(figsize=(8, 1.5 + 0.28 * len(lines)), layout="constrained")
    axes = figure.subplots()
    for framework, colour in COLOURS.items():
        points = [
            (ratios[framework], i) for i, (_, ratios) in enumerate(lines) if framework in ratios
        ]
        if points:
            axes.scatter(*zip(*points, strict=True), color=colour, label=framework, zorder=3)
    axes.axvline(1, color="black", lw=1)
    axes.set_xscale("log")
    axes.set_xlabel("time over ours: right of the line, we are faster")
    axes.set_yticks(range(len(lines)), [name for name, _ in lines])
    axes.invert_yaxis()
    axes.grid(alpha=0.3)
    axes.legend(loc="best")
    figure.savefig(path, dpi=120)
