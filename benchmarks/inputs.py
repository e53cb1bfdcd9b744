"""The arrays that every peer gets, from a fixed seed."""

from collections.abc import Callable

import numpy as np

from .models import Arrays, Size, cnn, gpt, hessian, llama, mlp

Maker = Callable[[np.random.Generator, Size], Arrays]


def inputs(name: str, small: bool = False) -> Arrays:
    """Named NumPy arrays for a row, or for the same program at sizes that a test can afford."""
    return MAKERS[name](np.random.default_rng(0), shrink if small else lambda n: n)


def shrink(n: int) -> int:
    """The small form of a length; equal ones stay equal."""
    if n <= 64:
        return min(n, 32)
    return n // 16 if n < 1 << 16 else n // 4096


def normals(**shapes: tuple[int, ...]) -> Maker:
    def make(random: np.random.Generator, size: Size) -> Arrays:
        return {
            name: random.standard_normal(tuple(map(size, shape)), np.float32)
            for name, shape in shapes.items()
        }

    return make


def cross_entropy(random: np.random.Generator, size: Size) -> Arrays:
    rows, classes = size(2048), size(32000)
    logits = random.standard_normal((rows, classes), np.float32)
    return {"logits": logits, "targets": random.integers(0, classes, rows, np.int32)}


def embedding(random: np.random.Generator, size: Size) -> Arrays:
    rows, count, width = size(50000), size(8192), size(512)
    table = random.standard_normal((rows, width), np.float32)
    out = random.standard_normal((count, width), np.float32)
    return {"table": table, "ids": random.integers(0, rows, count, np.int32), "out": out}


def adamw(random: np.random.Generator, size: Size) -> Arrays:
    result = {}
    for i in range(50):
        for kind in "pg":
            result[f"{kind}{i}"] = random.standard_normal((size(1000), size(1000)), np.float32)
    return result


def matvec(random: np.random.Generator, size: Size) -> Arrays:
    """A vector and eight matrices, stored [into, out]."""
    block = random.standard_normal((size(4096), size(11008)), np.float32)
    x = random.standard_normal((1, size(4096)), np.float32)
    return {"x": x, **{f"w{i}": np.roll(block, i, 0) for i in range(8)}}


def bytes_of(m: int) -> Maker:
    def make(random: np.random.Generator, size: Size) -> Arrays:
        shape = (size(m), size(m))
        return {name: random.integers(-128, 128, shape, np.int8) for name in "ab"}

    return make


def products(m: int, n: int = 0, k: int = 0) -> Maker:
    n, k = n or m, k or m
    return normals(a=(m, k), b=(k, n))


SMALL = normals(x=(16, 16), y=(16, 16))
BIG = normals(x=(1 << 24,))
ROWS_OF = normals(x=(8192, 2048), out=(8192, 2048))
HEADS = (1, 16, 2048, 64)
FACTORS = (1, 4, 16)


def sized(f: int) -> dict[str, Maker]:
    """Inputs of f times the work, for the rows that show how cost grows."""
    square = normals(a=(256 * f, 1024), b=(1024, 1024))
    heads = (1, f, 512, 64)
    return {
        "elementwise": normals(x=(f << 21,), a=(1,), b=(1,)),
        "softmax": normals(x=(1024 * f, 1024)),
        "matmul": square,
        "conv": normals(x=(2 * f, 28, 28, 64), w=(64, 3, 3, 64), out=(2 * f, 28, 28, 64)),
        "attention": normals(q=heads, k=heads, v=heads, out=heads),
        "sort": normals(x=(f << 18,)),
        "cumsum": normals(x=(f << 21,)),
        "small": normals(x=(16, 16), y=(16, 16), repeats=(60 * f,)),
    }


MAKERS: dict[str, Maker] = {
    "gelu_chain": normals(x=(1 << 24,), a=(1,), b=(1,)),
    "transposed_add": normals(x=(4096, 4096), y=(4096, 4096)),
    "softmax_rows": ROWS_OF,
    "softmax_grad": ROWS_OF,
    "layer_norm_grad": normals(x=(8192, 1024), weight=(1024,), bias=(1024,), out=(8192, 1024)),
    "rms_norm_grad": normals(x=(8192, 1024), weight=(1024,), out=(8192, 1024)),
    "cross_entropy_grad": cross_entropy,
    "matmul_f32_1024": products(1024),
    "matmul_f32_2048": products(2048),
    "matmul_f32_odd": products(1009, 997, 1013),
    "matmul_f16_2048": products(2048),
    "matmul_bf16_2048": products(2048),
    "matmul_int8_2048": bytes_of(2048),
    "matmul_512x64x64": normals(a=(512, 64, 64), b=(512, 64, 64)),
    "linear_gelu": normals(x=(1024, 1024), weight=(4096, 1024), bias=(4096,)),
    "matvec_f32": matvec,
    "matvec_bf16": matvec,
    "matvec_q4": matvec,
    "matvec_q8": matvec,
    "conv2d_grad": normals(x=(16, 56, 56, 64), w=(64, 3, 3, 64), out=(16, 56, 56, 64)),
    "depthwise_grad": normals(x=(16, 56, 56, 128), w=(128, 3, 3, 1), out=(16, 56, 56, 128)),
    "conv1d_grad": normals(x=(16, 1024, 128), w=(128, 5, 128), out=(16, 1024, 128)),
    "attention_grad": normals(q=HEADS, k=HEADS, v=HEADS, out=HEADS),
    "cnn_step": cnn,
    "mlp_step": mlp(256),
    "gpt_step": gpt,
    "gpt_step_bf16": gpt,
    "llm_decode_f32": llama(1),
    "llm_decode_batch4": llama(4, 32),
    "llm_decode_bf16": llama(1),
    "llm_decode_q4": llama(1, 16),
    "kv_update": normals(cache=(8, 8, 4096, 64), new=(8, 8, 64, 64)),
    "adamw_update": adamw,
    "small_ops": SMALL,
    "small_ops_grad": SMALL,
    "hessian": hessian,
    "per_example_grads": mlp(64),
    "cumsum": BIG,
    "sort": normals(x=(1 << 22,)),
    "topk": normals(x=(256, 32000)),
    "argmax_rows": ROWS_OF,
    "fft": normals(real=(1 << 20,), imag=(1 << 20,)),
    "random_normal": BIG,
    "embedding_grad": embedding,
}
MAKERS |= {f"{name}@{f}": make for f in FACTORS for name, make in sized(f).items()}
