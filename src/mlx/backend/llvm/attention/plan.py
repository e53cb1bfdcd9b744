"""From operands to commands: block sizes, regions of scratch, tables of offsets.

Block sizes follow from sizes alone, never from the number of workers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

from mlx.backend.llvm.abi import Command, Operand, Pointer
from mlx.backend.llvm.attention.backward import (
    BACKWARD_SLOTS,
    FINISH_SLOTS,
    BackwardSpec,
    FinishSpec,
    queries_of,
)
from mlx.backend.llvm.attention.blocks import unit_flags
from mlx.backend.llvm.attention.few import FEW_SLOTS, JOIN_SLOTS, FewSpec, JoinSpec
from mlx.backend.llvm.attention.forward import FORWARD_SLOTS, ForwardSpec
from mlx.backend.llvm.attention.tile import KEYS, Tile, tile_for
from mlx.backend.llvm.gemm.elements import SIZES
from mlx.backend.llvm.gemm.operand import batch_table, round_up
from mlx.backend.llvm.values import float_bits

Scratch = Callable[[int], Pointer]
_FEATURES = 16384  # rows of a task's block times features: what stays in the second-level cache
_ROWS = 256
_TASKS = 32
_GRADIENT_TASKS = 16
FEW = 8
"""Rows up to which keys are read where they lie."""


def plan_attention(
    primitive: Any,
    inputs: list[Operand],
    outputs: list[Operand],
    scratch: Scratch,
    workers: int,
) -> list[Command]:
    """Commands of Attention and AttentionGradient."""
    group = Group(primitive, inputs)
    if primitive.name == "AttentionGradient":
        return backward(group, primitive, inputs, outputs, scratch, workers) if group.items else []
    if not (group.items and group.rows):
        return []
    plan = few if group.is_few else forward
    return plan(group, primitive, inputs, outputs, scratch, workers)


class Strides:
    """An operand seen by group: bytes from one head, position and feature to the next, and the
    strides of the batch, whose last axis are the groups."""

    def __init__(
        self, operand: Operand, lead: int, share: int, axes: tuple[int | None, ...]
    ) -> None:
        """``axes``: of heads (or groups, with ``share`` 1), positions and features."""
        size = SIZES[operand.dtype]
        strides = [0 if a is None else operand.strides[a] * size for a in axes]
        self.pointer, self.dtype = operand.pointer, operand.dtype
        self.head, self.position, self.feature = strides
        self.batch = [s * size for s in operand.strides[:lead]] + [self.head * share]


class Group:
    """Sizes: of the batch, the rows of a group, keys and features."""

    def __init__(self, primitive: Any, inputs: Sequence[Operand]) -> None:
        q, k, v = inputs[:3]
        self.lead = len(q.shape) - 3
        self.length, self.heads, self.size = q.shape[self.lead :]
        self.keys, self.groups, self.value = v.shape[self.lead :]
        self.share = self.heads // self.groups
        self.rows = self.share * self.length
        self.batch = (*q.shape[: self.lead], self.groups)
        self.items = prod(self.batch)
        self.dtype = q.dtype
        self.tile: Tile = tile_for(q.dtype)
        self.scale = float_bits(primitive.scale)

    def queries(self, operand: Operand) -> Strides:
        """[..., T, H, D]."""
        return Strides(operand, self.lead, self.share, (self.lead + 1, self.lead, self.lead + 2))

    def columns(self, operand: Operand) -> Strides:
        """[..., S, G, D]."""
        return Strides(operand, self.lead, 1, (self.lead + 1, self.lead, self.lead + 2))

    def sums(self, operand: Operand) -> Strides:
        """[..., H, T]."""
        return Strides(operand, self.lead, self.share, (self.lead, self.lead + 1, None))

    def mask(self, operand: Operand | None) -> Strides:
        """[..., H, T, S]."""
        if operand is None:
            return self._nothing()
        axes = (self.lead, self.lead + 1, self.lead + 2)
        return Strides(operand, self.lead, self.share, axes)

    def sinks(self, operand: Operand | None) -> Strides:
        """[..., H]."""
        if operand is None:
            return self._nothing()
        return Strides(operand, self.lead, self.share, (self.lead, None, None))

    def _nothing(self) -> Strides:
        none = Operand(Pointer(1), "float32", (), (0,) * self.lead)
        return Strides(none, self.lead, 1, (None, None, None))

    def named(self, **operands: Strides) -> dict[str, int]:
        """Slots of operands."""
        out = {}
        for name, o in operands.items():
            out[name + "_base"], out[name + "_offset"] = o.pointer.consts
            out[name + "_h"], out[name + "_t"], out[name + "_d"] = o.head, o.position, o.feature
        return out

    def sizes(self) -> dict[str, int]:
        """Slots of sizes."""
        tile = self.tile
        return {
            "rows": self.rows, "length": self.length, "keys": self.keys, "size": self.size,
            "value": self.value, "scale": self.scale,
            "size_bytes": tile.padded(self.size) * tile.itemsize,
            "value_bytes": tile.padded(self.value) * tile.itemsize,
        }  # fmt: skip

    @property
    def is_few(self) -> bool:
        """Whether rows are so few that reading the keys is what counts; or that only runs of
        keys give tasks enough."""
        alone = self.items * 4 < _TASKS and self.keys >= 16 * KEYS
        return self.rows <= (4 * FEW if alone else FEW)

    def block(self, width: int) -> int:
        """Rows of a task: as many as stay in cache, yet enough tasks."""
        features = max(self.tile.padded(self.size), self.tile.padded(self.value))
        most = max(width, min(_ROWS, _FEATURES // features // width * width))
        even = round_up(max(-(-self.rows * self.items // _TASKS), 1), width)
        blocks = -(-self.rows // min(most, even))
        return round_up(-(-self.rows // blocks), width)


class Regions:
    """Scratch of a worker, part by part."""

    def __init__(self) -> None:
        self.slots: dict[str, int] = {}
        self.bytes = 0

    def add(self, name: str, nbytes: int) -> None:
        self.slots["at_" + name] = self.bytes
        self.bytes += round_up(nbytes, 64) + 64

    def place(self, scratch: Scratch, workers: int) -> dict[str, int]:
        each = round_up(self.bytes, 4096) + 192  # workers' blocks on different cache lines
        pointer = scratch(each * workers)
        base, offset = pointer.consts
        named = {"scratch_base": base, "scratch_offset": offset, "scratch_stride": each}
        return named | self.slots


def command(
    spec: Any, names: Sequence[str], values: dict[str, int], batch: Sequence[int],
    strides: Sequence[Sequence[int]], tasks: int, label: str, flops: int,
) -> Command:  # fmt: skip
    """A launch with named consts and a table of batch offsets behind them."""
    values = {**values, "table": len(names), "dims": len(batch)}
    table = batch_table(batch, *strides)
    return Command(spec, [*(values[n] for n in names), *table], tasks, label, flops=flops)


def common_regions(group: Group, width: int, mask: bool) -> Regions:
    """The parts that every kernel has."""
    tile, regions = group.tile, Regions()
    features = max(tile.padded(group.size), tile.padded(group.value))
    keys = min(KEYS, tile.padded(group.keys))
    regions.add("k", keys * tile.padded(group.size) * tile.itemsize)
    regions.add("v", keys * tile.padded(group.value) * tile.itemsize)
    regions.add("scores", (keys + 1) * width * tile.itemsize)
    regions.add("stage", width * max(features, KEYS if mask else 0) * tile.itemsize)
    regions.add("mask", KEYS * width * tile.itemsize if mask else 0)
    regions.add("limits", width * 8)
    return regions


def forward(
    group: Group, primitive: Any, inputs: Sequence[Operand], outputs: Sequence[Operand],
    scratch: Scratch, workers: int,
) -> list[Command]:  # fmt: skip
    q, k, v, *extra = inputs
    mask = extra[0] if primitive.masked else None
    sinks = extra[-1] if primitive.sinks else None
    tile = group.tile
    width = tile.lanes * (2 if group.rows > tile.lanes else 1)
    block = group.block(width)
    blocks = -(-group.rows // block)
    parts = {
        "q": group.queries(q), "k": group.columns(k), "v": group.columns(v),
        "mask": group.mask(mask), "sinks": group.sinks(sinks),
        "out": group.queries(outputs[0]), "level": group.sums(outputs[1]),
        "sums": group.sums(outputs[2]),
    }  # fmt: skip
    regions = common_regions(group, width, mask is not None)
    q_panel = tile.padded(group.size) * width * tile.itemsize
    out_panel = tile.padded(group.value) * width * tile.itemsize
    panels = -(-block // width)
    regions.add("q", panels * q_panel)
    regions.add("out", panels * out_panel)
    regions.add("turned_v", tile.turned(group.value))
    regions.add("most", (panels * width + tile.lanes) * tile.itemsize)
    regions.add("total", (panels * width + tile.lanes) * tile.itemsize)
    values = group.named(**parts) | group.sizes() | regions.place(scratch, workers)
    values |= {"block": block, "blocks": blocks, "q_panel": q_panel, "out_panel": out_panel}
    spec = ForwardSpec(
        group.dtype, _units(parts), "" if mask is None else mask.dtype,
        "" if sinks is None else sinks.dtype, primitive.causal, width,
    )  # fmt: skip
    flops = 2 * group.items * group.rows * group.keys * (group.size + group.value)
    strides = [p.batch for p in parts.values()]
    tasks = group.items * blocks
    return [command(spec, FORWARD_SLOTS, values, group.batch, strides, tasks, "attention", flops)]


def backward(
    group: Group, primitive: Any, inputs: Sequence[Operand], outputs: Sequence[Operand],
    scratch: Scratch, workers: int,
) -> list[Command]:  # fmt: skip
    q, k, v, cotangent, level, sums, delta, *extra = inputs
    mask = extra[0] if primitive.masked else None
    parts = {
        "q": group.queries(q), "k": group.columns(k), "v": group.columns(v),
        "mask": group.mask(mask), "cotangent": group.queries(cotangent),
        "level": group.sums(level), "sums": group.sums(sums), "delta": group.sums(delta),
        "dk": group.columns(outputs[1]), "dv": group.columns(outputs[2]),
    }  # fmt: skip
    width, size = queries_of(group.dtype), group.tile.itemsize
    q_block = group.tile.padded(group.size) * width * size
    part = -(-group.rows // width) * q_block
    run, runs = _runs(group)
    sums_of_parts = scratch(group.items * runs * part)
    base, offset = sums_of_parts.consts
    shared = {"part": part, "q_block": q_block, "parts_base": base, "parts_offset": offset}
    regions = _backward_regions(group, width, mask is not None)
    values = group.named(**parts) | group.sizes() | regions.place(scratch, workers)
    spec = BackwardSpec(
        group.dtype, _units(parts), "" if mask is None else mask.dtype, primitive.causal
    )
    features = 3 * group.size + 2 * group.value
    flops = 2 * group.items * group.rows * group.keys * features
    main = command(
        spec, BACKWARD_SLOTS, values | shared | {"run": run, "runs": runs}, group.batch,
        [p.batch for p in parts.values()], group.items * runs, "attention gradient", flops,
    )  # fmt: skip
    finish = _finish(group, outputs[0], runs, shared, scratch, workers)
    return [main, finish] if group.rows else [main]


def _runs(group: Group) -> tuple[int, int]:
    """Keys of a task and tasks of a group: groups are divided only where they are few."""
    blocks = -(-group.keys // KEYS)
    runs = min(blocks, max(1, _GRADIENT_TASKS // group.items))
    each = -(-blocks // runs)
    return each * KEYS, -(-blocks // each)


def _backward_regions(group: Group, width: int, mask: bool) -> Regions:
    tile, regions = group.tile, common_regions(group, width, mask)
    size, value = (tile.padded(n) * tile.itemsize for n in (group.size, group.value))
    keys = min(KEYS, tile.padded(group.keys))
    numbers = (width + tile.lanes) * tile.itemsize
    for name, nbytes in (
        ("q", width * size), ("turned_q", width * size),
        ("o", width * value), ("turned_o", width * value),
        ("gaps", (keys + 1) * width * tile.itemsize), ("level", numbers), ("sums", numbers),
        ("delta", numbers), ("dk", keys * size), ("dv", keys * value),
    ):  # fmt: skip
        regions.add(name, nbytes)
    for name, nbytes in (
        ("k", keys * size), ("q", width * size), ("o", width * value),
        ("gaps", keys * width * tile.itemsize),
    ):  # fmt: skip
        regions.add("paired_" + name, nbytes // 2 if tile.pairs else 0)
    regions.add("turned_k", tile.turned(group.size))
    return regions


def _finish(
    group: Group, dq: Operand, runs: int, shared: dict[str, int], scratch: Scratch, workers: int
) -> Command:
    result = group.queries(dq)
    width = queries_of(group.dtype)
    regions = Regions()
    regions.add("stage", width * group.tile.padded(group.size) * group.tile.itemsize)
    blocks = -(-group.rows // width)
    values = group.named(dq=result) | group.sizes() | regions.place(scratch, workers) | shared
    values |= {"parts": runs, "blocks": blocks, "item_bytes": runs * shared["part"]}
    return command(
        FinishSpec(group.dtype), FINISH_SLOTS, values, group.batch, [result.batch],
        group.items * blocks, "attention gradient of queries", 0,
    )  # fmt: skip


def few(
    group: Group, primitive: Any, inputs: Sequence[Operand], outputs: Sequence[Operand],
    scratch: Scratch, workers: int,
) -> list[Command]:  # fmt: skip
    q, k, v, *extra = inputs
    mask = extra[0] if primitive.masked else None
    sinks = extra[-1] if primitive.sinks else None
    tile = group.tile
    parts = {
        "q": group.queries(q), "k": group.columns(k), "v": group.columns(v),
        "mask": group.mask(mask),
    }  # fmt: skip
    together = min(1 << (group.rows - 1).bit_length(), tile.rows)
    lines = round_up(group.rows, together)
    run = max(2 * KEYS, round_up(-(-group.keys * group.items // _TASKS), KEYS))
    runs = -(-group.keys // run)
    most = lines * tile.padded(group.value) * tile.itemsize
    numbers = round_up(group.rows * tile.itemsize, 64)
    part = most + 2 * numbers
    base, offset = scratch(group.items * runs * part).consts
    shared = {
        "parts_base": base, "parts_offset": offset, "part": part, "runs": runs, "most": most,
        "total": most + numbers,
    }  # fmt: skip
    units = _units(parts)
    direct = "v" in units and group.value % tile.lanes == 0
    regions = _few_regions(group, "k" in units, direct, lines)
    values = group.named(**parts) | group.sizes() | regions.place(scratch, workers) | shared
    spec = FewSpec(
        group.dtype, units, "" if mask is None else mask.dtype, primitive.causal, direct, together
    )
    flops = 2 * group.items * group.rows * group.keys * (group.size + group.value)
    main = command(
        spec, FEW_SLOTS, values | {"run": run}, group.batch, [p.batch for p in parts.values()],
        group.items * runs, "attention of few", flops,
    )  # fmt: skip
    return [main, _join(group, sinks, outputs, shared)]


def _few_regions(group: Group, direct_k: bool, direct_v: bool, lines: int) -> Regions:
    tile, regions = group.tile, Regions()
    size, value = (tile.padded(n) * tile.itemsize for n in (group.size, group.value))
    regions.add("k", 0 if direct_k else KEYS * size)
    regions.add("v", 0 if direct_v else KEYS * value)
    regions.add("scores", lines * KEYS * tile.itemsize)
    regions.add("mask", group.rows * KEYS * tile.itemsize)
    regions.add("q", group.rows * size)
    for unused in ("stage", "limits"):
        regions.add(unused, 0)
    return regions


def _join(
    group: Group, sinks: Operand | None, outputs: Sequence[Operand], shared: dict[str, int]
) -> Command:
    ends = {
        "sinks": group.sinks(sinks), "out": group.queries(outputs[0]),
        "level": group.sums(outputs[1]), "sums": group.sums(outputs[2]),
    }  # fmt: skip
    values = group.named(**ends) | group.sizes() | shared
    return command(
        JoinSpec(group.dtype, "" if sinks is None else sinks.dtype), JOIN_SLOTS, values,
        group.batch, [e.batch for e in ends.values()], group.items * group.rows,
        "attention runs", 0,
    )  # fmt: skip


def _units(parts: dict[str, Strides]) -> str:
    found = {n: (parts[n].feature, parts[n].dtype) for n in "qkv"}
    found["m"] = (parts["mask"].feature, parts["mask"].dtype)
    if "cotangent" in parts:
        found["o"] = (parts["cotangent"].feature, parts["cotangent"].dtype)
    return unit_flags(**found)
