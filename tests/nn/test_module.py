"""Module: a tree of parameters that can be read, replaced, frozen, saved and printed."""

import copy
import pickle

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map


class Net(nn.Module):
    """All kinds of members."""

    def __init__(self):
        super().__init__()
        self.layers = [nn.Linear(2, 3), nn.Linear(3, 1, bias=False)]
        self.named = {"drop": nn.Dropout(0.5), "list": [nn.ReLU(), mx.zeros((2,))]}
        self.w = mx.ones((2, 2))
        self._hidden = mx.ones((3,))
        self.number = 5
        self.norm = nn.BatchNorm(2)
        self.pair = (nn.ReLU(), nn.Linear(1, 1))

    def __call__(self, x):
        return self.layers[0](x)


def shapes(tree):
    return tree_map(lambda a: a.shape, tree)


class TestAttributes:
    def test_arrays_and_containers_are_items_and_others_are_not(self):
        net = Net()
        assert list(net) == ["layers", "named", "w", "_hidden", "norm", "pair"]
        assert net.number == 5
        assert net["w"] is net.w

    def test_change_of_kind(self):
        net = Net()
        net.number = mx.array(1)
        assert "number" in net
        net.number = 2
        assert "number" not in net
        assert net.number == 2

    def test_delete(self):
        net = Net()
        del net.w, net.number
        assert not hasattr(net, "w") and not hasattr(net, "number")
        with pytest.raises(AttributeError, match="'other'"):
            del net.other

    def test_missing(self):
        with pytest.raises(AttributeError, match="'Net' object has no attribute 'other'"):
            _ = Net().other

    def test_forgotten_super_init_is_named(self):
        class Bad(nn.Module):
            def __init__(self):
                self.w = mx.ones((1,))

        with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
            Bad().freeze()

    def test_state_is_the_module(self):
        net = Net()
        assert net.state is net


class TestReading:
    def test_parameters(self):
        assert shapes(Net().parameters()) == {
            "layers": [{"weight": (3, 2), "bias": (3,)}, {"weight": (1, 3)}],
            "named": {"drop": {}, "list": [{}, (2,)]},
            "w": (2, 2),
            "norm": {
                "weight": (2,),
                "bias": (2,),
                "running_mean": (2,),
                "running_var": (2,),
            },
        }

    def test_children_and_leaves(self):
        net = Net()
        expected = {
            "layers": net.layers,
            "named": {"drop": net.named["drop"], "list": [net.named["list"][0], {}]},
            "norm": net.norm,
        }
        assert net.children() == expected
        assert net.leaf_modules() == expected
        outer = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
        inner, tanh = outer.layers
        assert outer.children() == {"layers": [inner, tanh]}
        assert outer.leaf_modules() == {"layers": [{"layers": [inner.layers[0]]}, tanh]}

    def test_modules(self):
        net = Net()
        names = ["", "norm", "named.list.0", "named.drop", "layers.1", "layers.0"]
        assert [name for name, _ in net.named_modules()] == names
        assert net.modules()[0] is net
        assert len(net.modules()) == 6

    def test_filter_and_map(self):
        net = Net()
        kinds = net.filter_and_map(
            lambda module, key, value: key in ("w", "pair", "named", "named.list"),
            lambda value: type(value).__name__,
        )
        assert kinds == {"named": {"drop": {}, "list": [{}, {}]}, "w": "array", "pair": "tuple"}
        with pytest.raises(RuntimeError, match="Unexpected leaf"):
            net.filter_and_map(lambda *_: True, is_leaf_fn=nn.Module.valid_child_filter)
            net.filter_and_map(lambda *_: True, is_leaf_fn=lambda *_: False)

    def test_filters(self):
        net = Net()
        assert nn.Module.is_module(net) and not nn.Module.is_module({})
        assert net.valid_child_filter(net, "layers", net.layers)
        assert not net.valid_parameter_filter(net, "_hidden", net._hidden)
        net.freeze(keys="w")
        assert net.valid_parameter_filter(net, "w", net.w)
        assert not net.trainable_parameter_filter(net, "w", net.w)


class TestPrinting:
    def test_nested(self):
        net = nn.Sequential(nn.Sequential(nn.Linear(1, 2)), nn.Tanh())
        assert repr(net) == (
            "Sequential(\n"
            "  (layers.0): Sequential(\n"
            "    (layers.0): Linear(input_dims=1, output_dims=2, bias=True)\n"
            "  )\n"
            "  (layers.1): Tanh()\n"
            ")"
        )

    def test_containers_and_extra(self):
        class Extra(nn.Module):
            def __init__(self):
                super().__init__()
                self.part = {"a": [nn.ReLU(), mx.zeros((1,))]}

            def _extra_repr(self):
                return "size=1"

        assert repr(Extra()) == "Extra(size=1\n  (part.a.0): ReLU()\n)"
        assert repr(nn.Module()) == "Module()"

    @pytest.mark.parametrize(
        "text",
        [
            "Linear(input_dims=2, output_dims=3, bias=True)",
            "LayerNorm(4, eps=1e-05, affine=True)",
            "RMSNorm(4, eps=1e-05)",
            "Embedding(3, 4)",
            "Dropout(p=0.5)",
            "GroupNorm(2, 4, eps=1e-05, affine=True, pytorch_compatible=False)",
            "BatchNorm(4, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)",
            "InstanceNorm(4, eps=1e-05, affine=False)",
            "RoPE(4, traditional=False)",
            "Upsample(scale_factor=2.0, mode='nearest', align_corners=False)",
            "MaxPool2d(kernel_size=(2, 3), stride=(1, 2), padding=(1, 1))",
            "GRU(input_dims=2, hidden_size=3, bias=True)",
            "Bilinear(input1_dims=2, input2_dims=3, output_dims=4, bias=True)",
            "Conv1d(2, 4, kernel_size=3, stride=1, padding=0, dilation=1, groups=1, bias=True)",
            "Conv2d(2, 4, kernel_size=(3, 3), stride=(1, 1), padding=(0, 0), dilation=1, groups=1, "
            "bias=True)",
            "ConvTranspose1d(2, 3, kernel_size=3, stride=1, padding=0, dilation=1, "
            "output_padding=0, bias=True)",
        ],
    )
    def test_layers(self, text):
        assert repr(LAYERS[text.partition("(")[0]]()) == text


LAYERS = {
    "Linear": lambda: nn.Linear(2, 3),
    "LayerNorm": lambda: nn.LayerNorm(4),
    "RMSNorm": lambda: nn.RMSNorm(4),
    "Embedding": lambda: nn.Embedding(3, 4),
    "Dropout": nn.Dropout,
    "GroupNorm": lambda: nn.GroupNorm(2, 4),
    "BatchNorm": lambda: nn.BatchNorm(4),
    "InstanceNorm": lambda: nn.InstanceNorm(4),
    "RoPE": lambda: nn.RoPE(4),
    "Upsample": lambda: nn.Upsample(2),
    "MaxPool2d": lambda: nn.MaxPool2d((2, 3), (1, 2), 1),
    "GRU": lambda: nn.GRU(2, 3),
    "Bilinear": lambda: nn.Bilinear(2, 3, 4),
    "Conv1d": lambda: nn.Conv1d(2, 4, 3),
    "Conv2d": lambda: nn.Conv2d(2, 4, 3),
    "ConvTranspose1d": lambda: nn.ConvTranspose1d(2, 3, 3),
}


class TestUpdate:
    def test_replaces_and_returns_the_module(self):
        net = Net()
        new = mx.zeros((3, 2))
        assert net.update({"layers": [{"weight": new}], "pair": [{}, {}]}) is net
        assert net.layers[0].weight is new

    def test_functions_among_layers_have_no_parameters(self):
        net = nn.Sequential(nn.Linear(2, 2), nn.relu, lambda x: x + 1)
        loss, gradient = nn.value_and_grad(net, lambda x: net(x).sum())(mx.ones((1, 2)))
        assert gradient["layers"][1:] == [{}, {}]
        net.set_dtype(mx.float16)
        assert net.update(net.parameters()).layers[0].weight.dtype is mx.float16

    @pytest.mark.parametrize(
        ("parameters", "message"),
        [
            ({"other": mx.zeros((1,))}, 'does not have parameter named "other"'),
            ({"number": mx.zeros((1,))}, 'does not have parameter named "number"'),
            ({"layers": {"weight": mx.zeros((1,))}}, 'does not have parameter named "weight"'),
            ({"layers": [{}, {}, {}]}, "List index 2 is out of bounds"),
            ({"w": 3}, "Received invalid type: int"),
            ({"norm": mx.zeros((1,))}, "Received invalid type: array"),
            ([1], "Received invalid type: list"),
        ],
    )
    def test_strictness(self, parameters, message):
        net = Net()
        with pytest.raises(ValueError, match=message):
            net.update(parameters)
        if parameters != {"w": 3}:
            before = shapes(net.parameters())
            net.update(parameters, strict=False)
            assert shapes(net.parameters()) == before

    def test_modules(self):
        net = Net()
        net.update_modules({"layers": [{}, nn.Tanh()], "named": {"drop": nn.Identity()}})
        assert isinstance(net.layers[0], nn.Linear)
        assert isinstance(net.layers[1], nn.Tanh)
        assert isinstance(net.named["drop"], nn.Identity)

    @pytest.mark.parametrize(
        ("modules", "message"),
        [
            ({"other": nn.ReLU()}, 'does not have sub-module named "other"'),
            ({"norm": 3}, "Received invalid type: int"),
            ({"layers": [{}, {}, nn.ReLU()]}, "List index 2"),
            (3, "Received invalid type: int"),
        ],
    )
    def test_strictness_of_modules(self, modules, message):
        net = Net()
        with pytest.raises(ValueError, match=message):
            net.update_modules(modules)
        net.update_modules(modules, strict=False)
        assert repr(net) == repr(Net())


class TestApply:
    def test_maps_parameters(self):
        net = Net()
        assert net.apply(lambda a: a.astype(mx.float16)) is net
        assert {a.dtype for _, a in tree_flatten(net.parameters())} == {mx.float16}
        assert net._hidden.dtype == mx.float32

    def test_filter(self):
        layer = nn.Linear(2, 3)
        before = np.array(layer.weight)
        layer.apply(lambda a: a + 1, lambda m, k, v: k == "bias")
        assert np.array_equal(np.array(layer.weight), before)

    def test_to_modules(self):
        names = []
        net = Net()
        assert net.apply_to_modules(lambda name, module: names.append(name)) is net
        assert names == [name for name, _ in net.named_modules()]

    def test_runs_with_other_parameters(self):
        layer = nn.Linear(2, 1)
        weight, bias = layer.weight, layer.bias
        params = {"weight": mx.ones((1, 2)), "bias": mx.array([10.0])}
        assert layer.apply(params, mx.array([1.0, 2.0])).item() == 13.0
        assert layer.weight is weight and layer.bias is bias

    def test_takes_several_inputs_and_keywords(self):
        class Join(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = mx.array(1.0)

            def __call__(self, x, y, scale=1):
                return (x + y * self.w) * scale

        result = Join().apply({"w": mx.array(3.0)}, mx.array(1.0), mx.array(2.0), scale=10)
        assert result.item() == 70.0

    def test_leaves_the_module_as_it_was_also_after_an_error(self):
        class Bad(Net):
            def __call__(self, x):
                self.w = 3
                self.number = x
                self.layers.append(nn.ReLU())
                raise RuntimeError("stop")

        net = Bad()
        before = dict(net), list(net.layers), dict(net.layers[0]), net.number
        with pytest.raises(RuntimeError, match="stop"):
            net.apply({"layers": [{"weight": mx.zeros((3, 2))}]}, mx.ones((1, 2)))
        after = dict(net), list(net.layers), dict(net.layers[0]), net.number
        assert all(a is b for a, b in zip(before[0].values(), after[0].values(), strict=True))
        assert all(a is b for a, b in zip(before[2].values(), after[2].values(), strict=True))
        assert list(map(id, before[1])) == list(map(id, after[1]))
        assert after[3] == 5

    def test_refuses_parameters_of_another_module(self):
        with pytest.raises(ValueError, match='named "other"'):
            nn.Linear(2, 1).apply({"other": mx.ones((1, 2))}, mx.ones((2,)))

    def test_can_be_differentiated(self):
        layer = nn.Linear(2, 1, bias=False)
        weight = layer.weight
        x = mx.array([1.0, 2.0])
        grads = mx.grad(lambda p: layer.apply(p, x).sum())(layer.parameters())
        assert grads["weight"].tolist() == [[1.0, 2.0]]
        assert layer.weight is weight

    def test_drops_statistics(self):
        layer = nn.BatchNorm(2)
        layer.apply(layer.parameters(), mx.arange(6.0).reshape(3, 2))
        assert layer.running_mean.tolist() == [0.0, 0.0]


class TestFreezing:
    def test_all(self):
        net = Net()
        assert net.freeze() is net
        assert tree_flatten(net.trainable_parameters()) == []
        assert net.unfreeze() is net
        names = {name for name, _ in tree_flatten(net.trainable_parameters())}
        everything = {name for name, _ in tree_flatten(net.parameters())}
        assert everything - names == {"norm.running_mean", "norm.running_var"}

    def test_own_parameters_only(self):
        net = Net()
        net.freeze(recurse=False)
        trainable = dict(tree_flatten(net.trainable_parameters()))
        assert "w" not in trainable and "named.list.1" not in trainable
        assert "layers.0.weight" in trainable

    def test_keys(self):
        net = Net().freeze().unfreeze(keys="bias")
        names = [name for name, _ in tree_flatten(net.trainable_parameters())]
        assert names == ["layers.0.bias", "norm.bias"]
        net.unfreeze(keys=["weight"])
        net.freeze(keys=["bias"])
        names = [name for name, _ in tree_flatten(net.trainable_parameters())]
        assert names == ["layers.0.weight", "layers.1.weight", "norm.weight"]

    def test_strict(self):
        net = Net()
        net.freeze(keys="bias", strict=True)
        for method in (net.freeze, net.unfreeze):
            with pytest.raises(KeyError, match="other"):
                method(keys=["other"], strict=True)
            with pytest.raises(KeyError, match="bias"):
                method(keys=["bias"], strict=True, recurse=False)
            method(keys="other")


class TestModes:
    def test_train_and_eval(self):
        net = Net()
        assert net.training and net.named["drop"].training
        assert net.eval() is net
        assert not net.training and not net.named["drop"].training
        assert net.train() is net
        assert net.named["drop"].training
        with pytest.raises(AttributeError):
            net.training = False

    def test_set_dtype(self):
        layer = nn.Linear(2, 2)
        layer.count = mx.array(1)
        layer.set_dtype(mx.bfloat16)
        assert layer.weight.dtype == mx.bfloat16
        assert layer.count.dtype == mx.int32
        layer.set_dtype(mx.float32, lambda dtype: dtype == mx.float16)
        assert layer.weight.dtype == mx.bfloat16
        layer.set_dtype(mx.float32, None)
        assert layer.count.dtype == mx.float32


class TestFiles:
    @pytest.mark.parametrize("name", ["w.npz", "w.safetensors"])
    @pytest.mark.parametrize("as_text", [True, False])
    def test_saved_weights_load(self, tmp_path, name, as_text):
        net, other = Net(), Net()
        path = str(tmp_path / name) if as_text else tmp_path / name
        net.save_weights(path)
        assert other.load_weights(path) is other
        for (_, a), (_, b) in zip(
            tree_flatten(net.parameters()), tree_flatten(other.parameters()), strict=True
        ):
            assert mx.array_equal(a, b).item()

    def test_other_extension(self, tmp_path):
        with pytest.raises(ValueError, match="Unsupported file extension"):
            Net().save_weights(str(tmp_path / "w.txt"))

    def test_dictionary(self):
        layer = nn.Linear(2, 1, bias=False).load_weights({"weight": mx.ones((1, 2))})
        assert layer.weight.tolist() == [[1.0, 1.0]]

    @pytest.mark.parametrize(
        ("weights", "message"),
        [
            ([("weight", mx.zeros((3, 2)))], "Missing 1 parameters: \nbias."),
            (
                [("weight", mx.zeros((3, 2))), ("bias", mx.zeros((3,))), ("q", mx.zeros((3,)))],
                "Received 1 parameters not in model: \nq.",
            ),
            (
                [("weight", mx.zeros((3, 3))), ("bias", mx.zeros((3,)))],
                r"Expected shape \(3, 2\) but received shape \(3, 3\) for parameter weight",
            ),
            ([("weight", 2.0), ("bias", mx.zeros((3,)))], "Expected mx.array but received"),
        ],
    )
    def test_strict(self, weights, message):
        with pytest.raises(ValueError, match=message):
            nn.Linear(2, 3).load_weights(weights)

    def test_not_strict(self):
        layer = nn.Linear(2, 3)
        layer.load_weights([("bias", mx.ones((3,))), ("q", mx.ones((3,)))], strict=False)
        assert layer.bias.tolist() == [1.0, 1.0, 1.0]
        assert sorted(layer) == ["bias", "weight"]
        layer.load_weights([], strict=False)


class TestCopies:
    def test_pickle(self):
        net = Net().freeze(keys="w").eval()
        again = pickle.loads(pickle.dumps(net))
        assert repr(again) == repr(net)
        assert again._no_grad == net._no_grad and not again.training
        assert mx.array_equal(again.w, net.w).item()

    def test_deep_copy_is_independent(self):
        layer = nn.Linear(2, 3)
        again = copy.deepcopy(layer)
        again.weight = again.weight + 1
        again.freeze()
        assert layer.trainable_parameters().keys() == {"weight", "bias"}
        assert not mx.array_equal(layer.weight, again.weight).item()

    def test_shallow_copy_shares_arrays(self):
        layer = nn.Linear(2, 3)
        assert copy.copy(layer).weight is layer.weight


class TestValueAndGrad:
    def test_gradients_of_trainable_parameters(self):
        layer = nn.Linear(2, 1).freeze(keys="bias")
        weight = layer.weight

        def loss(x, scale=1):
            return layer(x).sum() * scale, "extra"

        step = nn.value_and_grad(layer, loss)
        (value, extra), grads = step(mx.array([1.0, 2.0]), scale=3)
        assert grads["weight"].tolist() == [[3.0, 6.0]]
        assert list(grads) == ["weight"]
        assert extra == "extra" and value.shape == ()
        assert step.__name__ == "loss"
        assert layer.weight is weight

    def test_module_is_whole_after_an_error(self):
        layer = nn.Linear(2, 1)
        weight = layer.weight + 0
        with pytest.raises(RuntimeError, match="stop"):
            nn.value_and_grad(layer, raise_stop)(mx.ones((2,)))
        assert mx.array_equal(layer.weight, weight).item()

    def test_running_statistics_move(self):
        layer = nn.BatchNorm(2)
        x = mx.arange(6.0).reshape(3, 2)
        nn.value_and_grad(layer, lambda x: layer(x).sum())(x)
        np.testing.assert_allclose(layer.running_mean.tolist(), [0.2, 0.3], rtol=1e-5)
        np.testing.assert_allclose(layer.running_var.tolist(), [1.3, 1.3], rtol=1e-5)

    def test_what_the_function_assigns_stays(self):
        class Power(nn.Module):
            def __init__(self):
                super().__init__()
                self.w = mx.array(2.0)
                self.calls = mx.array(0.0)

            def __call__(self, x):
                self.calls = mx.stop_gradient(self.calls + 1)
                return self.w * x

        model = Power()
        step = nn.value_and_grad(model, lambda x: model(x))
        for _ in range(3):
            _, grads = step(mx.array(3.0))
        assert grads["w"].item() == 3.0
        assert model.calls.item() == 3.0
        assert model.w.item() == 2.0

    def test_refuses_what_is_no_module(self):
        with pytest.raises(TypeError, match="must be a Module, got int"):
            nn.value_and_grad(3, raise_stop)


def raise_stop(*_):
    raise RuntimeError("stop")


class TestUtils:
    def test_checkpoint_gives_the_same_gradients(self):
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        x = mx.array([[1.0, 2.0], [3.0, 4.0]])
        saving = nn.utils.checkpoint(net)
        value, grads = nn.value_and_grad(net, lambda x: net(x).sum())(x)
        again, recomputed = nn.value_and_grad(net, lambda x: saving(x).sum())(x)
        np.testing.assert_allclose(value.item(), again.item(), rtol=1e-6)
        for (_, a), (_, b) in zip(tree_flatten(grads), tree_flatten(recomputed), strict=True):
            np.testing.assert_allclose(np.array(a), np.array(b), rtol=1e-5)

    def test_average_of_one_process(self):
        grads = {"a": mx.ones((2,))}
        assert nn.average_gradients(grads) is grads


class TestInit:
    @pytest.mark.parametrize(
        ("make", "bound"),
        [
            (nn.init.glorot_uniform, np.sqrt(6 / 700)),
            (nn.init.he_uniform, np.sqrt(3 / 400)),
            (nn.init.uniform, 1.0),
        ],
    )
    def test_uniform_bounds(self, make, bound):
        mx.random.seed(0)
        values = np.array(make()(mx.zeros((300, 400))))
        assert abs(values).max() <= bound
        assert abs(values).max() > 0.99 * bound

    @pytest.mark.parametrize(
        ("make", "std"),
        [
            (nn.init.glorot_normal, np.sqrt(2 / 700)),
            (nn.init.he_normal, np.sqrt(1 / 400)),
            (nn.init.normal, 1.0),
        ],
    )
    def test_normal_deviations(self, make, std):
        mx.random.seed(0)
        assert np.std(np.array(make()(mx.zeros((300, 400))))) == pytest.approx(std, rel=0.02)

    def test_modes_gains_and_convolution_weights(self):
        mx.random.seed(0)
        weight = mx.zeros((16, 5, 5, 8))
        std = np.std(np.array(nn.init.he_normal()(weight, mode="fan_out", gain=2.0)))
        assert std == pytest.approx(2 / np.sqrt(16 * 25), rel=0.05)
        with pytest.raises(ValueError, match="Invalid mode: other"):
            nn.init.he_normal()(weight, mode="other")

    def test_constant_identity_and_sparse(self):
        assert nn.init.constant(3.0)(mx.zeros((2,), dtype=mx.int32)).tolist() == [3.0, 3.0]
        assert nn.init.identity()(mx.zeros((2, 2))).tolist() == [[1.0, 0.0], [0.0, 1.0]]
        sparse = np.array(nn.init.sparse(0.3)(mx.zeros((5, 10))))
        assert ((sparse == 0).sum(axis=1) == 3).all()

    def test_orthogonal(self):
        for shape in ((3, 5), (5, 3), (4, 4)):
            q = np.array(nn.init.orthogonal(2.0)(mx.zeros(shape)))
            product = q @ q.T if shape[0] <= shape[1] else q.T @ q
            np.testing.assert_allclose(product, 4 * np.eye(min(shape)), atol=1e-5)

    @pytest.mark.parametrize(
        "make",
        [
            nn.init.glorot_normal,
            nn.init.he_uniform,
            nn.init.identity,
            nn.init.orthogonal,
            lambda: nn.init.sparse(0.5),
        ],
    )
    def test_vectors_are_refused(self, make):
        with pytest.raises(ValueError, match=r"\w+"):
            make()(mx.zeros((3,)))
