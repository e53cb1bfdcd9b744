"""Sharded layers: with one process they are the plain layers; parts are taken as documented."""

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.nn.layers import distributed
from tests.generators.deterministic import array

pytestmark = pytest.mark.skipif(
    not hasattr(mx, "distributed"), reason="mlx.core has no distributed yet"
)


class Group:
    """A process of several."""

    def __init__(self, rank, size):
        self._rank, self._size = rank, size

    def rank(self):
        return self._rank

    def size(self):
        return self._size


@pytest.mark.parametrize("sharding", ["all-to-sharded", "sharded-to-all"])
def test_one_process_computes_the_plain_layer(sharding):
    layer = nn.Linear(8, 4)
    sharded = distributed.shard_linear(layer, sharding)
    x = array(1, 3, 8)
    np.testing.assert_allclose(np.array(sharded(x)), np.array(layer(x)), rtol=1e-5, atol=1e-6)
    assert repr(sharded).endswith("Linear(input_dims=8, output_dims=4, bias=True)")


def test_parts_of_the_outputs():
    layer = nn.Linear(2, 4)
    parts = [nn.AllToShardedLinear.from_linear(layer, group=Group(rank, 2)) for rank in range(2)]
    assert repr(parts[0]) == repr(nn.AllToShardedLinear(2, 4))
    for name in ("weight", "bias"):
        whole = np.concatenate([np.array(part[name]) for part in parts])
        assert np.array_equal(whole, np.array(layer[name]))


def test_parts_of_the_inputs():
    layer = nn.Linear(4, 2)
    parts = [nn.ShardedToAllLinear.from_linear(layer, group=Group(rank, 2)) for rank in range(2)]
    whole = np.concatenate([np.array(part.weight) for part in parts], axis=1)
    assert np.array_equal(whole, np.array(layer.weight))
    assert parts[1].bias is layer.bias


def test_segments_are_divided_by_themselves():
    layer = nn.Linear(1, 8, bias=False)
    part = nn.AllToShardedLinear.from_linear(layer, segments=2, group=Group(1, 2))
    rows = np.array(layer.weight)[[2, 3, 6, 7]]
    assert np.array_equal(np.array(part.weight), rows)


def test_shard_in_place_by_a_function():
    model = nn.Sequential(nn.Linear(4, 2))
    distributed.shard_inplace(
        model, lambda path, _: -1 if path.endswith("weight") else None, group=Group(0, 2)
    )
    assert model.layers[0].weight.shape == (2, 2)
    assert model.layers[0].bias.shape == (2,)


def test_bad_input():
    with pytest.raises(ValueError, match="choose one of"):
        distributed.shard_linear(nn.Linear(2, 2), "other")
    with pytest.raises(ValueError, match="choose one of"):
        distributed.shard_inplace(nn.Linear(2, 2), "other")
    with pytest.raises(TypeError, match="got ReLU"):
        distributed.shard_linear(nn.ReLU(), "all-to-sharded")
    with pytest.raises(ValueError, match="Cannot shard the output of size 3 across 2"):
        nn.AllToShardedLinear(2, 3, group=Group(0, 2))


def test_fully_sharded_module_of_one_process():
    layer = nn.Linear(3, 2)
    wrapped = nn.FullyShardedModule(layer)
    x = array(2, 4, 3)
    assert np.array_equal(np.array(wrapped(x)), np.array(layer(x)))
    assert repr(wrapped).startswith("FullyShardedModule(num_sharded_params=2\n  (module): Linear")
    _, grads = nn.value_and_grad(wrapped, lambda x: wrapped(x).sum())(x)
    assert grads["module"]["bias"].tolist() == [4.0, 4.0]
    assert nn.fully_shard(layer) is layer


def test_clip_grad_norm_sharded():
    clipped, norm = nn.utils.clip_grad_norm_sharded({"a": mx.ones((4,))}, 1.0)
    assert norm.item() == 2.0
    np.testing.assert_allclose(np.array(clipped["a"]), 0.5, rtol=1e-5)
