"""The sizes of this machine's data caches, as Linux tells them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

FIRST_LEVEL, LAST_LEVEL = 32 << 10, 32 << 20
"""Where the machine doesn't say."""
MOST_BYTES = 48 << 20
"""Of a last cache that many cores share."""


@cache
def first_level() -> int:
    """Bytes of a core's own first data cache."""
    return min(sizes(), default=FIRST_LEVEL)


@cache
def last_level() -> int:
    """Bytes of the largest cache of a core, at most ``MOST_BYTES``."""
    return min(max(sizes(), default=LAST_LEVEL), MOST_BYTES)


def sizes() -> list[int]:
    """Bytes of each cache that holds data."""
    found = []
    for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*"):
        try:
            kind, size = ((folder / name).read_text() for name in ("type", "size"))
            if kind.strip() != "Instruction":
                found.append(_bytes(size))
        except (OSError, ValueError):
            continue
    return found


def _bytes(text: str) -> int:
    """A size as Linux writes it, such as 32768K."""
    text = text.strip()
    unit = {"K": 10, "M": 20, "G": 30}.get(text[-1:], 0)
    return int(text[:-1] if unit else text) << unit
