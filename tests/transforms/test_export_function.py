"""export_function, exporter and import_function."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mlx.core as mx
import mlx.nn as nn


def f(x: mx.array, y: mx.array) -> mx.array:
    return mx.exp(x) + y


X, Y = mx.array([1.0, 2.0]), mx.array(3.0)


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "function.mlxfn")


def through(path: str, fun: Callable, *args: mx.array, **kwargs: bool) -> Callable:
    mx.export_function(path, fun, *args, **kwargs)
    return mx.import_function(path)


def same(found: object, fun: Callable, *args: mx.array) -> bool:
    wanted = fun(*args)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    return all(mx.array_equal(a, b).item() for a, b in zip(found, wanted, strict=True))


def test_calls(path: str) -> None:
    g = through(path, f, X, Y)
    for result in (g(X, Y), g((X, Y)), g([X, Y])):
        assert type(result) is tuple and same(result, f, X, Y)
    for result in (g(X, y=Y), g(y=Y, x=X)):
        assert same(result, f, X, Y)
    mx.export_function(path, f, (X,), {"y": Y})
    g = mx.import_function(path)
    for result in (g(X, y=Y), g((X,), {"y": Y})):
        assert same(result, f, X, Y)
    mx.export_function(path, f, y=Y, x=X)
    assert same(mx.import_function(path)({"x": X, "y": Y}), f, X, Y)


def test_results(path: str) -> None:
    w = mx.array([2.0, 3.0])
    g = through(path, lambda x: (x, x * w, mx.array(5), mx.linalg.inv(x[None, :1])), X)
    assert same(g(Y + X), lambda x: (x, x * w, mx.array(5), 1 / x[None, :1]), Y + X)
    assert through(path, lambda: mx.ones(2))()[0].tolist() == [1, 1]


@pytest.mark.parametrize("args", [(X,), (X, Y, Y), (X[:1], Y), (X.astype(mx.int32), Y), (X, 3.0)])
def test_other_calls(path: str, args: tuple) -> None:
    with pytest.raises(ValueError, match="import_function::call"):
        through(path, f, X, Y)(*args)


def test_other_keywords(path: str) -> None:
    mx.export_function(path, f, X, y=Y)
    with pytest.raises(ValueError, match=r"\(float32\[2\], z=float32\[\]\); there is .* y=float32"):
        mx.import_function(path)(X, z=Y)


@pytest.mark.parametrize("fun", [lambda x: None, lambda x: {"a": x}, lambda x: (x, (x,))])
def test_not_exportable(path: str, fun: Callable) -> None:
    with pytest.raises(ValueError, match="Outputs can be either"):
        mx.export_function(path, fun, X)
    with pytest.raises(ValueError, match="Inputs can either be"):
        mx.export_function(path, f, X, 3.0)
    with pytest.raises(ValueError, match="Attempting to eval"):
        mx.export_function(path, lambda x: x if x.sum().item() > 0 else -x, X)
    assert not Path(path).exists()


def test_transformed(path: str) -> None:
    g = through(path, lambda x: mx.sin(x) * X, X)
    assert mx.allclose(mx.grad(lambda x: g(x)[0].sum())(X), mx.cos(X) * X)
    assert mx.allclose(mx.jvp(lambda x: g(x)[0], [X], [X])[1][0], mx.cos(X) * X * X)
    batch = mx.vmap(lambda x: g(x)[0])(mx.stack([X, -X]))
    assert mx.array_equal(batch, mx.stack([g(X)[0], g(-X)[0]]))
    assert mx.array_equal(mx.compile(g)(X)[0], g(X)[0])
    assert mx.array_equal(mx.compile(lambda x: g(x)[0] + 1)(-X), g(-X)[0] + 1)


def test_custom_function_leaves_its_rules_behind(path: str) -> None:
    @mx.custom_function
    def double(x: mx.array) -> mx.array:
        return x * 2

    @double.vjp
    def double_vjp(primals: object, cotangent: mx.array, output: object) -> mx.array:
        return cotangent * 7

    g = through(path, lambda x: (double(x), mx.grad(lambda y: double(y).sum())(x)), X)
    assert [r.tolist() for r in g(X)] == [[2, 4], [7, 7]]


def test_random_keys(path: str) -> None:
    g = through(path, lambda k: mx.random.normal((3,), key=k), mx.random.key(0))
    assert same(g(mx.random.key(5)), lambda k: mx.random.normal((3,), key=k), mx.random.key(5))


SHAPELESS: dict[str, tuple[Callable, list, list]] = {
    "chain": (f, [X, Y], [[mx.ones(5), Y]]),
    "mean": (lambda x: x.mean(), [mx.ones((4, 3))], [[mx.arange(14.0).reshape(7, 2)]]),
    "matmul": (lambda x, y: x @ y + 1, [mx.ones((4, 3)), mx.ones((3, 2))],
               [[mx.ones((7, 5)), mx.ones((5, 1))]]),
    "reshape": (lambda x: x.reshape(x.shape[0] * 2, -1), [mx.ones((2, 2))], [[mx.ones((3, 4))]]),
    "flip": (lambda x: x[::-1, 1:], [mx.ones((4, 3))], [[mx.arange(10.0).reshape(2, 5)]]),
    "concatenate": (lambda x, y: mx.concatenate([x, y]), [mx.ones((4, 3)), mx.ones((2, 3))],
                    [[mx.ones((1, 5)), mx.zeros((7, 5))]]),
    "entropy": (lambda x, t: nn.losses.cross_entropy(x, t, reduction="mean"),
                [mx.ones((4, 9)), mx.array([1, 2, 3, 4])],
                [[mx.arange(10.0).reshape(2, 5), mx.array([4, 0])]]),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPELESS)
def test_shapeless(path: str, name: str) -> None:
    fun, example, others = SHAPELESS[name]
    g = through(path, fun, *example, shapeless=True)
    for args in [example, *others]:
        assert same(g(*args), fun, *args)


def test_shapeless_layers(path: str) -> None:
    layer = nn.TransformerEncoderLayer(8, 2)
    mask = nn.MultiHeadAttention.create_additive_causal_mask
    fun = lambda x: layer(x, mask(x.shape[1]))  # noqa: E731
    g = through(path, fun, mx.random.normal((2, 6, 8)), shapeless=True)
    for shape in ((3, 4, 8), (1, 1, 8)):
        assert same(g(mx.random.normal(shape, key=mx.random.key(1))), fun,
                    mx.random.normal(shape, key=mx.random.key(1)))  # fmt: skip
    with pytest.raises(ValueError, match=r"\[any, any, 8\]"):
        g(mx.ones((2, 3, 9)))


def test_what_only_python_knows_about_sizes_is_fixed(path: str) -> None:
    causal = lambda x: x + mx.array(np.triu(np.ones((x.shape[0], 3), np.float32)))  # noqa: E731
    g = through(path, causal, mx.ones((4, 3)), shapeless=True)
    assert same(g(mx.ones((4, 3))), causal, mx.ones((4, 3)))
    with pytest.raises(ValueError, match=r"there is \(float32\[4, 3\]\)"):
        g(mx.ones((2, 3)))


def test_shapeless_random_numbers(path: str) -> None:
    mx.random.seed(3)
    noisy = lambda x: x + mx.random.normal((3,))  # noqa: E731
    g = through(path, noisy, mx.zeros((2, 3)), shapeless=True)
    after = mx.random.uniform()
    mx.random.seed(3)
    assert same(g(mx.zeros((5, 3))), noisy, mx.zeros((5, 3)))
    assert mx.array_equal(after, mx.random.uniform())


def test_exporter(path: str) -> None:
    with mx.exporter(path, f) as export:
        assert isinstance(export, mx.FunctionExporter)
        export(X, Y)
        export(mx.ones(3), Y)
        export(X, y=Y)
        with pytest.raises(RuntimeError, match="twice"):
            export(X, Y)
    with pytest.raises(RuntimeError, match="closed"):
        export(Y, Y)
    g = mx.import_function(path)
    for args in ((X, Y), (mx.zeros(3), Y)):
        assert same(g(*args), f, *args)
    assert same(g(X, y=Y), f, X, Y)
    with pytest.raises(ValueError, match="there are .* and|there are"):
        g(mx.ones(4), Y)


def test_metadata(path: str) -> None:
    mx.export_function(path, f, X, Y, metadata="about it")
    g, text = mx.import_function(path, return_metadata=True)
    assert text == "about it" and same(g(X, Y), f, X, Y)
    with pytest.raises(TypeError, match="metadata must be text"):
        mx.exporter(path, f, metadata={"a": 1})  # type: ignore[arg-type]


def test_callback() -> None:
    told: list[dict] = []
    mx.export_function(told.append, f, X, Y)
    assert [t["type"] for t in told[:4]] == ["inputs", "keyword_inputs", "outputs", "constants"]
    assert told[0]["inputs"] == [("A", (2,), mx.float32), ("B", (), mx.float32)]
    assert [t["name"] for t in told[4:]] == ["Exp", "Broadcast", "Add"]


def test_files_that_hold_no_function(path: str) -> None:
    with pytest.raises(FileNotFoundError):
        mx.import_function(path)
    with pytest.raises(FileNotFoundError):
        mx.export_function("/nonexistent/f.mlxfn", f, X, Y)
    Path(path).write_bytes(b"abc" * 99)
    with pytest.raises(ValueError, match=r"\[import_function\]"):
        mx.import_function(path)
    mx.save_safetensors(path + ".safetensors", {"a": X})
    with pytest.raises(ValueError, match="holds no function"):
        mx.import_function(path + ".safetensors")


DAMAGES: list[Callable[[dict], object]] = [
    lambda t: t["nodes"][0].__setitem__(0, "Custom"),
    lambda t: t["nodes"][0].__setitem__(2, [77]),
    lambda t: (
        t["nodes"][0].__setitem__(0, "Slice") or t["nodes"][0].__setitem__(1, [[5], [1], [2]])
    ),
    lambda t: (
        t["nodes"][0].__setitem__(0, "Embed") or t["nodes"][0].__setitem__(1, [[5], [1], [3]])
    ),
    lambda t: t["nodes"][0].__setitem__(0, "Sum") or t["nodes"][0].__setitem__(1, [3]),
    lambda t: (
        t["nodes"][0].__setitem__(0, "Broadcast") or t["nodes"][0].__setitem__(1, [[9, 3], [1]])
    ),
    lambda t: t["outputs"].append(99),
    lambda t: t.pop("nodes"),
    lambda t: t["inputs"][0].__setitem__(1, "float99"),
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_graphs(path: str, damage: Callable[[dict], object]) -> None:
    mx.export_function(path, f, X, Y)
    raw = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + length])
    traces = json.loads(header["__metadata__"]["traces"])
    damage(traces[0])
    header["__metadata__"]["traces"] = json.dumps(traces)
    text = json.dumps(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])
    with pytest.raises(ValueError, match="is damaged"):
        mx.import_function(path)
