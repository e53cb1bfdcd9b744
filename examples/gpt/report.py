"""What the user sees: progress while training, and the loss curve as a picture."""

from pathlib import Path

from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

import mlx.core as mx

SMOOTHING = 0.9


class Report:
    """A progress bar on a terminal, a line at each validation anywhere."""

    def __init__(self, console: Console, total: int, done: int):
        self.console = console
        self.rate = None
        self.speed = ""
        columns = (
            TextColumn("step {task.completed}/{task.total}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}"),
            TimeRemainingColumn(),
        )
        self.progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self.task = self.progress.add_task("train", total=total, completed=done, status="")

    def __enter__(self) -> "Report":
        self.progress.start()
        return self

    def __exit__(self, *exception) -> None:
        self.progress.stop()

    def step(self, run, loss: float, seconds: float) -> None:
        rate = 1 / seconds
        # The first step compiles: it says nothing of the speed of the rest.
        first = self.rate is None
        self.rate = 0.0 if first else rate if self.rate == 0 else self._smooth(rate)
        steps = self.rate or rate
        tokens = steps * run.settings.batch * run.settings.context
        self.speed = (
            f"{tokens:,.0f} tokens/s  {steps * run.flops / 1e9:.0f} GFLOP/s  "
            f"{mx.get_active_memory() / 1e6:.0f} MB (peak {mx.get_peak_memory() / 1e6:.0f})"
        )
        self.progress.update(self.task, completed=run.step, status=f"loss {loss:.3f}  {self.speed}")

    def validation(self, run, loss: float) -> None:
        recent = run.losses[-50:]
        self.console.print(
            f"step {run.step:5d}  training loss {sum(recent) / len(recent):.3f}  "
            f"validation loss {loss:.3f} nats/byte  {self.speed}",
            highlight=False,
            soft_wrap=True,
        )

    def _smooth(self, rate: float) -> float:
        return SMOOTHING * self.rate + (1 - SMOOTHING) * rate


def draw_losses(run, path: Path) -> None:
    """Write the curves of the training and the validation loss as a PNG."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(run.losses) + 1), run.losses, lw=0.7, alpha=0.6, label="training")
    if run.validations:
        at, losses = zip(*run.validations, strict=True)
        axes.plot(at, losses, "o-", label=f"validation ({losses[-1]:.3f} at the end)")
    axes.set(xlabel="step", ylabel="loss, nats/byte", title="Byte-level GPT")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=120)
