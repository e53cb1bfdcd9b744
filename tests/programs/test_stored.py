"""A program kept on disk is, command for command, the one that planning would give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

START = """
import hashlib, sys
from mlx.backend.llvm import jit, stored
from mlx.backend.llvm.abi import Command, HostCall
stored.LEAST = 1
import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.runtime import structures

first = structures._first_met

def described(program):
    names = [n for n in stored._PLAIN] + ["blocks", "places", "span"]
    found = {name: getattr(program, name) for name in names}
    found["commands"] = [
        (c.spec.key, list(c.consts), c.tasks, c.label, c.bytes, c.flops, c.between)
        if isinstance(c, Command) else c
        for c in program.commands
    ]
    lean = [] if program.lean is None else [program.lean]
    found["native"] = [
        s if isinstance(s, HostCall) else (s.small, s.parallel, s.count)
        for s in program.segments + lean
    ]
    return found

def checked(region):
    before = structures.counters["stored"]
    program = first(region)
    if structures.counters["stored"] > before:
        assert described(program) == described(region.planned())
    return program

structures._first_met = checked
values = []
mx.random.seed(3)
"""
END = """
mx.eval(values)
print(hashlib.md5(b"".join(np.array(v).tobytes() for v in values)).hexdigest())
print(structures.counters["planned"], structures.counters["stored"], jit.counters["compiled"])
"""
TRAINING = """

model = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 4))
state = [model.state, (adam := optim.AdamW(1e-2)).state]
x, y = mx.random.normal((12, 8)), mx.random.randint(0, 4, (12,))
step = nn.value_and_grad(model, lambda m: nn.losses.cross_entropy(m(x), y, reduction="mean"))
for _ in range(3):
    loss, grads = step(model)
    adam.update(model, grads)
    mx.eval(state)
    values.append(loss)
"""
COMPILED = """
@mx.compile
def f(x, w):
    return mx.softmax(mx.tanh(x @ w) * 3, axis=-1).sum(axis=0), mx.sort(x, axis=-1)
values += f(mx.arange(60, dtype=mx.float32).reshape(5, 12) / 7, mx.ones((12, 9)) / 5)
"""
UPDATES = """
x = mx.arange(4096, dtype=mx.float32)
mx.eval(x)
x[3:900] = mx.sin(x[5:902]) * 0.3 - 0.0
x[mx.array([1, 2, 2])] = mx.array(7.0)
mx.eval(x)
y = x.reshape(64, 64) * -0.0 + 1e-7
values += [x, y, mx.concatenate([y * 2, y + 3]), mx.fft.fft(x), mx.random.uniform(shape=(3, 3))]
"""
LIBRARY = """
x = mx.sin(mx.arange(3003, dtype=mx.float32)).reshape(3, 1001)
f = mx.fft.rfft(x * 2)
values += [mx.abs(f) + 1, mx.fft.irfft(f * 0.5, n=1001) - 1, mx.fft.fft2(x.reshape(21, 11, 13))]
mx.eval(values)
values += [mx.fft.ifft(mx.abs(values[2])), mx.fft.fft(x[:, :14], axis=0)]
"""
PROGRAMS = {
    "training": TRAINING, "compiled": COMPILED, "updates": UPDATES, "library": LIBRARY,
}  # fmt: skip


def run(program: str, folder: Path, **more: str) -> tuple[str, list[int]]:
    """(digest of the results; how many programs were planned, came from disk; kernels made)."""
    done = subprocess.run(
        [sys.executable, "-c", START + program + END],
        env={**os.environ, "MLX_CACHE_DIR": str(folder), **more},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    digest, *counts = done.stdout.split()
    return digest, list(map(int, counts))


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_next_process_runs_what_was_planned(name: str, tmp_path: Path) -> None:
    digest, (planned, stored, _) = run(PROGRAMS[name], tmp_path)
    assert planned and not stored
    again, (planned, stored, compiled) = run(PROGRAMS[name], tmp_path)
    assert again == digest and stored and not planned and not compiled


def test_other_threads_have_other_programs(tmp_path: Path) -> None:
    digest, _ = run(COMPILED, tmp_path, MLX_NUM_THREADS="2")
    again, (planned, stored, _) = run(COMPILED, tmp_path, MLX_NUM_THREADS="1")
    assert again == digest and planned and not stored


def test_addresses_are_looked_up_again(tmp_path: Path) -> None:
    program = "a = mx.eye(5) * 3 + 1\nvalues += mx.linalg.qr(a, stream=mx.cpu)\n"
    digest, (first, _, _) = run(program, tmp_path)
    again, (planned, stored, _) = run(program, tmp_path)
    assert again == digest and first and stored and not planned


def test_a_lost_kernel_or_a_damaged_program_costs_time_only(tmp_path: Path) -> None:
    digest, (first, _, _) = run(TRAINING, tmp_path)
    for i, path in enumerate(sorted(tmp_path.glob("kernels/*/*.o"))):
        if i % 2:
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: 100 + i])
    again, (planned, stored, _) = run(TRAINING, tmp_path)
    assert again == digest and (planned, stored) == (first, 0)
