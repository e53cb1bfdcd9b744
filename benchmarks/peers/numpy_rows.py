"""The rows for which NumPy has something to compare."""

from collections.abc import Callable

import numpy as np


def warm() -> None:
    np.ones((256, 256), np.float32) @ np.ones((256, 256), np.float32)


def finish(outputs: object) -> None:
    """NumPy has computed already."""


def arrays(outputs: object) -> list[np.ndarray]:
    return list(outputs) if isinstance(outputs, tuple | list) else [outputs]


def compiler(variant: str) -> Callable:
    return lambda function: function


def settle() -> None:
    """NumPy keeps no freed memory of its own."""


def gelu_chain(data, jit):
    x, a, b = (data[name] for name in "xab")

    def run():
        y = x * a + b
        return 0.5 * y * (1 + np.tanh(0.7978845608 * (y + 0.044715 * y**3))) + x

    return run


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def softmax_grad(data, jit):
    x, out = data["x"], data["out"]

    def run():
        y = softmax(x)
        return y, y * (out - (y * out).sum(-1, keepdims=True))

    return run


def matmul(data, jit):
    a, b = data["a"], data["b"]
    return lambda: a @ b


def matvec(data, jit):
    return lambda: [data["x"] @ data[f"w{i}"] for i in range(8)]


def kv_update(data, jit):
    cache, new = data["cache"], data["new"]

    def run():
        for i in range(new.shape[2]):
            cache[:, :, 64 + i] = new[:, :, i]
        return cache

    return run


def topk(x):
    return np.sort(np.partition(x, -50, -1)[:, -50:], -1)


def fft(data, jit):
    x = (data["real"] + 1j * data["imag"]).astype(np.complex64)
    return lambda: np.fft.fft(x)


def random_normal(data, jit):
    return lambda: np.random.default_rng(0).standard_normal(data["x"].size, np.float32)


def small_ops(data, jit):
    def run():
        x, y = data["x"], data["y"]
        for _ in range(250):
            x = np.tanh(x * np.float32(0.1) + y) @ y
        return x

    return run


def unary(function):
    return lambda data, jit: lambda: function(data["x"])


ROWS = {
    "gelu_chain": gelu_chain,
    "transposed_add": lambda data, jit: lambda: data["x"].T * np.float32(0.3) + data["y"],
    "softmax_rows": unary(softmax),
    "softmax_grad": softmax_grad,
    "matmul_f32_1024": matmul,
    "matmul_f32_2048": matmul,
    "matmul_512x64x64": matmul,
    "matmul_f32_odd": matmul,
    "matvec_f32": matvec,
    "kv_update": kv_update,
    "small_ops": small_ops,
    "cumsum": unary(np.cumsum),
    "sort": unary(np.sort),
    "topk": unary(topk),
    "argmax_rows": unary(lambda x: x.argmax(-1)),
    "fft": fft,
    "random_normal": random_normal,
}
