"""Groups that are alike share a nest: the program is, command for command, as without that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.backend.llvm.abi import Command
from mlx.backend.llvm.executable import Executable
from mlx.compiler import alike, plan
from mlx.runtime.structures import Region, Structure


def described(program: Executable) -> list[Any]:
    """All that decides what a program does."""
    commands = [
        (c.spec.key, list(c.consts), c.tasks, c.label, c.bytes, c.flops, c.between)
        for c in program.commands
        if isinstance(c, Command)
    ]
    rest = program.arena_bytes, program.donations, program.leaf_order, program.scalar_order
    return [commands, rest, program.output_bytes, program.results, program.can_fail]


class Forgetful(alike.Alike):
    """Knows no group."""

    def nest(self, planner: alike.Planner, group: Any) -> Any:
        self._known.clear()
        return super().nest(planner, group)


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every region is planned once more, with nests of its own; the numbers of nodes."""
    executable = Structure.executable
    seen: list[int] = []

    def checked(self: Structure, region: Region) -> Executable:
        again = described(region.planned())
        with monkeypatch.context() as other:
            other.setattr(plan, "_alike", Forgetful())
            assert described(region.planned()) == again
        seen.append(len(region._of.order))
        return executable(self, region)

    monkeypatch.setattr(Structure, "executable", checked)
    return seen


def training() -> list[mx.array]:
    model = nn.Sequential(
        *[nn.Sequential(nn.Linear(16, 16), nn.GELU(), nn.LayerNorm(16)) for _ in range(4)]
    )
    adam = optim.AdamW(1e-2)
    x = mx.random.normal((24, 16), key=mx.random.key(1))
    step = nn.value_and_grad(model, lambda m: (m(x) * mx.stack([x, x * 2], axis=-1)[..., 1]).mean())
    losses = []
    for _ in range(2):
        loss, grads = step(model)
        adam.update(model, grads)
        mx.eval(model.parameters(), adam.state, loss)
        losses.append(loss)
    return losses


def joins() -> list[mx.array]:
    x = mx.arange(96, dtype=mx.float32).reshape(4, 24)
    parts = mx.split(mx.sin(x), 3, axis=1)
    y = mx.concatenate([p * 2 + 1 for p in parts] + [mx.exp(p) for p in parts], axis=1)
    z = mx.concatenate([mx.softmax(y[:2], axis=-1), mx.softmax(y[2:], axis=-1)])
    x[1:3] = z[:2, :24] * 3
    return [y, z, x, mx.concatenate([z[:, ::2], z[:, 1::2]]) - z.sum(axis=0).mean()]


def numbers() -> list[mx.array]:
    x = mx.arange(40, dtype=mx.float32)
    return [x * 3.5 + 3.5, (x + 1) * 4.5 + 7.5, x * 7.5 + 7.5, (x + 1) * 9.5, mx.maximum(x, 1) * 2]


@pytest.mark.parametrize("program", [training, joins, numbers])
def test_a_program_is_as_without_shared_nests(
    program: Callable[[], list[mx.array]], compared: list[int]
) -> None:
    mx.eval(program())
    assert max(compared) > 4


def test_layers_and_updates_share_nests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twelve layers as of three."""
    built = 0
    build = alike.build_nest

    def counted(*how: Any) -> Any:
        nonlocal built
        built += 1
        return build(*how)

    monkeypatch.setattr(alike, "build_nest", counted)
    found = []
    for layers in (3, 12):
        monkeypatch.setattr(plan, "_alike", alike.Alike())
        built = 0
        x = mx.random.normal((30, 18), key=mx.random.key(0))
        weights = [mx.random.normal((18, 18), key=mx.random.key(i)) for i in range(layers)]
        mx.eval(x, weights)
        built = 0
        for weight in weights:
            x = mx.softmax(mx.sin(x @ weight) * 1.7 + x, axis=-1)
        mx.eval(x)
        found.append(built)
    assert 0 < found[1] <= found[0]
