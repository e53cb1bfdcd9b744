"""A process that runs the GPT's first training step and ends."""

import importlib
import sys

from .inputs import inputs


def main(module: str, variant: str) -> None:
    peer = importlib.import_module(module)
    run = peer.ROWS["gpt_step"](inputs("gpt_step"), peer.compiler(variant))
    peer.finish(run())


if __name__ == "__main__":
    main(*sys.argv[1:])
