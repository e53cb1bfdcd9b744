"""Whether fusion changes a bit of a row's results: `python -m benchmarks.exact ROW`."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

import mlx.core as mx
from mlx.graph.node import Node
from mlx.runtime import evaluate
from mlx.utils import tree_flatten

from . import rows
from .inputs import inputs

RUNS = 2  # so that training steps show what the first one did to the state


class Counter:
    """How many regions were evaluated."""

    def __init__(self) -> None:
        self.regions = 0


@contextmanager
def regions(single: bool) -> Iterator[Counter]:
    """Count regions; with `single`, every operation is a region of its own."""
    usual, counter = evaluate.pieces, Counter()

    def pieces(order: list[Node]) -> Iterator[list[Node]]:
        for piece in operations(order) if single else usual(order):
            counter.regions += 1
            yield piece

    evaluate.pieces = pieces
    try:
        yield counter
    finally:
        evaluate.pieces = usual


def operations(order: list[Node]) -> list[list[Node]]:
    """Each node alone; an operation of several results with the nodes that pick them."""
    found: list[list[Node]] = []
    home: dict[Node, list[Node]] = {}
    for node in order:
        source = node.inputs[0] if node.inputs else None
        if node.primitive is not None and node.primitive.family == "pick" and source in home:
            home[source].append(node)
        else:
            found.append([node])
            home[node] = found[-1]
    return found


def results(row: str, small: bool, single: bool) -> tuple[list[np.ndarray], int]:
    """What the row's runs give from a fresh start, its state included; and the regions it took."""
    run = rows.ROWS[row](inputs(row, small), rows.compiler("plain"))
    found: list[np.ndarray] = []
    with regions(single) as counter:
        for _ in range(RUNS):
            found += rows.arrays(run())
        state = tree_flatten(getattr(run, "state", []))
        found += rows.arrays([value for _, value in state if isinstance(value, mx.array)])
    return found, counter.regions


def differing(a: np.ndarray, b: np.ndarray) -> int:
    """Numbers of unequal bits; NaN is NaN whatever its payload."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return max(a.size, b.size, 1)
    unequal = bits(a) != bits(b)
    return int((unequal & ~((a != a) & (b != b))).sum())


def bits(x: np.ndarray) -> np.ndarray:
    kind = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}.get(x.dtype.itemsize)
    return x.view(kind) if kind else x


def compare(row: str, small: bool = False) -> dict[str, Any]:
    """Numbers that differ between the fused and the stepwise evaluation of a row."""
    fused, usual = results(row, small, single=False)
    steps, single = results(row, small, single=True)
    count = sum(differing(a, b) for a, b in zip(fused, steps, strict=True))
    return {"differing": count, "regions": usual, "stepwise regions": single}


if __name__ == "__main__":
    print(json.dumps(compare(sys.argv[1], "--small" in sys.argv)))
