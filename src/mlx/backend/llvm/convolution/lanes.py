"""Vectors across small groups: how they are loaded, and their weights laid out.

A vector holds neighbouring outputs, of several groups.  Each needs the inputs of its own group:
one load and a shuffle for each input of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mlx.backend.llvm.abi import Command, Kernel, Operand, Pointer
from mlx.backend.llvm.convolution.geometry import Three, three
from mlx.backend.llvm.gemm.elements import SIZES, Element
from mlx.backend.llvm.gemm.operand import round_up
from mlx.backend.llvm.ir import Function, Module
from mlx.backend.llvm.values import Value, i64

VECTOR = 64  # bytes of accumulators, whatever the machine's vectors: groups fill lanes evenly


def lanes_for(accumulate: str) -> int:
    return VECTOR // SIZES[accumulate]


@dataclass(frozen=True, slots=True)
class Share:
    """Inputs and outputs of a group: equal, or one input."""

    inputs: int
    outputs: int

    def load(
        self, f: Function, element: Element, address: Value, lanes: int, count: Value
    ) -> list[Value]:
        """For each input of a group the vector that meets ``lanes`` outputs (the first
        ``count``); ``address`` is that of the first group's first input."""
        if self.outputs == 1:
            return element.load_run(f, address, lanes, count)
        if self.inputs == 1:
            wanted = lanes // self.outputs
            present = f.op("udiv", count, i64(self.outputs))
            (value,) = element.load_run(f, address, wanted, present)
            return [f.shuffle(value, None, [n // self.outputs for n in range(lanes)])]
        (value,) = element.load_run(f, address, lanes, count)
        first = [n - n % self.inputs for n in range(lanes)]
        return [f.shuffle(value, None, [n + i for n in first]) for i in range(self.inputs)]

    def input_of(self, f: Function, output: Value) -> Value:
        """The first input of the group of an output that starts one."""
        return output if self.outputs == self.inputs else f.op("udiv", output, i64(self.outputs))


_SLOTS = ("outputs", "o_stride", "pitch", "rows")


@dataclass(frozen=True)
class LaneWeightsSpec:
    """A task widens the weights of one tap and input, for all outputs, to one row."""

    dtype: str
    accumulate: str

    @property
    def key(self) -> str:
        return f"laneweights|{self.dtype}|{self.accumulate}"

    def emit(self, module: Module, name: str) -> None:
        kernel = Kernel(module, name)
        f, element, lanes = (
            kernel.f,
            Element(self.dtype, self.accumulate),
            lanes_for(self.accumulate),
        )
        outputs, stride, pitch, table = (kernel.const(4 + i) for i in range(len(_SLOTS)))
        place = f.gep(f.gep(kernel.consts, table, "i64"), kernel.task, "i64")
        source = f.gep(kernel.pointer(0), f.load(place, "i64", 8))
        target = f.gep(kernel.pointer(2), f.mul(kernel.task, pitch))
        loop = f.loop(i64(0), outputs, i64(lanes), [source])
        (here,) = loop.values
        left = f.sub(outputs, loop.index)
        (value,) = element.load_strided(f, here, stride, lanes, left)
        to = f.gep(target, f.mul(loop.index, i64(SIZES[self.accumulate])))
        f.store(value, to, SIZES[self.accumulate])
        f.end_loop(loop, [f.gep(here, f.mul(stride, i64(lanes)))])
        f.ret()


def row_bytes(outputs: int, accumulate: str) -> int:
    return round_up(outputs * SIZES[accumulate], VECTOR)


def pack_rows(w: Operand, taps: Sequence[Three], accumulate: str, place: Pointer) -> Command:
    """The command that lays out weights (O, kernel..., inputs) as rows of outputs."""
    size = SIZES[w.dtype]
    strides = three(w.strides[1:-1], 0)
    offsets = [
        (sum(t * s for t, s in zip(tap, strides, strict=True)) + i * w.strides[-1]) * size
        for tap in taps
        for i in range(w.shape[-1])
    ]
    consts = [
        *w.pointer.consts, *place.consts, w.shape[0], w.strides[0] * size,
        row_bytes(w.shape[0], accumulate), 4 + len(_SLOTS), *offsets,
    ]  # fmt: skip
    return Command(LaneWeightsSpec(w.dtype, accumulate), consts, len(offsets), "pack")
