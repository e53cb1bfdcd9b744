"""Fusion changes no bit of any benchmark row, at small sizes; and the limits' kernels run."""

import pytest

from benchmarks.catalog import ROWS
from benchmarks.exact import compare
from benchmarks.limits import TileSpec, has_dot, tile_configuration, tiles_permitted
from benchmarks.machine import measure_limits
from benchmarks.rows.sized import PROGRAMS
from mlx.backend.llvm.ir import Module

NAMES = [row.name for row in ROWS if not row.process] + [f"{name}@4" for name in PROGRAMS]


@pytest.mark.parametrize("row", NAMES)
def test_fused_and_stepwise_evaluation_give_the_same_bits(row):
    found = compare(row, small=True)
    assert found["differing"] == 0
    assert found["stepwise regions"] >= found["regions"]


def test_limits_are_measured(monkeypatch):
    monkeypatch.setattr("benchmarks.machine.BYTES", 1 << 20)
    monkeypatch.setattr("benchmarks.machine.LENGTH", 100)
    found = measure_limits(1)
    assert min(found.read, found.copy, found.triad, found.f32) > 1e8
    assert bool(found.bf16) == (tiles_permitted() or has_dot())


def test_tiles_are_described_as_the_processor_wants():
    module = Module()
    TileSpec().emit(module, "kernel")
    assert module.text().count("call void @llvm.x86.tdpbf16ps") == 4
    assert len(tile_configuration()) == 64
