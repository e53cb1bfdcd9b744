"""Locks that a forked child finds free, whichever thread of its parent held them."""

from __future__ import annotations

import os
import threading
from typing import Any


def lock() -> threading.Lock:
    """A lock for what is whole at any moment, and only must not be done twice at once.

    >>> with lock():
    ...     pass
    """
    made: Any = threading.Lock()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=made._at_fork_reinit)
    return made
