"""Train the GPT: `python -m examples.gpt`; `--help` lists the options."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from .checkpoint import CheckpointError, stored_settings
from .data import DataError, load_corpus
from .report import Report, draw_losses
from .sample import generate, printable
from .settings import Settings
from .train import Run, resume, train

INTERRUPTED = 130


def arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.gpt", description=__doc__)
    parser.add_argument("--data", type=Path, help="a file or folder of text to train on")
    parser.add_argument("--out", type=Path, default=Path("runs/gpt"), help="where results go")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    parser.add_argument("--stop-after", type=int, help="stop at this step, as Ctrl-C there would")
    parser.add_argument("--validate-every", type=int, default=150, help="and write a checkpoint")
    parser.add_argument("--sample-bytes", type=int, default=400, help="length of the sample")
    parser.add_argument("--prompt", default="def ", help="what the sample begins with")
    parser.add_argument("--temperature", type=float, default=0.7, help="0: the likeliest byte")
    group = parser.add_argument_group("settings (kept by --resume)")
    for field in fields(Settings):
        flag = "--" + field.name.replace("_", "-")
        group.add_argument(flag, type=field.type, metavar="N", help=f"default {field.default}")
    options = parser.parse_args(argv)
    for name in ("stop_after", "validate_every"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    return options


def chosen_settings(options: argparse.Namespace) -> Settings:
    given = {f.name: getattr(options, f.name) for f in fields(Settings)}
    given = {name: value for name, value in given.items() if value is not None}
    if not options.resume:
        return Settings(**given)
    stored = stored_settings(options.out)
    changed = [name for name, value in given.items() if value != getattr(stored, name)]
    if changed:
        raise CheckpointError(f"a resumed run keeps its settings; {', '.join(changed)} differ.")
    return stored


def main(argv: list[str] | None = None) -> int:
    """Train, then show and write what came of it; returns the exit status."""
    options = arguments(argv)
    console = Console()
    try:
        settings = chosen_settings(options)
        corpus = load_corpus(options.data, settings.context)
        options.out.mkdir(parents=True, exist_ok=True)
        run = resume(settings, corpus, options.out) if options.resume else Run(settings, corpus)
    except (DataError, CheckpointError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(
        f"{corpus.files} files, {len(corpus.train):,} bytes to train on, "
        f"{len(corpus.held_out):,} held out; {run.parameters / 1e6:.2f} million parameters",
        highlight=False,
        soft_wrap=True,
    )
    stop = min(options.stop_after or settings.steps, settings.steps)
    with Report(console, settings.steps, run.step) as report:
        finished = train(run, options.out, stop, options.validate_every, report)
    finish(run, options, console)
    if finished:
        return 0
    console.print(f"stopped at step {run.step}; --resume continues from there")
    return INTERRUPTED


def finish(run: Run, options: argparse.Namespace, console: Console) -> None:
    """A picture of the losses and a sample of text."""
    picture = options.out / "loss.png"
    draw_losses(run, picture)
    if run.step >= run.settings.steps and options.sample_bytes > 0:
        text = generate(
            run.model,
            options.prompt.encode(),
            options.sample_bytes,
            run.settings.context,
            run.settings.seed,
            options.temperature,
        )
        console.rule("sample")
        console.print(printable(text), markup=False, highlight=False)
        console.rule()
    console.print(f"checkpoint and {picture.name} are in {options.out}", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
