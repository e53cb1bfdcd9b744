"""The snippets of the documents run as they are written there."""

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
import mlx.optimizers as optim
from examples.documents import (
    apply_gradients,
    jvp,
    module_value_and_grad,
    neural_networks,
    value_and_grad,
)
from mlx.utils import tree_flatten, tree_map


def run(snippet, **names):
    """Run text in a fresh namespace and return it."""
    exec(snippet, names)
    return names


FUNCTIONAL = """
import mlx.core as mx
import mlx.nn as nn
from mlx.optimizers import AdamW

net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
params = net.parameters(); opt = AdamW(1e-3)

def loss_fn(p, x, y):
    logits = net.apply(p, x)
    return mx.mean((logits - y) ** 2)

for step in range(STEPS):
    x = mx.random.normal((128, 32)); y = mx.random.normal((128, 10))
    val, grads = mx.value_and_grad(loss_fn)(params, x, y)
    params = opt.update(params, grads)
"""

LOSSES = """
import mlx.core as mx

def mse(params, inputs, targets):
    outputs = forward(params, inputs)
    lvalue = (outputs - targets).square().mean()
    return lvalue

# Returns lvalue, dlvalue/dparams
lvalue, grads = mx.value_and_grad(mse)(params, inputs, targets)
mse_grads = grads

def lasso(params, inputs, targets, a=1.0, b=1.0):
    outputs = forward(params, inputs)
    mse = (outputs - targets).square().mean()
    l1 = mx.abs(outputs - targets).mean()

    loss = a*mse + b*l1

    return loss, mse, l1

(loss, mse, l1), grads = mx.value_and_grad(lasso)(params, inputs, targets)
"""

PYTORCH_SHIFT = """
value, grads = mx.value_and_grad(loss_fn)(params, batch)
params = opt.update(params, grads)
"""

MLP = """
import mlx.core as mx
import mlx.nn as nn

class MLP(nn.Module):
    def __init__(self, in_dims: int, out_dims: int):
        super().__init__()

        self.layers = [
            nn.Linear(in_dims, 128),
            nn.Linear(128, 128),
            nn.Linear(128, out_dims),
        ]

    def __call__(self, x):
        for i, l in enumerate(self.layers):
            x = mx.maximum(x, 0) if i > 0 else x
            x = l(x)
        return x

# The model is created with all its parameters but nothing is initialized
# yet because MLX is lazily evaluated
mlp = MLP(2, 10)

# We can access its parameters by calling mlp.parameters()
params = mlp.parameters()

# Printing a parameter will cause it to be evaluated and thus initialized
print(params["layers"][0])

# We can also force evaluate all parameters to initialize the model
mx.eval(mlp.parameters())

# A simple loss function.
# NOTE: It doesn't matter how it uses the mlp model. It currently captures
#       it from the local scope. It could be a positional argument or a
#       keyword argument.
def l2_loss(x, y):
    y_hat = mlp(x)
    return (y_hat - y).square().mean()

# Calling `nn.value_and_grad` instead of `mx.value_and_grad` returns the
# gradient with respect to `mlp.trainable_parameters()`
loss_and_grad = nn.value_and_grad(mlp, l2_loss)
"""

PRINTED = """MLP(
  (layers.0): Linear(input_dims=2, output_dims=128, bias=True)
  (layers.1): Linear(input_dims=128, output_dims=128, bias=True)
  (layers.2): Linear(input_dims=128, output_dims=10, bias=True)
)
"""

INSPECT = """
print(mlp)

from mlx.utils import tree_map
shapes = tree_map(lambda p: p.shape, mlp.parameters())

from mlx.utils import tree_flatten
num_params = sum(v.size for _, v in tree_flatten(mlp.parameters()))
"""

UPDATE = """
def f(params, other_inputs):
    model.update(params)  # <---- Necessary to make the model use the passed parameters
    return model(other_inputs)

result = f(model.trainable_parameters(), mx.zeros((10,)))
"""


def small_loss(params, batch):
    return (params["w"] * batch).square().mean()


class TestValueAndGrad:
    def test_functional_training(self):
        mx.random.seed(0)
        names = run(FUNCTIONAL, STEPS=5)
        assert names["val"].shape == ()
        paths = [path for path, _ in tree_flatten(names["params"])]
        assert paths == ["layers.0.weight", "layers.0.bias", "layers.2.weight", "layers.2.bias"]
        assert names["opt"].step.item() == 5

    def test_functional_training_leaves_the_module_alone(self):
        names = run(FUNCTIONAL, STEPS=1)
        net, params = names["net"], names["params"]
        before = [np.array(a) for _, a in tree_flatten(net.parameters())]
        names["net"].apply(params, mx.ones((1, 32)))
        after = [np.array(a) for _, a in tree_flatten(net.parameters())]
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        new = [np.array(a) for _, a in tree_flatten(params)]
        assert not any(np.array_equal(a, b) for a, b in zip(before, new, strict=True))

    def test_equals_the_loop_with_a_module(self):
        """The functional loop and MLX's own style give the same parameters."""
        mx.random.seed(3)
        names = run(FUNCTIONAL, STEPS=3)
        mx.random.seed(3)
        net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
        opt = optim.AdamW(1e-3)
        step = nn.value_and_grad(net, lambda x, y: mx.mean((net(x) - y) ** 2))
        for _ in range(3):
            x = mx.random.normal((128, 32))
            y = mx.random.normal((128, 10))
            _, grads = step(x, y)
            opt.update(net, grads)
        for (_, a), (_, b) in zip(
            tree_flatten(names["params"]), tree_flatten(net.parameters()), strict=True
        ):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-5, atol=1e-6)

    def test_losses(self):
        params = {"w": mx.array([[1.0], [2.0]])}
        names = run(
            LOSSES,
            forward=lambda params, inputs: inputs @ params["w"],
            params=params,
            inputs=mx.array([[1.0, 0.0], [0.0, 1.0]]),
            targets=mx.array([[0.0], [0.0]]),
        )
        assert names["lvalue"].item() == 2.5
        assert names["mse_grads"]["w"].tolist() == [[1.0], [2.0]]
        assert [names[name].item() for name in ("loss", "mse", "l1")] == [4.0, 2.5, 1.5]
        assert names["grads"]["w"].tolist() == [[1.5], [2.5]]

    def test_instead_of_backward_and_step(self):
        names = run(
            PYTORCH_SHIFT,
            mx=mx,
            loss_fn=small_loss,
            params={"w": mx.array(2.0)},
            batch=mx.array([1.0, 3.0]),
            opt=optim.SGD(0.1),
        )
        assert names["value"].item() == 20.0
        assert names["params"]["w"].item() == 0.0

    def test_argnums_and_argnames(self):
        def fun(x, y, z=None):
            return x * y * z

        x, y, z = mx.array(2.0), mx.array(3.0), mx.array(5.0)
        value, grad = mx.value_and_grad(fun)(x, y, z)
        assert (value.item(), grad.item()) == (30.0, 15.0)
        _, grad = mx.value_and_grad(fun, argnums=1)(x, y, z=z)
        assert grad.item() == 10.0
        _, grads = mx.value_and_grad(fun, argnums=[0, 1])(x, y, z=z)
        assert [g.item() for g in grads] == [15.0, 10.0]
        _, (_, named) = mx.value_and_grad(fun, argnames="z")(x, y, z=z)
        assert {name: g.item() for name, g in named.items()} == {"z": 6.0}
        _, (own, named) = mx.value_and_grad(fun, argnums=0, argnames=["z"])(x, y, z=z)
        assert own.item() == 15.0 and named["z"].item() == 6.0


class TestNeuralNetworks:
    def test_quick_start(self, capsys):
        names = run(MLP)
        printed = capsys.readouterr().out
        assert "'weight': array([[" in printed and "dtype=float32" in printed
        loss, grads = names["loss_and_grad"](mx.ones((4, 2)), mx.zeros((4, 10)))
        assert loss.shape == ()
        params = names["mlp"].trainable_parameters()
        assert tree_map(lambda g: g.shape, grads) == tree_map(lambda p: p.shape, params)

    def test_inspecting(self, capsys):
        names = run(MLP)
        capsys.readouterr()
        run(INSPECT, mlp=names["mlp"])
        assert capsys.readouterr().out == PRINTED
        seen = run(INSPECT, mlp=names["mlp"])
        assert seen["num_params"] == 2 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
        assert seen["shapes"] == {
            "layers": [
                {"weight": (128, 2), "bias": (128,)},
                {"weight": (128, 128), "bias": (128,)},
                {"weight": (10, 128), "bias": (10,)},
            ]
        }

    def test_pure_functions_update_the_model(self):
        model = nn.Linear(10, 3)
        names = run(UPDATE, model=model, mx=mx)
        assert mx.allclose(names["result"], model.bias).item()

        def loss(params, x):
            return names["f"](params, x).sum()

        params = model.trainable_parameters()
        grads = mx.grad(loss)(params, mx.ones((10,)))
        model.update(params)
        assert grads["bias"].tolist() == [1.0, 1.0, 1.0]


class TestJvp:
    def test_is_the_product_with_the_jacobian(self):
        matrix = mx.array([[1.0, 2.0], [3.0, 4.0]])
        primals, tangents = [mx.array([1.0, 1.0])], [mx.array([1.0, -1.0])]
        outputs, jvps = mx.jvp(lambda x: matrix @ x, primals, tangents)
        assert outputs[0].tolist() == [3.0, 7.0]
        assert jvps[0].tolist() == [-1.0, -1.0]

    def test_of_several_outputs(self):
        outputs, jvps = mx.jvp(
            lambda x, y: [x * y, x + y],
            [mx.array(2.0), mx.array(3.0)],
            [mx.array(1.0), mx.array(10.0)],
        )
        assert [o.item() for o in outputs] == [6.0, 5.0]
        assert [t.item() for t in jvps] == [23.0, 11.0]

    def test_tangents_must_fit_the_primals(self):
        with pytest.raises(ValueError, match=r"\w+"):
            mx.jvp(mx.exp, [mx.array([1.0, 2.0])], [mx.array(1.0), mx.array(2.0)])
        with pytest.raises(ValueError, match=r"\w+"):
            mx.jvp(mx.exp, [mx.array([1.0, 2.0])], [mx.array([1.0])])


class TestApplyGradients:
    def test_model_update(self):
        model, opt = nn.Linear(2, 2), optim.SGD(0.5)
        grads = tree_map(mx.ones_like, model.trainable_parameters())
        before = np.array(model.weight)
        model.update(opt.apply_gradients(grads, model))
        np.testing.assert_allclose(np.array(model.weight), before - 0.5, rtol=1e-6)

    def test_superset(self):
        parameters = {"a": mx.array(1.0), "b": [mx.array(2.0), {"c": mx.array(3.0)}]}
        new = optim.SGD(1.0).apply_gradients({"b": [mx.array(1.0)]}, parameters)
        assert tree_map(lambda x: x.item(), new) == {"b": [1.0]}


class TestFiles:
    def test_value_and_grad(self, capsys):
        *_, grads = value_and_grad.losses()
        assert grads["bias"].shape == (2,)
        value, params = value_and_grad.train(steps=3)
        assert value.item() > 0
        assert params["layers"][0]["weight"].shape == (64, 32)
        assert capsys.readouterr().out.startswith("mse")

    def test_neural_networks(self, capsys):
        loss, _, shapes, count, output = neural_networks.main()
        assert loss.shape == () and count == 18186 and output.shape == (10,)
        assert shapes["layers"][0] == {"weight": (128, 2), "bias": (128,)}
        assert "(layers.2): Linear(input_dims=128, output_dims=10, bias=True)" in (
            capsys.readouterr().out
        )

    def test_module_value_and_grad(self):
        value, grads = module_value_and_grad.main()
        assert value.shape == ()
        assert sorted(path for path, _ in tree_flatten(grads)) == [
            "layers.2.bias",
            "layers.2.weight",
        ]

    def test_jvp(self):
        outputs, jvps, single, change = jvp.main()
        assert [len(outputs), len(jvps)] == [2, 2]
        assert (single[0].item(), change[0].item()) == (1.0, 2.0)

    def test_apply_gradients(self):
        assert tree_map(lambda x: x.item(), apply_gradients.main()) == {"b": {"c": 1.5}}
