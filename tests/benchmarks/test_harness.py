"""The benchmark's own parts: worker processes, budgets, agreement, the choice of rows."""

import json

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.catalog import NO_ROW, NOT_BLAS, ROWS, Row, choose
from benchmarks.environments import Peer
from benchmarks.environments import choose as choose_peers
from benchmarks.harness import Budget, Contest, Process, Result, mark_differences, measure_row
from benchmarks.inputs import MAKERS, inputs
from benchmarks.worker import fingerprint

NUMPY = Peer("numpy", "benchmarks.peers.numpy_rows")
SMALL = Row("matmul_512x64x64", "products")


def test_a_worker_measures_and_reports_memory():
    found = measure_row(SMALL, [NUMPY], Budget(threads=1, rounds=2, seconds=0.01))["numpy"]
    assert found.missing == "" and not found.differs
    assert len(found.rounds) == 2 <= found.runs and 0 < found.seconds < 60
    assert found.memory >= 512 * 64 * 64 * 4


def test_rows_that_a_peer_lacks_are_missing():
    blas = Peer("blas", "benchmarks.peers.numpy_rows", blas=True)
    found = measure_row(Row("mlp_step", ""), [NUMPY, blas], Budget(threads=1, rounds=1))
    assert found["numpy"].missing == NO_ROW
    assert found["blas"].missing == NOT_BLAS


class Slow:
    """Answers as a worker whose runs take some seconds each."""

    def __init__(self, seconds):
        self.seconds = seconds

    def ask(self, **request):
        return {"times": [self.seconds] * request["least"], "memory": 0}


@pytest.mark.parametrize(("seconds", "runs"), [(4.0, 2), (6.0, 1), (1.5, 4)])
def test_slow_peers_run_twice_and_no_more(seconds, runs):
    contest = Contest()
    contest.processes["slow"], contest.results["slow"] = Slow(seconds), Result()
    for _ in range(5):
        contest.round("slow", Budget(threads=1, seconds=0.1, most=5))
    assert contest.results["slow"].runs == runs


def test_a_process_that_dies_says_why():
    process = Process(Peer("none", "benchmarks.no_such_module"), threads=1)
    try:
        assert "no_such_module" in process.answer()["missing"]
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
    assert len(fingerprint([x] * 50)) == 150
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
    made = {name for name in MAKERS if "@" not in name}
    assert {row.name for row in ROWS if not row.process} == made


def test_small_inputs_have_the_same_names_and_ranks():
    full, small = inputs("mlp_step"), inputs("mlp_step", small=True)
    assert {n: v.ndim for n, v in full.items()} == {n: v.ndim for n, v in small.items()}
    assert sum(v.size for v in small.values()) * 20 < sum(v.size for v in full.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "nonsense"], "no row is called nonsense"),
        (["--peers", "nonsense"], "no peer is called nonsense"),
        (["--tables", "nonsense"], "no table is called nonsense"),
    ],
)
def test_unknown_names_end_the_command(capsys, options, message):
    assert main(options) == 2
    assert message in capsys.readouterr().err
