"""A few vectors of unsigned keys sorted in registers.

Columns (one a lane) are sorted by a network of whole registers, then merged two by two: a
bitonic merge whose steps across lanes work on pairs of registers, shuffled so that what is
compared lies in the same lane (Batcher, "Sorting networks and their applications", 1968).
Element (row r, lane l) has rank ``l * rows + r`` in the end; a last shuffle makes that memory's
order.
"""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.sorting.network import exchanges
from mlx.backend.llvm.values import Value, bits_of, const, i64, vector

Place = tuple[int, int]
"""Which of two registers, and the lane."""


class Block:
    """Emission: ``rows`` registers of keys."""

    def __init__(self, f: Function, word: str, lanes: int, rows: int) -> None:
        self.f, self.word, self.lanes, self.rows = f, word, lanes, rows
        self.type, self.size = vector(lanes, word), bits_of(word) // 8
        self.values: list[Value] = []

    def sort(self, keys: Value, n: Value) -> None:
        """Sort n keys in memory; there may be fewer than the registers hold."""
        f = self.f
        places, masks = [], []
        for row in range(self.rows):
            first = i64(row * self.lanes)
            places.append(f.gep(keys, first, self.word))
            masks.append(memory.below(f, f.max(f.sub(n, first), i64(0)), self.lanes))
        most = const(self.type, -1)
        self.values = [
            f.masked_load(place, self.type, mask, self.size, most)
            for place, mask in zip(places, masks, strict=True)
        ]
        pairs = exchanges(self.rows)
        for a, b in zip(pairs[::2], pairs[1::2], strict=True):
            self._exchange(a, b)
        for width in range(1, self.lanes.bit_length()):
            self._merge(width)
        self._flatten()
        for value, place, mask in zip(self.values, places, masks, strict=True):
            f.masked_store(value, place, mask, self.size)

    def _exchange(self, a: int, b: int) -> None:
        v = self.values
        v[a], v[b] = self._ordered(v[a], v[b])

    def _ordered(self, a: Value, b: Value) -> tuple[Value, Value]:
        return self.f.intrinsic("umin", a, b), self.f.intrinsic("umax", a, b)

    def _merge(self, width: int) -> None:
        """Merge sorted columns so that 2^width neighbours are one sorted sequence."""
        for row in range(self.rows // 2):
            self._merge_lanes(row, self.rows - 1 - row, width)
        distance = self.rows // 2
        while distance:
            for row in range(self.rows):
                if not row & distance:
                    self._exchange(row, row + distance)
            distance //= 2

    def _merge_lanes(self, a: int, b: int, width: int) -> None:
        """The steps across lanes, of two rows that mirror each other."""
        lanes, flip, half = self.lanes, (1 << width) - 1, 1 << (width - 1)
        natural = [(s, lane) for s in (0, 1) for lane in range(lanes)]
        lower = [(0, lane) if not lane & half else (1, lane ^ flip) for lane in range(lanes)]
        upper = [(1 - s, lane ^ flip) for s, lane in lower]
        low, high, slots = self._compared(self.values[a], self.values[b], natural, lower, upper)
        bit = half // 2
        while bit:
            lower = [(0, x) if not x & bit else (1, x ^ bit) for x in range(lanes)]
            upper = [(s, x | bit) for s, x in lower]
            low, high, slots = self._compared(low, high, slots, lower, upper)
            bit //= 2
        self.values[a] = self._picked(low, high, slots, natural[:lanes])
        self.values[b] = self._picked(low, high, slots, natural[lanes:])

    def _compared(
        self, a: Value, b: Value, slots: list[Place], lower: list[Place], upper: list[Place]
    ) -> tuple[Value, Value, list[Place]]:
        """Smaller elements of pairs, larger ones, and which places these are."""
        x, y = (self._picked(a, b, slots, wanted) for wanted in (lower, upper))
        return *self._ordered(x, y), [*lower, *upper]

    def _picked(self, a: Value, b: Value, slots: list[Place], wanted: list[Place]) -> Value:
        return self.f.shuffle(a, b, [slots.index(place) for place in wanted])

    def _flatten(self) -> None:
        """Make register and lane of each element quotient and rest of its rank."""
        rows, lanes, values = self.rows, self.lanes, self.values
        ranks = [[lane * rows + row for lane in range(lanes)] for row in range(rows)]
        each = max(rows // lanes, 1)
        order = [row // each + row % each * lanes for row in range(rows)]
        values, ranks = [values[row] for row in order], [ranks[row] for row in order]
        bit = each
        while bit < rows:
            for row in range(rows):
                if not row & bit:
                    pair = (row, row + bit)
                    both = [rank for r in pair for rank in ranks[r]]
                    a, b = (values[r] for r in pair)
                    for r in pair:
                        kept = [rank for rank in both if rank // lanes & bit == r & bit]
                        ranks[r] = sorted(kept)
                        values[r] = self.f.shuffle(a, b, [both.index(x) for x in ranks[r]])
            bit *= 2
        self.values = values
