"""Outputs, gradients and running statistics of the layers equal those recorded from MLX."""

from functools import reduce
from pathlib import Path

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten
from tests.generators.deterministic import assert_close, fill, flat, gradients, load
from tests.generators.layer_cases import layer_cases

RECORDED = load(Path(__file__).with_name("layers.npz"))
CASES = layer_cases()


def assert_recorded(values, prefix):
    assert_close(values, {k: v for k, v in RECORDED.items() if k.startswith(prefix)})


def available(name):
    missing = object()
    return reduce(lambda at, part: getattr(at, part, missing), name.split("."), mx) is not missing


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_layer_equals_recorded_values(case):
    for name in case.needs:
        if not available(name):
            pytest.skip(f"mlx.core has no {name} yet")
    module = fill(case.make())
    prefix = case.name
    assert_recorded(flat(f"{prefix}/out", {"": module(*case.inputs)}), f"{prefix}/out/")
    assert_recorded(flat(f"{prefix}/grad", gradients(module, case.inputs)), f"{prefix}/grad/")
    if "Batch" in prefix:
        assert_recorded(flat(f"{prefix}/after", module.parameters()), f"{prefix}/after/")
    result = module.eval()(*case.inputs)
    assert_recorded(flat(f"{prefix}/eval", {"": result}), f"{prefix}/eval/")


def test_case_names_are_distinct():
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (
            lambda: nn.Linear(2, 2),
            {"weight": [0.526673, -0.08058, -0.315256, 0.405307], "bias": [0.004912, -0.027569]},
        ),
        (lambda: nn.Embedding(1, 2), {"weight": [0.136526, -0.372492]}),
    ],
)
def test_initial_values_follow_the_random_key(make, expected):
    mx.random.seed(0)
    for path, value in tree_flatten(make().parameters()):
        np.testing.assert_allclose(np.array(value).ravel(), expected[path], atol=2e-6)


def test_step_has_no_gradient_and_two_values():
    assert nn.Step(0.5)(mx.array([0.4, 0.5, 0.6])).tolist() == [0, 1, 1]


class TestDropout:
    def test_keeps_about_the_asked_share_and_the_mean(self):
        mx.random.seed(1)
        y = nn.Dropout(0.3)(mx.ones((100, 100)))
        kept = (y != 0).astype(mx.float32).mean().item()
        assert abs(kept - 0.7) < 0.02
        np.testing.assert_allclose(y[y_nonzero_index(y)].item(), 1 / 0.7, rtol=1e-6)

    def test_is_the_identity_in_eval_and_for_zero(self):
        x = mx.ones((4, 4))
        assert nn.Dropout(0.9).eval()(x) is x
        assert nn.Dropout(0.0)(x) is x

    @pytest.mark.parametrize(
        ("layer", "shape"), [(nn.Dropout2d, (5, 4, 4, 8)), (nn.Dropout3d, (5, 3, 4, 4, 8))]
    )
    def test_drops_whole_channels(self, layer, shape):
        mx.random.seed(2)
        y = np.array(layer(0.5)(mx.ones(shape)))
        for sample in y.reshape(shape[0], -1, shape[-1]):
            assert all(len(np.unique(channel)) == 1 for channel in sample.T)
        assert 0.2 < (y == 0).mean() < 0.8

    @pytest.mark.parametrize("p", [-0.1, 1.0, 2])
    def test_refuses_what_is_no_probability(self, p):
        with pytest.raises(ValueError, match=r"not in \[0, 1\)"):
            nn.Dropout(p)

    @pytest.mark.parametrize(("layer", "dims"), [(nn.Dropout2d, 2), (nn.Dropout3d, 3)])
    def test_refuses_other_ranks(self, layer, dims):
        with pytest.raises(ValueError, match="dimensions"):
            layer()(mx.ones((2,) * dims))


def y_nonzero_index(y):
    row, column = np.argwhere(np.array(y))[0]
    return int(row), int(column)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (lambda: nn.BatchNorm(3), (3,)),
        (lambda: nn.InstanceNorm(3), (2, 3)),
        (lambda: nn.GroupNorm(3, 4), (1, 2, 4)),
        (lambda: nn.MaxPool2d(2), (2, 2, 2)),
        (lambda: nn.MaxPool2d(4, stride=1), (1, 2, 2, 1)),
        (lambda: nn.Upsample(2), (2, 3)),
        (lambda: nn.Upsample((2, 3)), (1, 4, 1)),
        (lambda: nn.Upsample(0.1), (1, 4, 1)),
        (lambda: nn.Upsample(2, antialias=True), (1, 4, 1)),
        (lambda: nn.Upsample(2, "linear", True, True), (1, 4, 1)),
        (lambda: nn.Linear(3, 2), (2, 4)),
    ],
)
def test_unfit_inputs_raise_value_errors(make, shape):
    layer = make()
    with pytest.raises(ValueError, match=r"\w+"):
        layer(mx.ones(shape))


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.MultiHeadAttention(4, 3),
        lambda: nn.GELU("other"),
        lambda: nn.RNN(2, 3, nonlinearity=3),
        lambda: nn.Conv2d(3, 3, 3, groups=2),
        lambda: nn.MaxPool2d((1, 2, 3)),
        lambda: nn.AvgPool1d(2, stride=1.5),
        lambda: nn.Upsample(2, "other"),
    ],
)
def test_unfit_settings_raise_value_errors(make):
    with pytest.raises(ValueError, match=r"\w+"):
        make()


def test_batch_norm_statistics_are_never_trainable():
    layer = nn.BatchNorm(2)
    layer.unfreeze()
    layer.unfreeze(keys="running_mean")
    assert sorted(layer.trainable_parameters()) == ["bias", "weight"]


def test_alibi_slopes():
    assert nn.ALiBi.create_alibi_slope(3).flatten().tolist() == [0.0625, 0.00390625, 0.25]


@pytest.mark.parametrize("name", ["gelu", "gelu_approx", "mish"])
@pytest.mark.parametrize("dtype", [mx.float16, mx.bfloat16])
def test_half_precision_is_rounded_once(name, dtype):
    x = (mx.arange(-60, 60) / 10).astype(dtype)
    function = getattr(nn, name)
    exact = function(x.astype(mx.float32)).astype(dtype)
    assert mx.array_equal(function(x), exact).item()


def test_mish_and_its_gradient_over_the_whole_range():
    x = np.concatenate([np.linspace(-80, 100, 4001), [-1e-30, 0.0, 1e-30, 3e38, np.inf]])
    x = x.astype(np.float32).astype(np.float64)
    e = np.exp(np.minimum(x, 40.0))
    ratio = (e * (e + 2)) / (e * (e + 2) + 2)
    with np.errstate(over="ignore"):
        slope = 4 * e * (e + 1) / (e * (e + 2) + 2) ** 2
    slope = np.where(x > 30, 0.0, slope)
    found = mx.array(x, dtype=mx.float32)
    gradient = mx.grad(lambda v: nn.mish(v).sum())(found)
    np.testing.assert_allclose(np.array(nn.mish(found)), x * ratio, rtol=2e-6)
    finite = np.isfinite(x)
    want = ratio + np.where(finite, x, 0) * slope
    np.testing.assert_allclose(np.array(gradient)[finite], want[finite], rtol=1e-5, atol=4e-6)
    wide = mx.array(x[finite], dtype=mx.float64)
    np.testing.assert_allclose(np.array(nn.mish(wide)), (x * ratio)[finite], rtol=1e-14)
    assert mx.isnan(nn.mish(mx.array(np.nan))).item()


def test_half_precision_is_kept():
    x = mx.ones((2, 4, 8), dtype=mx.float16)
    for make in (lambda: nn.Linear(8, 8), lambda: nn.LayerNorm(8), lambda: nn.RMSNorm(8), nn.GELU):
        layer = make()
        layer.set_dtype(mx.float16)
        assert layer(x).dtype == mx.float16


def test_windows_larger_than_the_input_have_no_place():
    """By less than a stride the result is empty, as in MLX."""
    assert nn.MaxPool2d(4)(mx.ones((1, 3, 3, 2))).shape == (1, 0, 0, 2)
    assert nn.AvgPool1d(4)(mx.ones((1, 3, 2))).shape == (1, 0, 2)
    assert nn.MaxPool2d((2, 5))(mx.ones((1, 4, 3, 2))).shape == (1, 2, 0, 2)


@pytest.mark.parametrize("groups,together", [(8, True), (8, False), (64, True)])
def test_a_group_norm_writes_nothing_of_its_input_s_size(groups: int, together: bool) -> None:
    layer = nn.GroupNorm(groups, 64, pytorch_compatible=together)
    lines = str(mx.explain(layer, mx.random.normal((4, 32, 32, 64)))).splitlines()
    assert float(lines[-1].split("ms, ")[1].split()[0]) < 0.1, lines
