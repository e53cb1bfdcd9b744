"""Sorting along an axis: kernels chosen by size.  Stable, NaN last, the same on any number of
threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.along import Along, along, split_rows
from mlx.backend.llvm.sorting import network, select, split, words
from mlx.backend.llvm.sorting import rows as row_sort
from mlx.backend.llvm.sorting.large import FLAGS, CountSpec, LookSpec, MoveSpec, PlaceSpec, SignSpec
from mlx.backend.llvm.sorting.network import NetworkSpec
from mlx.backend.llvm.sorting.records import Record
from mlx.backend.llvm.sorting.rows import RowSortSpec
from mlx.backend.llvm.sorting.select import MERGE, PART, WHOLE, SelectSpec
from mlx.backend.llvm.sorting.split import BucketSpec, DealSpec, SampleSpec, TallySpec
from mlx.backend.llvm.sorting.words import WordSortSpec
from mlx.base.dtype import dtype_named
from mlx.compiler.sizes import least, most

LARGE = 1 << 16
"""Elements from which a row may be divided among tasks."""
LARGE_DIGIT = 8


def plan_sort(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Callable[[int], Pointer],
    workers: int,
) -> list[Command]:
    """Commands of Sort, ArgSort or ArgSelect."""
    (x,), (out,) = inputs, outputs
    if primitive.name == "ArgSelect":
        return _select(primitive, x, out, scratch, workers)
    view = along(primitive.axis, [x, out])
    if not view.rows or not view.size:
        return []
    part = primitive.places if primitive.name == "SortPart" else None
    if part and part[1] - part[0] == view.size:
        part = None
    dtype = dtype_named(x.dtype)
    output = "gather" if dtype.is_complex else "value"
    record = Record(dtype, "index" if primitive.name == "ArgSort" else output)
    if view.size >= LARGE and view.rows < 2 * workers and workers > 1:
        if words.word_of(record):
            return _split(record, view, scratch, workers, part)
        if part is None:
            return _large(record, view, scratch, workers)
    if view.size <= network.LONGEST and view.rows > 1:
        return _network(record, view, scratch, workers, part)
    return _rows(record, view, scratch, workers, part)


def _network(
    record: Record, view: Along, scratch: Any, workers: int, part: tuple[int, int] | None
) -> list[Command]:
    rows, n = view.rows, view.size
    groups = -(-rows // network.LANES)
    each = split_rows(groups, n * network.LANES, workers)
    begin, end = part or (0, n)
    pairs = (
        network.wanted_exchanges(int(n), int(begin), int(end))
        if part
        else network.exchanges(int(n))
    )
    nbytes = network.scratch_bytes(record, n)
    consts = [rows, each, n, len(pairs) // 2, begin, end, *view.consts]
    consts += [*scratch(nbytes * workers).consts, nbytes, *pairs]
    x, out = view.views
    layouts = (
        network.layout(x, n, record.dtype.size),
        network.layout(out, n, record.result_size),
    )
    return [Command(NetworkSpec(record, view.depth, layouts), consts, -(-groups // each))]


def _rows(
    record: Record, view: Along, scratch: Any, workers: int, part: tuple[int, int] | None
) -> list[Command]:
    each = split_rows(view.rows, view.size, workers, 2048)
    unit = _unit(record, view)
    spec: Any = RowSortSpec(record, view.depth, unit)
    nbytes = row_sort.scratch_bytes(record, view.size)
    if words.word_of(record):
        spec = WordSortSpec(record, view.depth, unit)
        held = part is None and words.in_place(record, unit)
        nbytes = words.scratch_bytes(record, view.size, held)
    consts = [view.rows, each, view.size, *(part or (0, view.size)), *view.consts]
    consts += [*scratch(nbytes * workers).consts, nbytes]
    return [Command(spec, consts, -(-view.rows // each))]


def _unit(record: Record, view: Along) -> bool:
    """Whether elements and results lie side by side."""
    x, out = view.views
    return x.step == record.dtype.size and out.step == record.result_size


def _large(record: Record, view: Along, scratch: Any, workers: int) -> list[Command]:
    rows, n = view.rows, view.size
    chunks = -(-4 * workers // rows)
    chunk = -(-n // chunks // 64) * 64
    chunks = -(-n // chunk)
    passes = -(-record.key_bits // LARGE_DIGIT)
    table = 8 << LARGE_DIGIT
    counts, flags = scratch(rows * chunks * table), scratch(rows * chunks * FLAGS)
    nbytes = rows * n * record.size if passes > 1 else 0
    second = scratch(nbytes)
    first = _reused(record, view) or scratch(nbytes)
    if passes % 2:
        first, second = second, first
    tables = scratch(table * workers)
    unit = _unit(record, view)
    consts = [n, chunk, chunks, *view.consts, *flags.consts]
    commands = [Command(LookSpec(record, view.depth, unit), consts, rows * chunks)]
    for number in range(passes):
        shape = (record, view.depth, LARGE_DIGIT, number == 0, number == passes - 1, unit)
        consts = [n, chunk, chunks, number * LARGE_DIGIT, *view.consts]
        consts += [*counts.consts, *first.consts, *second.consts, *flags.consts]
        consts += [*tables.consts, table]
        places = [chunks << LARGE_DIGIT, chunks, *counts.consts, *flags.consts]
        commands += [
            Command(CountSpec(*shape), consts, rows * chunks),
            Command(PlaceSpec(), places, rows),
            Command(MoveSpec(*shape), consts, rows * chunks),
        ]
        first, second = second, first
    return commands + _signs(record, view, chunks, flags, (0, n))


def _split(
    record: Record, view: Along, scratch: Any, workers: int, part: tuple[int, int] | None
) -> list[Command]:
    rows, n, unit = view.rows, view.size, _unit(record, view)
    buckets = most(4, least(2 * workers, 32))
    chunks = -(-4 * workers // rows)
    chunk = -(-n // chunks // 64) * 64
    chunks = -(-n // chunk)
    counts, flags = scratch(rows * chunks * buckets * 8), scratch(rows * chunks * FLAGS)
    bounds = scratch(rows * buckets * record.size)
    held = part is None and words.in_place(record, unit)
    area = scratch(0 if held else rows * n * record.size)
    nbytes = split.sample_bytes(record, buckets)
    places = part or (0, n)
    consts = [n, chunk, chunks, *places, *view.consts, *counts.consts, *flags.consts]
    consts += [*bounds.consts, *area.consts, *scratch(nbytes * workers).consts, nbytes]
    shape = (record, view.depth, unit, buckets)
    look = [n, chunk, chunks, *view.consts, *flags.consts]
    sums = [chunks * buckets, chunks, *counts.consts, *flags.consts]
    commands = [
        Command(LookSpec(record, view.depth, unit), look, rows * chunks),
        Command(SampleSpec(*shape), consts, rows),
        Command(TallySpec(*shape), consts, rows * chunks),
        Command(PlaceSpec(), sums, rows),
        Command(DealSpec(*shape), consts, rows * chunks),
        Command(BucketSpec(*shape), consts, rows * buckets),
    ]
    return commands + _signs(record, view, chunks, flags, places)


def _signs(
    record: Record, view: Along, chunks: int, flags: Pointer, places: tuple[int, int]
) -> list[Command]:
    if not record.loses_sign:
        return []
    consts = [view.size, chunks, *places, *view.consts, *flags.consts]
    return [Command(SignSpec(record, view.depth), consts, view.rows)]


def _reused(record: Record, view: Along) -> Pointer | None:
    """The result, where it can hold all records between passes."""
    out, (*outer, last) = view.views[1], view.views[1].strides or (0,)
    whole = out.step == record.size and (view.rows == 1 or last == view.size * record.size)
    return out.pointer if record.output == "value" and whole and not outer else None


def _select(
    primitive: Any, x: Operand, out: Operand, scratch: Callable[[int], Pointer], workers: int
) -> list[Command]:
    view = along(primitive.axis, [x, out])
    rows, n, count = view.rows, view.size, primitive.count
    if not rows:
        return []
    record = Record(dtype_named(x.dtype), "index")
    unit = view.views[0].step == record.dtype.size
    divided = n >= max(LARGE, 16 * workers * count) and rows < 2 * workers and workers > 1
    chunk = -(-n // -(-4 * workers // rows)) if divided else n
    chunks = -(-n // chunk)
    candidates = (chunks - 1) * count + min(count, n - (chunks - 1) * chunk)
    plane = select.plane_bytes(record, count)
    each = 1 if divided else split_rows(rows, n, workers)
    consts = [rows, each, n, count, select.capacity(count), chunk, chunks, candidates]
    consts += [*view.consts, *scratch(2 * plane * workers).consts, 2 * plane, plane]

    def spec(stage: str) -> SelectSpec:
        return SelectSpec(record, view.depth, primitive.largest, unit, primitive.rest, stage)

    if not divided:
        return [Command(spec(WHOLE), consts, -(-rows // each))]
    for size in (8 if record.key_bits == 64 else 4, 4):
        consts += scratch(rows * candidates * size).consts
    return [Command(spec(PART), consts, rows * chunks), Command(spec(MERGE), consts, rows)]
