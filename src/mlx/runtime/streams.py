"""Waiting for the queue of programs."""

from __future__ import annotations

from typing import Any

from mlx.base.device import check_stream
from mlx.runtime import team


def synchronize(stream: Any = None) -> None:
    """Block until everything submitted so far has run; all streams share one queue.

    >>> synchronize()
    """
    check_stream("synchronize", stream)
    team.synchronize()
