"""The tables besides the rows, each with one small program."""

import pytest

from benchmarks import extras
from benchmarks.harness import Budget

BUDGET = Budget(threads=2, rounds=1, seconds=0.01)


@pytest.fixture(autouse=True)
def one_small_program(monkeypatch):
    monkeypatch.setattr(extras, "BOUND", ("small_ops",))
    monkeypatch.setattr(extras, "STREAMED", ("small_ops",))
    monkeypatch.setattr(extras, "MIXED", ("small_ops",))
    monkeypatch.setattr(extras, "ROUNDS", 1)
    monkeypatch.setattr(extras, "ROWS", [row for row in extras.ROWS if row.name == "small_ops"])
    monkeypatch.setattr(extras, "sized", lambda factor: {"small": None})
    monkeypatch.setattr(extras, "prepare", lambda peer: None if peer.ours else "left out")


@pytest.mark.parametrize("name", extras.EXTRAS)
def test_every_table_has_a_line_of_figures(name):
    table = extras.EXTRAS[name](BUDGET)
    (line,) = table.lines
    assert len(line) == len(table.header)
    assert line[0] in ("small_ops", "small") and "failed" not in line
    if name == "exact":
        assert line[-1] == "none"
    elif name == "bandwidth":
        assert float(line[1]) > 0 and float(line[2].split()[1]) > 0 and line[3].endswith("%")
    else:
        # quotients of single short runs may round to nothing
        assert float(line[1]) > 0 and all(float(cell) >= 0 for cell in line[1:])


def test_work_counts_the_logarithm_of_a_sort():
    assert extras.work("cumsum", 4) == 4
    assert 4 < extras.work("sort", 4) < 5
