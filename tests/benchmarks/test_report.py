"""Tables, the report with its hand-written notes, the picture, the stored results."""

import pytest

from benchmarks.catalog import ROWS, Row
from benchmarks.harness import Result
from benchmarks.machine import Limits
from benchmarks.plot import compared, draw_ratios, framework_times
from benchmarks.report import BEGIN, END, NOTES, write_headlines, write_report
from benchmarks.store import Extra, Store, load, machine, save
from benchmarks.table import aligned, lines, markdown, remarks

LIMITS = Limits(read=1e10, copy=1e10, triad=1e10, f32=1e11, bf16=0)
COPY = Row("copy", "a copy", bytes=1e7)


def found() -> dict[str, Result]:
    ours, slow = Result(rounds=[2e-3], memory=4e6), Result(rounds=[4e-3], memory=8e6)
    wrong = Result(rounds=[1e-3], differs=True)
    failed = Result(missing="RuntimeError: x")
    mkl = Result(rounds=[1e-4], memory=1)
    return {"mlx-jit": ours, "numpy": slow, "mlx": failed, "jax": wrong, "mkl": mkl}


def store() -> Store:
    filled = Store(machine(), 2, LIMITS)
    filled.results = {"sort": found(), "matmul_f32_1024": found()}
    filled.results["sort"]["numpy"] = Result(rounds=[1e-3])
    filled.extras["sizes"] = Extra("Sizes", "How cost grows.", ["program", "1x"], [["sort", "2"]])
    filled.measured["sort"] = "3 rounds"
    return filled


def test_the_table_compares_ours_with_the_best_that_agrees():
    table = lines([COPY], {"copy": found()}, LIMITS, bold="**")
    line = ["copy", "ms", "2", "4", "failed", "1≠", "0.1", "0.50 numpy", "4 / 8", "50%"]
    assert table[1] == line
    assert markdown(table).count("\n") == 2
    assert len(aligned(table).splitlines()) == 2
    assert any("RuntimeError: x (copy)" in note for note in remarks([COPY], {"copy": found()}))


def test_a_row_behind_is_bold():
    slow = found() | {"numpy": Result(rounds=[1e-3], memory=1e6)}
    assert lines([COPY], {"copy": slow}, LIMITS, bold="**")[1][-3:-1] == [
        "**2.00** numpy",
        "**4** / 1",
    ]


def test_half_precision_has_its_own_limit_where_the_machine_has_instructions_for_it():
    assert LIMITS.flops("bf16") == LIMITS.flops("f32") == 1e11
    better = LIMITS.or_better(Limits(read=1, copy=2e10, triad=1, f32=1, bf16=4e11))
    assert better == Limits(read=1e10, copy=2e10, triad=1e10, f32=1e11, bf16=4e11)
    assert better.flops("bf16") == 4e11


def test_the_report_keeps_what_was_written_by_hand(tmp_path):
    path = tmp_path / "performance.md"
    write_report(store(), path, tmp_path / "performance.png")
    first = path.read_text()
    assert "- sort: 2.00 times numpy's time" in first and "](performance.png)" in first
    assert "| sort | 2 |" in first and "matmul_f32_1024 5 %" in first
    path.write_text(first.replace("| sort | 2 |", "damaged") + "Written by hand.\n")
    write_report(store(), path, tmp_path / "performance.png")
    assert path.read_text() == first + "Written by hand.\n"
    assert first.count(NOTES) == 1


def test_the_readme_gets_its_table_between_two_marks(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_headlines(store(), path)
    text = path.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| sort of 4M f32 | ms | 2 | 1 (numpy) | **2.00** |" in text
    path.write_text("nothing")
    with pytest.raises(ValueError, match="has no"):
        write_headlines(store(), path)


def test_results_are_read_back_and_renewed_row_by_row(tmp_path):
    path = tmp_path / "results.json"
    save(store(), path)
    again = load(path, 2)
    assert again == store()
    again.update("sort", {"jax": Result(rounds=[5e-3])}, "again")
    assert again.results["sort"]["jax"].seconds == 5e-3
    assert list(again.results["sort"]) == ["mlx-jit", "numpy", "mlx", "jax", "mkl"]
    assert again.has("sort", ["jax", "numpy"]) and not again.has("sort", ["torch"])
    with pytest.raises(ValueError, match="with 2 threads"):
        load(path, 1)


def test_the_picture_shows_the_fastest_variant_of_each_framework(tmp_path):
    ours, eager, compiled = (Result(rounds=[t]) for t in (2.0, 8.0, 4.0))
    wrong = Result(rounds=[1.0], differs=True)
    results = {"mlx-jit": ours, "torch": eager, "torch compiled": compiled, "jax": wrong}
    assert framework_times(results, 2.0) == {"torch": 2.0}
    rows = [row for row in ROWS if row.name == "sort"]
    assert compared(rows, {"sort": results}) == [("sort", {"torch": 2.0})]
    draw_ratios(rows, {"sort": results}, tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
