"""mx.distributed in one process."""

from __future__ import annotations

import pytest

import mlx.core as mx

D = mx.distributed


def test_the_group() -> None:
    group = D.init()
    assert (group.rank(), group.size()) == (0, 1)
    assert D.init(backend="ring") is group
    assert not D.is_available("mpi")
    with pytest.raises(RuntimeError, match="split"):
        group.split(0)
    with pytest.raises(RuntimeError, match="initialize"):
        D.init(strict=True)
    with pytest.raises(ValueError, match="foo"):
        D.init(backend="foo")
    with pytest.raises(TypeError, match="init"):
        D.Group()


@pytest.mark.parametrize("name", ["all_sum", "all_max", "all_min", "all_gather", "sum_scatter"])
def test_collectives_change_nothing(name: str) -> None:
    fn = getattr(D, name)
    x = mx.array([[1.0, -2.0], [3.0, 4.0]])
    assert fn(x).tolist() == x.tolist()
    assert fn(x, group=D.init()).tolist() == x.tolist()
    assert fn(3).item() == 3
    assert mx.grad(lambda x: (fn(x) * 2).sum())(x).tolist() == [[2, 2], [2, 2]]
    with pytest.raises(TypeError, match=rf"\[{name}\] group"):
        fn(x, group=3)


def test_nobody_to_talk_to() -> None:
    for call in (
        lambda: D.send(mx.ones(2), 1),
        lambda: D.recv((2,), mx.float32, 0),
        lambda: D.recv_like(mx.ones(2), 0),
    ):
        with pytest.raises(ValueError, match="singleton group"):
            call()
