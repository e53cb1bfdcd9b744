"""How many threads to use: what the user says, or the cores that this process may use."""

from __future__ import annotations

import os
from functools import cache

MAX_THREADS = 1024


@cache
def default_threads() -> int:
    """``MLX_NUM_THREADS``, or the cores that this process may use."""
    if text := os.environ.get("MLX_NUM_THREADS"):
        if not text.isdecimal() or not 1 <= int(text) <= MAX_THREADS:
            raise ValueError(
                f"[MLX_NUM_THREADS] must be an integer from 1 to {MAX_THREADS}, not {text!r}."
            )
        return int(text)
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:
        cores = os.cpu_count() or 1
    return max(1, min(cores, _quota(), MAX_THREADS))


def _quota() -> int:
    """Cores' worth of time that a container grants, rounded up."""
    try:
        with open("/sys/fs/cgroup/cpu.max") as file:
            quota, period = file.read().split()
        return -(-int(quota) // int(period))
    except (OSError, ValueError):
        return 1 << 16
