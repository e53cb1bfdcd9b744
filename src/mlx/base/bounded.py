"""What is remembered, up to a weight."""

from __future__ import annotations

from typing import Any


class Bounded(dict[Any, Any]):
    """A dictionary that forgets all when what is kept gets to weigh more than ``most``."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self._weight = 0

    def keep(self, key: Any, value: Any, weight: int) -> None:
        """Remember a value of such a weight."""
        if self._weight + weight > self._most:
            self.clear()
        self._weight += weight
        self[key] = value

    def clear(self) -> None:
        super().clear()
        self._weight = 0
