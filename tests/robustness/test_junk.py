"""Whatever functions are called with, the process lives and exceptions are those of bad input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_senseless_arguments() -> None:
    program = Path(__file__).with_name("junk.py")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, "1", "10"],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout
