"""Random bits: Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy
as 1, 2, 3", SC11), a keyed hash of counters."""

from __future__ import annotations

from typing import Any

from mlx.base.frozen import dataclass
from mlx.primitives.elementwise import Elementwise

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


@dataclass(frozen=True)
class Threefry(Elementwise):
    """Word 0 or 1 of the hash of two uint32 counters under a key of two uint32."""

    flat = True
    partials = (None, None, None, None)
    word: int

    def scalar(self, emit: Any, key0: Any, key1: Any, counter0: Any, counter1: Any) -> Any:
        parity = emit.const(_PARITY, key0.dtype)
        keys = (key0, key1, emit.bit_xor(emit.bit_xor(key0, key1), parity))
        a, b = emit.add(counter0, key0), emit.add(counter1, key1)
        for group in range(5):
            for count in _ROTATIONS[group % 2]:
                a = emit.add(a, b)
                b = emit.bit_xor(emit.rotate_left(b, count), a)
            a = emit.add(a, keys[(group + 1) % 3])
            b = emit.add(b, keys[(group + 2) % 3])
            b = emit.add(b, emit.const(group + 1, key0.dtype))
        return (a, b)[self.word]
