"""Programs in processes of their own: with other threads, other instruction sets."""

from __future__ import annotations

import os
import subprocess
import sys


def output_of(program: str, *arguments: str, **changes: str) -> str:
    """What a Python program prints, in this environment but for ``changes``."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **changes},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
