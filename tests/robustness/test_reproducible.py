"""The same bits: evaluated often or once, compiled or not, on any number of threads and ISA."""

from __future__ import annotations

import pytest

from mlx.backend.llvm.target import host
from tests.processes import output_of

PROGRAM = """
import hashlib, sys
import numpy as np
import mlx.core as mx, mlx.nn as nn, mlx.optimizers as optim
from mlx.utils import tree_flatten

mode = sys.argv[1]
evaluate = mx.eval if mode == "often" else lambda *trees: None

def training():
    mx.random.seed(0)
    model = nn.Sequential(nn.Linear(70, 130), nn.GELU(), nn.LayerNorm(130), nn.Linear(130, 37),
                          nn.Tanh(), nn.Linear(37, 10))
    optimizer = optim.AdamW(1e-2)
    state = [model.state, optimizer.state]
    x, y = mx.random.normal((33, 70)), mx.random.randint(0, 10, (33,))
    of = nn.value_and_grad(model, lambda: nn.losses.cross_entropy(model(x), y, reduction="mean"))
    def step():
        loss, gradients = of()
        evaluate(loss, gradients)
        optimizer.update(model, gradients)
        return loss
    run = mx.compile(step, inputs=state, outputs=state) if mode == "compiled" else step
    losses = []
    for _ in range(20):
        losses.append(run())
        evaluate(losses, state)
    return losses, model.parameters()

def attention():
    q, k, v = (mx.random.normal((2, 4, 65, 32), key=mx.random.key(i)) for i in range(3))
    def loss(q, k, v):
        scores = q @ k.transpose(0, 1, 3, 2) * 0.17
        evaluate(scores)
        weights = mx.softmax(scores, axis=-1)
        evaluate(weights)
        out = mx.fast.layer_norm(weights @ v, mx.ones(32), mx.zeros(32), 1e-5)
        evaluate(out)
        return (out ** 2).mean() + mx.logsumexp(out)
    run = mx.value_and_grad(loss, argnums=(0, 1, 2))
    return (mx.compile(run) if mode == "compiled" else run)(q, k, v)

def order_and_sums():
    x = mx.random.normal((100_003,), key=mx.random.key(7))
    half, double = x.astype(mx.float16), x.astype(mx.float64)[:65536].reshape(256, 256)
    found = [mx.sort(x), mx.argsort(x), mx.cumsum(x), mx.cumsum(x[::-1]), x.sum(), x.var(),
             mx.logsumexp(x), mx.exp(x), mx.sin(x * 1000), mx.erf(x), half.sum(),
             (x[:1000, None] * x[:777]).sum(axis=0), mx.softmax(half[:4096]), double @ double,
             x[:9216].reshape(96, 96) @ x[:96], x[mx.argsort(x)[:100]]]
    for one in found:
        evaluate(one)
    return found

for part in (training, attention, order_and_sums):
    leaves = [np.array(x).tobytes() for _, x in tree_flatten(part())]
    print(part.__name__, *[hashlib.md5(x).hexdigest() for x in leaves])
"""


def run(mode: str = "once", **changes: str) -> str:
    return output_of(PROGRAM, mode, **changes)


@pytest.fixture(scope="module")
def expected() -> str:
    return run(MLX_NUM_THREADS="1")


@pytest.mark.parametrize("mode", ["often", "compiled"])
def test_kinds_of_evaluation(expected: str, mode: str) -> None:
    assert run(mode) == expected


@pytest.mark.parametrize("threads", ["2", "5"])
def test_threads(expected: str, threads: str) -> None:
    assert run(MLX_NUM_THREADS=threads) == expected


@pytest.mark.skipif(not host().has("avx2"), reason="needs a machine with AVX2")
def test_instruction_sets(expected: str) -> None:
    assert run(MLX_ISA="avx2") == expected
