"""Optimizers: states and parameters equal those recorded from MLX; the interface."""

from pathlib import Path

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map, tree_unflatten
from tests.generators.deterministic import assert_close, flat, load
from tests.generators.optimizer_cases import OPTIMIZERS, gradients, history, parameters

RECORDED = load(Path(__file__).with_name("optimizers.npz"))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_steps_equal_recorded_values(name):
    for step, (params, state) in enumerate(history(OPTIMIZERS[name])):
        prefix = f"{name}/{step}/"
        expected = {k: v for k, v in RECORDED.items() if k.startswith(prefix)}
        assert_close(flat(f"{name}/{step}", {"params": params, "state": state}), expected)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_half_precision_parameters_stay_so(name):
    *_, (params, _) = history(OPTIMIZERS[name], mx.float16)
    assert {str(value.dtype) for _, value in tree_flatten(params)} == {str(mx.float16)}


def linear():
    return nn.Linear(3, 2)


def ones_like(tree):
    return tree_map(mx.ones_like, tree)


class TestState:
    def test_starts_with_arrays(self):
        state = optim.Adam(0.5).state
        assert state["step"].dtype == mx.uint64
        assert state["step"].item() == 0
        assert state["learning_rate"].item() == 0.5

    def test_learning_rate_can_be_set(self):
        opt = optim.SGD(0.1)
        opt.learning_rate = 0.25
        assert opt.learning_rate.item() == 0.25
        assert isinstance(opt.state["learning_rate"], mx.array)

    def test_step_counts_and_schedules_see_the_step_before(self):
        opt = optim.SGD(lambda step: 0.5 * step)
        rates = []
        for _ in range(3):
            opt.apply_gradients({"w": mx.array(0.0)}, {"w": mx.array(0.0)})
            rates.append(opt.learning_rate.item())
        assert rates == [0.0, 0.5, 1.0]
        assert opt.step.item() == 3

    def test_is_that_of_the_parameters_after_init(self):
        opt = optim.Adam(0.1)
        model = linear()
        opt.init(model.trainable_parameters())
        assert list(opt.state) == ["step", "learning_rate", "weight", "bias"]
        assert opt.state["weight"]["m"].shape == (2, 3)

    def test_can_be_saved_and_restored(self):
        params = parameters()
        first = optim.Adam(0.1)
        middle = first.apply_gradients(gradients(0, params), params)
        saved = list(tree_flatten(first.state))
        expected = first.apply_gradients(gradients(1, params), middle)
        second = optim.Adam(0.1)
        second.state = tree_unflatten(saved)
        result = second.apply_gradients(gradients(1, params), middle)
        for (_, a), (_, b) in zip(tree_flatten(expected), tree_flatten(result), strict=True):
            assert mx.array_equal(a, b).item()

    def test_grows_with_parameters_that_are_unfrozen_later(self):
        model = linear()
        opt = optim.Adam(0.1)
        model.freeze(keys="bias")
        opt.update(model, ones_like(model.trainable_parameters()))
        model.unfreeze()
        opt.update(model, ones_like(model.trainable_parameters()))
        assert sorted(opt.state["bias"]) == ["m", "v"]


class TestUpdate:
    def test_of_a_module_is_in_place(self):
        model = linear()
        before = np.array(model.weight)
        grads = ones_like(model.trainable_parameters())
        assert optim.SGD(0.5).update(model, grads) is None
        np.testing.assert_allclose(np.array(model.weight), before - 0.5, rtol=1e-6)

    def test_of_a_tree_returns_the_new_tree(self):
        params = {"a": mx.array(1.0), "l": [{"q": mx.array(2.0)}, {}], "t": (mx.array(3.0),)}
        new = optim.SGD(0.5).update(params, {"l": [{"q": mx.array(1.0)}], "t": (mx.array(2.0),)})
        assert params["l"][0]["q"].item() == 2.0
        assert tree_map(lambda x: x.item(), new) == {"a": 1.0, "l": [{"q": 1.5}, {}], "t": (2.0,)}

    def test_parameters_may_be_a_superset(self):
        opt = optim.SGD(0.5)
        model = linear()
        new = opt.apply_gradients({"bias": mx.ones((2,))}, model)
        assert list(new) == ["bias"]
        model.update(new)

    @pytest.mark.parametrize(
        ("gradients", "error", "message"),
        [
            ({"other": 0}, KeyError, "nothing at 'other'"),
            ({"a": {"x": 0}}, KeyError, "nothing at 'a.x'"),
            ({"l": [{}, 0, 0]}, IndexError, "nothing at 'l.2'"),
            ({"l": {"x": 0}}, TypeError, "list at 'l'"),
            ({"a": 0}, TypeError, "dict at 'a'"),
        ],
    )
    def test_gradients_without_parameters_change_nothing(self, gradients, error, message):
        opt = optim.Adam(0.1)
        params = {"a": {"b": mx.array(1.0)}, "l": [mx.array(1.0), mx.array(2.0)]}
        with pytest.raises(error, match=message):
            opt.apply_gradients(tree_map(mx.array, gradients), params)
        assert list(opt.state) == ["step", "learning_rate"]
        assert opt.step.item() == 0

    def test_trains(self):
        mx.random.seed(0)
        x = mx.random.normal((64, 3))
        y = x @ mx.array([[1.0], [-2.0], [0.5]])
        model = nn.Linear(3, 1)
        step = nn.value_and_grad(model, lambda x, y: nn.losses.mse_loss(model(x), y))
        opt = optim.AdamW(0.1, weight_decay=0.0)
        losses = []
        for _ in range(100):
            loss, grads = step(x, y)
            opt.update(model, grads)
            losses.append(loss.item())
        assert losses[-1] < 1e-3 < losses[0]

    def test_is_the_same_inside_compile(self):
        def train(wrap):
            model = linear()
            model.update({"weight": mx.ones((2, 3)), "bias": mx.zeros((2,))})
            opt = optim.Adam(0.1)
            opt.init(model.trainable_parameters())
            loss_and_grad = nn.value_and_grad(model, lambda x: model(x).square().sum())

            def step(x):
                loss, grads = loss_and_grad(x)
                opt.update(model, grads)
                return loss

            run = wrap(step, [model.state, opt.state])
            losses = [run(mx.ones((4, 3))).item() for _ in range(5)]
            return losses, opt.step.item()

        plain, steps = train(lambda step, _: step)
        compiled, _ = train(lambda step, state: mx.compile(step, inputs=state, outputs=state))
        np.testing.assert_allclose(compiled, plain, rtol=1e-5)
        assert plain[-1] < plain[0]
        assert steps == 5


class TestMultiOptimizer:
    def test_each_takes_what_its_filter_selects(self):
        opt = optim.MultiOptimizer(
            [optim.Adam(0.1), optim.SGD(0.2, 0.9)], [lambda path, g: g.ndim > 1]
        )
        params = parameters()
        opt.init(params)
        adam, sgd = opt.state["states"]
        assert "w" in adam and "b" not in adam
        assert "b" in sgd and "w" not in sgd
        opt.learning_rate = 0.5
        assert sgd["learning_rate"].item() == 0.5

    def test_bad_input(self):
        with pytest.raises(ValueError, match="Given 1 filters but 0 needed"):
            optim.MultiOptimizer([optim.SGD(0.1)], [lambda path, g: True])
        with pytest.raises(ValueError, match="states"):
            optim.MultiOptimizer([optim.SGD(0.1)]).state = {}


@pytest.mark.parametrize(
    "make",
    [
        lambda: optim.SGD(0.1, nesterov=True),
        lambda: optim.SGD(0.1, 0.9, dampening=0.1, nesterov=True),
        lambda: optim.RMSprop(0.1, alpha=-1),
        lambda: optim.RMSprop(0.1, eps=-1),
        lambda: optim.Adagrad(0.1, eps=-1),
        lambda: optim.AdaDelta(0.1, rho=-1),
        lambda: optim.AdaDelta(0.1, eps=-1),
        lambda: optim.Adam(0.1, betas=[2, 0.9]),
        lambda: optim.Adamax(0.1, eps=-1),
        lambda: optim.linear_schedule(0, 1, 0),
        lambda: optim.join_schedules([], []),
        lambda: optim.join_schedules([optim.linear_schedule(0, 1, 5)], [1]),
    ],
)
def test_unfit_settings_raise_value_errors(make):
    with pytest.raises(ValueError, match=r"\w+"):
        make()


def test_base_class_names_what_is_missing():
    with pytest.raises(NotImplementedError, match="init_single"):
        optim.Optimizer().init({"w": mx.zeros(())})


class TestClipGradNorm:
    def test_scales_to_the_norm(self):
        clipped, norm = optim.clip_grad_norm({"a": mx.array([3.0]), "b": [mx.array([4.0])]}, 1.0)
        assert norm.item() == 5.0
        np.testing.assert_allclose([clipped["a"].item(), clipped["b"][0].item()], [0.6, 0.8], 1e-5)

    def test_keeps_small_gradients_and_dtypes(self):
        grads = {"a": mx.array([3.0], dtype=mx.float16), "b": mx.array([4.0])}
        same, _ = optim.clip_grad_norm(grads, 100.0)
        assert same["a"].item() == 3.0
        assert same["a"].dtype == mx.float16

    def test_does_not_overflow_in_half_precision(self):
        _, norm = optim.clip_grad_norm({"a": mx.full((4,), 300.0, dtype=mx.float16)}, 1.0)
        assert norm.item() == 600.0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (optim.exponential_decay(0.1, 0.9), 0.1 * 0.9**21),
        (optim.step_decay(0.1, 0.9, 10), 0.1 * 0.9**2),
        (optim.cosine_decay(0.1, 1000), 0.099891),
        (optim.cosine_decay(0.1, 10, 0.05), 0.05),
        (optim.linear_schedule(0.0, 0.1, 100), 0.021),
        (optim.linear_schedule(0.0, 0.1, 10), 0.1),
        (
            optim.join_schedules(
                [optim.linear_schedule(0.0, 0.1, 10), optim.exponential_decay(0.1, 0.5)], [20]
            ),
            0.05,
        ),
    ],
)
def test_schedules_at_step_21(schedule, expected):
    assert float(schedule(21)) == pytest.approx(expected, rel=1e-4)
    assert schedule(mx.array(21)).item() == pytest.approx(expected, rel=1e-4)
