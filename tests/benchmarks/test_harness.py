"""The benchmark's own parts: worker processes, agreement, the choice of rows, the table."""

import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.catalog import ROWS, Row, choose
from benchmarks.environments import Peer
from benchmarks.environments import choose as choose_peers
from benchmarks.harness import Process, Result, mark_differences, measure_row
from benchmarks.inputs import MAKERS
from benchmarks.machine import Limits
from benchmarks.plot import draw_ratios, framework_times
from benchmarks.table import aligned, lines, markdown, notes
from benchmarks.worker import fingerprint

NUMPY = Peer("numpy", "benchmarks.peers.numpy_rows")
SMALL = Row("matmul_512x64x64", "products")
LIMITS = Limits(copy=1e10, read=1e10, f32=1e11)


def test_a_worker_measures_and_reports_memory():
    found = measure_row(SMALL, [NUMPY], threads=1, rounds=2, seconds=0.01)["numpy"]
    assert found.missing == "" and not found.differs
    assert len(found.rounds) == 2 and 0 < found.seconds < 60
    assert found.memory >= 512 * 64 * 64 * 4


def test_a_row_that_a_peer_lacks_is_missing():
    found = measure_row(Row("mlp_step", ""), [NUMPY], threads=1, rounds=1, seconds=0.01)
    assert found["numpy"].missing == "no such row for this peer"


def test_a_process_that_dies_says_why():
    process = Process(Peer("none", "benchmarks.no_such_module"), threads=1)
    try:
        assert "no_such_module" in process.ask(row="fft")["missing"]
    finally:
        process.close()


def test_who_differs_from_the_others_is_marked():
    numbers = [1.0, 2.0, 3.0]
    good, near, wrong, short = (Result(check=c) for c in (numbers, numbers, [1, 2, 4], [1]))
    mark_differences(SMALL, {"a": good, "b": near, "c": wrong, "d": short})
    assert [r.differs for r in (good, near, wrong, short)] == [False, False, True, True]


def test_nan_is_a_difference():
    results = {n: Result(check=[1.0]) for n in "ab"} | {"c": Result(check=[float("nan")])}
    mark_differences(SMALL, results)
    assert [result.differs for result in results.values()] == [False, False, True]


def test_fingerprints_tell_arrays_apart():
    x = np.arange(1000.0)
    assert fingerprint([x]) == fingerprint([x.reshape(10, 100)])
    assert fingerprint([x]) != fingerprint([x[::-1]])
    assert len(fingerprint([x + 1j * x])) == 2 * len(fingerprint([x]))
    json.dumps(fingerprint([np.arange(5), np.ones((), bool)]))


def test_rows_are_chosen_by_name_group_and_beginning():
    assert [r.name for r in choose(["gpt_step"])] == ["gpt_step", "gpt_step_bf16"]
    assert "matmul_512x64x64" in [r.name for r in choose(["gemm"])]
    assert choose([]) == list(ROWS)
    with pytest.raises(ValueError, match="no row is called nonsense"):
        choose(["nonsense"])


def test_peers_are_chosen_with_their_variants():
    assert [p.name for p in choose_peers(["torch"])] == ["torch", "torch compiled"]
    with pytest.raises(ValueError, match="no peer is called nonsense"):
        choose_peers(["nonsense"])


def test_every_row_has_inputs():
    assert {row.name for row in ROWS if not row.process} == set(MAKERS)


def test_unknown_names_end_the_command(capsys):
    assert main(["--only", "nonsense"]) == 2
    assert "no row is called nonsense" in capsys.readouterr().err


def test_the_table_compares_ours_with_the_best_that_agrees():
    row = Row("copy", "a copy", bytes=1e7)
    ours, slow = Result(rounds=[2e-3], memory=4e6), Result(rounds=[4e-3], memory=8e6)
    wrong = Result(rounds=[1e-3], differs=True)
    results = {"copy": {"mlx-jit": ours, "numpy": slow, "jax": wrong, "mlx": Result(missing="x")}}
    table = lines([row], results, LIMITS)
    assert table[1] == ["copy", "ms", "2", "4", "1≠", "missing", "0.50 numpy", "4 / 8", "50%"]
    assert len({len(line) for line in aligned(table).splitlines()}) == 1
    assert markdown(table).count("\n") == 2
    assert any("x" in note for note in notes([row], results))


def test_the_picture_shows_the_fastest_variant_of_each_framework(tmp_path):
    ours, eager, compiled = (Result(rounds=[t]) for t in (2.0, 8.0, 4.0))
    wrong = Result(rounds=[1.0], differs=True)
    found = {"mlx-jit": ours, "torch": eager, "torch compiled": compiled, "jax": wrong}
    assert framework_times(found, 2.0) == {"torch": 2.0}
    draw_ratios([SMALL], {SMALL.name: found}, tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
