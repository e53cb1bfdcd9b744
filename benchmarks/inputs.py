"""The arrays that every peer gets, from a fixed seed."""

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]


def inputs(name: str) -> Arrays:
    """Named NumPy arrays for a row."""
    return MAKERS[name](np.random.default_rng(0))


def normals(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], Arrays]:
    def make(random: np.random.Generator) -> Arrays:
        return {k: random.standard_normal(s, np.float32) for k, s in shapes.items()}

    return make


def cross_entropy(random: np.random.Generator) -> Arrays:
    logits = random.standard_normal((2048, 32000), np.float32)
    return {"logits": logits, "targets": random.integers(0, 32000, 2048, np.int32)}


def embedding(random: np.random.Generator) -> Arrays:
    table = random.standard_normal((50000, 512), np.float32)
    out = random.standard_normal((8192, 512), np.float32)
    return {"table": table, "ids": random.integers(0, 50000, 8192, np.int32), "out": out}


def linear(random: np.random.Generator, name: str, into: int, out: int) -> Arrays:
    weight = random.standard_normal((out, into), np.float32) / np.float32(into**0.5)
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(out, np.float32)}


def layers(random: np.random.Generator, *sizes: int) -> Arrays:
    result: Arrays = {}
    for i, (into, out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        result |= linear(random, f"layers.{i}", into, out)
    return result


def mlp(batch: int) -> Callable[[np.random.Generator], Arrays]:
    def make(random: np.random.Generator) -> Arrays:
        x = random.standard_normal((batch, 784), np.float32)
        y = random.integers(0, 10, batch, np.int32)
        return {"x": x, "y": y, **layers(random, 784, 512, 512, 10)}

    return make


def hessian(random: np.random.Generator) -> Arrays:
    return {"x": random.standard_normal(200, np.float32), **layers(random, 200, 256, 1)}


def conv(random: np.random.Generator, name: str, into: int, out: int) -> Arrays:
    weight = random.standard_normal((out, 3, 3, into), np.float32) / np.float32(3 * into**0.5)
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(out, np.float32)}


def cnn(random: np.random.Generator) -> Arrays:
    x = random.standard_normal((64, 32, 32, 3), np.float32)
    y = random.integers(0, 10, 64, np.int32)
    convs = [conv(random, f"convs.{i}", a, b) for i, (a, b) in enumerate(CNN_CHANNELS)]
    return {"x": x, "y": y, **convs[0], **convs[1], **convs[2], **linear(random, "head", 2048, 10)}


CNN_CHANNELS = ((3, 32), (32, 64), (64, 128))
GPT_LAYERS, GPT_WIDTH, GPT_CONTEXT, GPT_VOCABULARY = 4, 256, 256, 8192


def gpt(random: np.random.Generator) -> Arrays:
    width = GPT_WIDTH
    tokens = random.integers(0, GPT_VOCABULARY, (8, GPT_CONTEXT + 1), np.int32)
    result = {"tokens": tokens}
    for name, rows in (("embed", GPT_VOCABULARY), ("position", GPT_CONTEXT)):
        table = random.standard_normal((rows, width), np.float32)
        result[f"{name}.weight"] = table * np.float32(0.02)
    for i in range(GPT_LAYERS):
        block = f"blocks.{i}"
        for norm in ("norm1", "norm2"):
            result |= norm_weights(f"{block}.{norm}", width)
        sizes = {"qkv": (1, 3), "out": (1, 1), "up": (1, 4), "down": (4, 1)}
        for name, (into, out) in sizes.items():
            result |= linear(random, f"{block}.{name}", into * width, out * width)
    return result | norm_weights("norm", width)


def norm_weights(name: str, width: int) -> Arrays:
    return {f"{name}.weight": np.ones(width, np.float32), f"{name}.bias": np.zeros(width, "f4")}


LLAMA = {"layers": 8, "width": 1024, "heads": 16, "kv": 4, "ffn": 2816, "vocabulary": 32000}


def llama(random: np.random.Generator) -> Arrays:
    width, ffn, kv = LLAMA["width"], LLAMA["ffn"], LLAMA["width"] // 4
    sizes = {"q": (width, width), "k": (width, kv), "v": (width, kv), "o": (width, width)}
    sizes |= {"gate": (width, ffn), "up": (width, ffn), "down": (ffn, width)}
    result = {
        "prompt": random.integers(0, LLAMA["vocabulary"], 128, np.int32),
        "embed": random.standard_normal((LLAMA["vocabulary"], width), np.float32),
        "norm": np.ones(width, np.float32),
        "head": linear(random, "", width, LLAMA["vocabulary"])[".weight"],
    }
    for i in range(LLAMA["layers"]):
        result |= {f"{i}.norm1": np.ones(width, "f4"), f"{i}.norm2": np.ones(width, "f4")}
        result |= {f"{i}.{n}": linear(random, "", *s)[".weight"] for n, s in sizes.items()}
    return result


def adamw(random: np.random.Generator) -> Arrays:
    result = {}
    for i in range(50):
        result[f"p{i}"] = random.standard_normal((1000, 1000), np.float32)
        result[f"g{i}"] = random.standard_normal((1000, 1000), np.float32)
    return result


def products(n: int) -> Callable[[np.random.Generator], Arrays]:
    return normals(a=(n, n), b=(n, n))


def matvec(random: np.random.Generator) -> Arrays:
    block = random.standard_normal((4096, 11008), np.float32)
    x = random.standard_normal((1, 4096), np.float32)
    return {"x": x, **{f"w{i}": np.roll(block, i, 0) for i in range(8)}}


SMALL = normals(x=(16, 16), y=(16, 16))
BIG = normals(x=(1 << 24,))
ROWS_OF = normals(x=(8192, 2048), out=(8192, 2048))

MAKERS: dict[str, Callable[[np.random.Generator], Arrays]] = {
    "gelu_chain": normals(x=(1 << 24,), a=(1,), b=(1,)),
    "softmax_rows": ROWS_OF,
    "softmax_grad": ROWS_OF,
    "layer_norm_grad": normals(x=(8192, 1024), weight=(1024,), bias=(1024,), out=(8192, 1024)),
    "cross_entropy_grad": cross_entropy,
    "matmul_f32_1024": products(1024),
    "matmul_f32_2048": products(2048),
    "matmul_bf16_2048": products(2048),
    "matmul_512x64x64": normals(a=(512, 64, 64), b=(512, 64, 64)),
    "matvec_bf16": matvec,
    "conv2d_grad": normals(x=(16, 56, 56, 64), w=(64, 3, 3, 64), out=(16, 56, 56, 64)),
    "cnn_step": cnn,
    "mlp_step": mlp(256),
    "gpt_step": gpt,
    "gpt_step_bf16": gpt,
    "llm_decode_f32": llama,
    "llm_decode_bf16": llama,
    "llm_decode_q4": llama,
    "adamw_update": adamw,
    "small_ops": SMALL,
    "small_ops_grad": SMALL,
    "hessian": hessian,
    "per_example_grads": mlp(64),
    "cumsum": BIG,
    "sort": normals(x=(1 << 22,)),
    "argmax_rows": ROWS_OF,
    "fft": normals(real=(1 << 20,), imag=(1 << 20,)),
    "random_normal": normals(x=(1,)),
    "embedding_grad": embedding,
}
