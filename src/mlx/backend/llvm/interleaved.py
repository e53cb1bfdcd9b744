"""Elements a few places apart: whole registers are read or written, and shuffled.

A *run* is ``step`` consecutive elements, of which an access takes the one at its place.
Accesses to several places of the same runs share the registers.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from mlx.backend.llvm import memory
from mlx.backend.llvm.elementary.routine import join, slices
from mlx.backend.llvm.expressions import AccessClass
from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import Value, const, i64, lane_consts, lanes_of, vector
from mlx.base.dtype import Dtype, dtype_named


class Runs:
    """``lanes`` runs of ``step`` elements of a dtype, in registers.

    ``span`` is how many elements of the last run there are for certain; ``count`` (i64) limits
    the runs where there may be fewer than ``lanes``.
    """

    def __init__(
        self, e: LaneEmitter, dtype: Dtype, step: int, span: int, count: Value | None = None
    ) -> None:
        self.e = e
        self.dtype = dtype
        self.step = step
        self.span = span
        self.count = count
        self.size = min(e.lanes, host().vector_bytes // dtype.size)
        self.type = vector(self.size, memory.word(dtype))
        self.total = e.lanes * step // self.size

    def load(self, address: Value) -> list[Value]:
        """The registers that hold the runs which begin at an address."""
        return [self._load(address, number) for number in range(self.total)]

    def _load(self, address: Value, number: int) -> Value:
        f, size, align = self.e.f, self.size, self.dtype.size
        at = f.gep(address, i64(number * size * align))
        there = (self.e.lanes - 1) * self.step + self.span - number * size
        if self.count is not None:
            return f.masked_load(at, self.type, self._within(number), align, const(self.type, 0))
        if there >= size:
            return f.load(at, self.type, align)
        mask = _lanes(f, [lane < there for lane in range(size)])
        return f.masked_load(at, self.type, mask, align, const(self.type, 0))

    def _within(self, number: int) -> Value:
        """The lanes of a register that lie in the runs there are."""
        f = self.e.f
        assert self.count is not None
        elements = f.add(f.mul(f.sub(self.count, i64(1)), i64(self.step)), i64(self.span))
        return memory.below(f, f.sub(elements, i64(number * self.size)), self.size)

    def elements(self, registers: Sequence[Value]) -> list[Lane]:
        """The elements at all places of the runs."""
        f, step = self.e.f, self.step
        if not self.is_whole(range(step)):
            return [self.pick(registers, place) for place in range(step)]
        groups = range(0, len(registers), step)
        parts = [_dealt(f, registers[first : first + step]) for first in groups]
        return [self._lane([group[place] for group in parts]) for place in range(step)]

    def _lane(self, parts: Sequence[Value]) -> Lane:
        f = self.e.f
        raw = memory.as_memory(f, join(f, parts), self.dtype, self.e.lanes)
        return self.e.from_memory(raw, self.dtype)

    def pick(self, registers: Sequence[Value], place: int) -> Lane:
        """The element at one place of every run."""
        f, step, size = self.e.f, self.step, self.size
        parts = []
        for group in range(self.e.lanes // size):
            part = None
            for number in range(step):
                source = registers[group * step + number]
                first = number * size
                inside = [first <= i * step + place < first + size for i in range(size)]
                if any(inside):
                    wanted = [(i * step + place) % size for i in range(size)]
                    part = _merged(f, part, source, wanted, inside)
            assert part is not None
            parts.append(part)
        return self._lane(parts)

    def store(self, address: Value, lanes: Mapping[int, Lane], nontemporal: bool) -> None:
        """Write the elements of every run whose places are given."""
        f, size, align = self.e.f, self.size, self.dtype.size
        type = vector(self.e.lanes, memory.word(self.dtype))
        parts = {p: slices(f, f.bitcast(self.e.to_memory(x), type), size) for p, x in lanes.items()}
        gathered = self._gathered(parts) if self.is_whole(lanes) else None
        for number in range(self.total):
            elements = range(number * size, (number + 1) * size)
            known = [element % self.step in lanes for element in elements]
            if not any(known):
                continue
            whole = gathered[number] if gathered else self._spread(parts, elements)
            mask = None if all(known) else _lanes(f, known)
            if self.count is not None:
                within = self._within(number)
                mask = within if mask is None else f.op("and", mask, within)
            at = f.gep(address, i64(number * size * align))
            if mask is None:
                f.store(whole, at, 64 if nontemporal else align, nontemporal)
            else:
                f.masked_store(whole, at, mask, align)

    def is_whole(self, places: Collection[int]) -> bool:
        """Whether these are all places of runs that are as long as a power of two."""
        return len(places) == self.step <= self.size and not self.step & (self.step - 1)

    def _gathered(self, parts: Mapping[int, Sequence[Value]]) -> list[Value]:
        """All registers, from those of each place."""
        f, groups = self.e.f, range(self.e.lanes // self.size)
        lists = (_gathered(f, [parts[p][group] for p in range(self.step)]) for group in groups)
        return [register for group in lists for register in group]

    def _spread(self, parts: Mapping[int, Sequence[Value]], elements: range) -> Value:
        """The register of these elements, from those of each place."""
        step, size = self.step, self.size
        whole = None
        wanted = [element // step % size for element in elements]
        for place, registers in parts.items():
            for number, register in enumerate(registers):
                first = number * size
                here = [x % step == place and first <= x // step < first + size for x in elements]
                if any(here):
                    whole = _merged(self.e.f, whole, register, wanted, here)
        assert whole is not None
        return whole


class Interleaved:
    """The interleaved accesses of one kernel; registers are loaded once for all that share
    them at an index."""

    def __init__(self, e: LaneEmitter, accesses: Sequence[AccessClass]) -> None:
        self.e = e
        self.accesses = accesses
        self.loaded: dict[tuple[int, str], list[Value]] = {}
        self.dealt: dict[tuple[int, str], list[Lane]] = {}
        self.places: dict[int, set[int]] = {}
        for c in accesses:
            if c.kind == "interleaved":
                self.places.setdefault(c.leader, set()).add(c.place)

    def load(self, pointers: Sequence[Value], access: int, j: Value, left: Value | None) -> Lane:
        """An access at index ``j``; ``left`` limits the indices from there on."""
        c = self.accesses[access]
        runs, address = self._runs(pointers, c.leader, j, left)
        if runs.is_whole(self.places[c.leader]):
            lanes = self.dealt.get((c.leader, j.ref))
            if lanes is None:
                lanes = self.dealt[c.leader, j.ref] = runs.elements(runs.load(address))
            return lanes[c.place]
        registers = self.loaded.get((c.leader, j.ref))
        if registers is None:
            registers = self.loaded[c.leader, j.ref] = runs.load(address)
        return runs.pick(registers, c.place)

    def store(
        self, pointers: Sequence[Value], made: Mapping[int, Lane], j: Value, left: Value | None
    ) -> None:
        """Results by their access, those of the same runs together."""
        together: dict[int, dict[int, Lane]] = {}
        for access, lane in made.items():
            c = self.accesses[access]
            together.setdefault(c.leader, {})[c.place] = lane
        for leader, lanes in together.items():
            runs, address = self._runs(pointers, leader, j, left)
            runs.store(address, lanes, self.accesses[leader].around)

    def _runs(
        self, pointers: Sequence[Value], leader: int, j: Value, left: Value | None
    ) -> tuple[Runs, Value]:
        f, c = self.e.f, self.accesses[leader]
        dtype = dtype_named(c.dtype)
        address = f.gep(pointers[leader], f.mul(j, i64(c.step * dtype.size)))
        return Runs(self.e, dtype, c.step, c.span, left), address


def _dealt(f: Function, registers: Sequence[Value]) -> list[Value]:
    """2**n registers as those of every 2**n-th element: n times, pairs of them become their even
    and their odd elements."""
    made, gap = list(registers), 1
    while gap < len(made):
        for low in range(len(made)):
            if not low & gap:
                pair = made[low], made[low + gap]
                size = lanes_of(pair[0].type)
                for odd in range(2):
                    made[low + odd * gap] = f.shuffle(*pair, range(odd, 2 * size, 2))
        gap *= 2
    return made


def _gathered(f: Function, registers: Sequence[Value]) -> list[Value]:
    """The inverse of that."""
    made, gap = list(registers), len(registers) // 2
    while gap:
        for low in range(len(made)):
            if not low & gap:
                pair = made[low], made[low + gap]
                half = lanes_of(pair[0].type) // 2
                for upper in range(2):
                    first = upper * half
                    places = [first + i // 2 + i % 2 * 2 * half for i in range(2 * half)]
                    made[low + upper * gap] = f.shuffle(*pair, places)
        gap //= 2
    return made


def _merged(
    f: Function, part: Value | None, source: Value, wanted: list[int], inside: list[bool]
) -> Value:
    """``part`` with the wanted lanes of the source where ``inside`` holds."""
    size = len(wanted)
    if part is None:
        return f.shuffle(source, None, wanted)
    pairs = enumerate(zip(wanted, inside, strict=True))
    return f.shuffle(part, source, [size + w if here else i for i, (w, here) in pairs])


def _lanes(f: Function, which: list[bool]) -> Value:
    return lane_consts(vector(len(which), "i1"), [int(w) for w in which])


def load_reversed(e: LaneEmitter, address: Value, dtype: Dtype, count: Value | None) -> Lane:
    """Elements from an address downwards; at most ``count`` of them are touched."""
    f = e.f
    type = vector(e.lanes, memory.word(dtype))
    start = f.gep(address, i64(-(e.lanes - 1) * dtype.size))
    if count is None:
        raw = f.load(start, type, dtype.size)
    else:
        mask = f.shuffle(memory.below(f, count, e.lanes), None, range(e.lanes - 1, -1, -1))
        raw = f.masked_load(start, type, mask, dtype.size, const(type, 0))
    raw = f.shuffle(raw, None, range(e.lanes - 1, -1, -1))
    return e.from_memory(memory.as_memory(f, raw, dtype, e.lanes), dtype)
