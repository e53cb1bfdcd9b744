"""The table as a picture: each framework's best time over ours, a row a line."""

import textwrap
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from .catalog import Row
from .harness import Result
from .store import Results
from .table import YARDSTICKS, best, number

STYLES = {
    "numpy": ("tab:gray", "s", "NumPy"),
    "mlx": ("tab:blue", "o", "MLX"),
    "mlx+blas": ("tab:cyan", "o", "MLX with OpenBLAS"),
    "torch": ("tab:orange", "D", "PyTorch"),
    "jax": ("tab:green", "^", "JAX"),
}
AHEAD, BEHIND = "#dcebdc", "#f3b8b0"
LINE = 0.25  # inches a row
EDGE = 0.1  # what is lost by more is drawn here; its number says how much


def framework_times(found: dict[str, Result], ours: float) -> dict[str, float]:
    """The ratio of each framework's fastest variant that computes the same."""
    ratios: dict[str, float] = {}
    for name, result in found.items():
        framework = name.split(" ")[0]
        if framework == "mlx-jit" or result.missing or result.differs or name in YARDSTICKS:
            continue
        ratio = result.seconds / ours
        ratios[framework] = min(ratio, ratios.get(framework, ratio))
    return ratios


def compared(rows: list[Row], results: Results) -> list[tuple[str, dict[str, float]]]:
    """(row, ratios) of all rows in which we and somebody else have a figure."""
    found = []
    for row in rows:
        ours = best(results[row.name], ours=True)
        ratios = framework_times(results[row.name], ours[1].seconds) if ours else {}
        if ratios:
            found.append((row.name, ratios))
    return found


def draw_ratios(rows: list[Row], results: Results, path: Path, caption: str = "") -> None:
    """Write a PNG or SVG: a bar from 1 to the fastest peer, and a mark for each framework."""
    found = compared(rows, results)
    figure = Figure(figsize=(9, 1.8 + LINE * len(found)), layout="constrained")
    axes = figure.subplots()
    for at, (_, ratios) in enumerate(found):
        nearest = min(ratios.values())
        colour = AHEAD if nearest >= 1 else BEHIND
        axes.barh(at, max(nearest, EDGE) - 1, left=1, height=0.85, color=colour, zorder=1)
        axes.annotate(
            f"{number(nearest)}×", (1, at), (0.992, at), xycoords=("axes fraction", "data"),
            textcoords=("axes fraction", "data"), ha="right", va="center", fontsize=8,
            color="black" if nearest >= 1 else "tab:red",
            fontweight="normal" if nearest >= 1 else "bold",
        )  # fmt: skip
    for framework, (colour, marker, label) in STYLES.items():
        points = [
            (max(r[framework], EDGE), at) for at, (_, r) in enumerate(found) if framework in r
        ]
        if points:
            xs, ys = zip(*points, strict=True)
            axes.scatter(xs, ys, s=26, color=colour, marker=marker, label=label, zorder=3)
    finish(axes, found, caption)
    if found:
        figure.legend(loc="outside upper center", ncols=len(STYLES))
    figure.savefig(path, dpi=120)


def finish(axes: Axes, found: list[tuple[str, dict[str, float]]], caption: str) -> None:
    """Scale, labels (of lost rows in red)."""
    axes.axvline(1, color="black", lw=1, zorder=2)
    axes.set_xscale("log")
    times = FuncFormatter(lambda x, _: f"{x:g}×")
    axes.xaxis.set_major_formatter(times)
    if found:
        every = [ratio for _, ratios in found for ratio in ratios.values()]
        axes.set_xlim(max(min(0.5, *every), EDGE) / 1.15, max(4, *every) * 3)
    axes.tick_params(top=True, labeltop=True)
    axes.set_yticks(range(len(found)), [name for name, _ in found])
    for label, (_, ratios) in zip(axes.get_yticklabels(), found, strict=True):
        if min(ratios.values()) < 1:
            label.set_color("tab:red")
            label.set_fontweight("bold")
    axes.set_ylim(len(found) - 0.4, -0.6)
    text = "the peer's time over ours (right: the fastest peer's, in numbers). " + caption
    axes.set_xlabel("\n".join(textwrap.wrap(text, 110)))
    axes.grid(axis="x", which="major", alpha=0.35)
