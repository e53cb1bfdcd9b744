"""The training run: its state, one step of it, validation, and the loop."""

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten

from .checkpoint import restore_checkpoint, save_checkpoint
from .data import Corpus, held_out_batches, training_batch
from .model import GPT, training_flops_per_byte
from .settings import Settings

VALIDATION_BATCHES = 32


class Run:
    """Model, optimizer and history of one training run; `step` steps of it are done."""

    def __init__(self, settings: Settings, corpus: Corpus):
        mx.random.seed(settings.seed)
        self.settings = settings
        self.corpus = corpus
        self.model = GPT(settings)
        self.optimizer = optim.AdamW(
            learning_rate(settings), betas=[0.9, 0.95], weight_decay=settings.weight_decay
        )
        self.optimizer.init(self.model.trainable_parameters())
        mx.eval(self.model.parameters(), self.optimizer.state)
        self.step = 0
        self.losses: list[float] = []
        self.validations: list[tuple[int, float]] = []
        self.parameters = sum(p.size for _, p in tree_flatten(self.model.parameters()))
        self.flops = (
            training_flops_per_byte(self.model, settings) * settings.batch * settings.context
        )

    def compiled_step(self) -> Callable[[mx.array, mx.array], mx.array]:
        """One step as one compiled function; the states it lists are updated in place."""
        model, optimizer = self.model, self.optimizer
        state = [model.state, optimizer.state, mx.random.state]
        loss_and_grad = nn.value_and_grad(model, partial(mean_loss, model))

        @partial(mx.compile, inputs=state, outputs=state)
        def step(x: mx.array, y: mx.array) -> mx.array:
            loss, gradients = loss_and_grad(x, y)
            gradients, _ = optim.clip_grad_norm(gradients, 1.0)
            optimizer.update(model, gradients)
            return loss

        def evaluated_step(x: mx.array, y: mx.array) -> mx.array:
            loss = step(x, y)
            mx.eval(state, loss)
            return loss

        return evaluated_step

    def validate(self) -> float:
        """Mean loss over windows of the held-out text, in nats a byte."""
        batch, context = self.settings.batch, self.settings.context
        self.model.eval()
        losses = []
        for x, y in held_out_batches(self.corpus.held_out, batch, context, VALIDATION_BATCHES):
            losses.append(mean_loss(self.model, mx.array(x), mx.array(y)))
            mx.eval(losses[-1])
        self.model.train()
        return mx.mean(mx.stack(losses)).item()


def mean_loss(model: GPT, x: mx.array, y: mx.array) -> mx.array:
    """Mean cross entropy of the next bytes, in nats."""
    return nn.losses.cross_entropy(model(x), y.astype(mx.uint32), reduction="mean")


def learning_rate(settings: Settings) -> Callable[[mx.array], mx.array]:
    """Linear warm-up, then half a cosine down to a twentieth."""
    peak, warmup = settings.learning_rate, min(settings.warmup, settings.steps)

    def rate(step: mx.array) -> mx.array:
        step = step.astype(mx.float32)
        rising = mx.minimum((step + 1) / warmup, 1.0)
        progress = mx.minimum(step / settings.steps, 1.0)
        return peak * rising * (0.525 + 0.475 * mx.cos(math.pi * progress))

    return rate


def train(run: Run, folder: Path, stop: int, validate_every: int, report) -> bool:
    """Train until `stop` steps are done or Ctrl-C is pressed; leave a checkpoint either way.

    Returns whether it ran to its end. A step is never cut short: the checkpoint is that of the
    last whole step. A second Ctrl-C doesn't wait for it.
    """
    step = run.compiled_step()
    with interruption() as interrupted:
        while run.step < stop and not interrupted.is_set():
            started = time.perf_counter()
            x, y = training_batch(run.corpus.train, run.settings, run.step)
            loss = step(mx.array(x), mx.array(y)).item()
            if not math.isfinite(loss):
                raise FloatingPointError(f"the loss of step {run.step} is {loss}")
            run.losses.append(loss)
            run.step += 1
            report.step(run, loss, time.perf_counter() - started)
            if run.step % validate_every == 0 and run.step < stop:
                _validate(run, report)
                save_checkpoint(folder, run)
        finished = run.step >= stop
        if finished:
            _validate(run, report)
        save_checkpoint(folder, run)
    return finished


def resume(settings: Settings, corpus: Corpus, folder: Path) -> Run:
    """The run whose checkpoint lies in the folder, as it was after its last saved step."""
    run = Run(settings, corpus)
    restore_checkpoint(folder, run)
    return run


def _validate(run: Run, report) -> None:
    loss = run.validate()
    run.validations = [v for v in run.validations if v[0] != run.step] + [(run.step, loss)]
    report.validation(run, loss)


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second one raises KeyboardInterrupt again."""
    event = threading.Event()

    def remember(signum, frame):
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    if threading.current_thread() is not threading.main_thread():
        yield event
        return
    before = signal.signal(signal.SIGINT, remember)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
