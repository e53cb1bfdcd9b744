"""Metal devices, which exist on Apple machines only; the memory functions are those of mx."""

from typing import Any

from mlx.base.device import device_info
from mlx.runtime.memory import (
    clear_cache,
    get_active_memory,
    get_cache_memory,
    get_peak_memory,
    reset_peak_memory,
    set_cache_limit,
    set_memory_limit,
    set_wired_limit,
)


def is_available() -> bool:
    """Whether a Metal device can be used.

    >>> is_available()
    False
    """
    return False


def start_capture(path: str) -> None:
    """Raises RuntimeError: there is no Metal device to capture."""
    raise RuntimeError(f"[metal.start_capture] No Metal device to capture to {path!r}.")


def stop_capture(*args: Any) -> None:
    """Raises RuntimeError: there is no Metal device to capture."""
    raise RuntimeError("[metal.stop_capture] No Metal device.")


__all__ = [
    "clear_cache",
    "device_info",
    "get_active_memory",
    "get_cache_memory",
    "get_peak_memory",
    "is_available",
    "reset_peak_memory",
    "set_cache_limit",
    "set_memory_limit",
    "set_wired_limit",
    "start_capture",
    "stop_capture",
]
