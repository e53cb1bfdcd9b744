"""Inputs of the rows that train or run a network: its weights and its data."""

from collections.abc import Callable

import numpy as np

Arrays = dict[str, np.ndarray]
Size = Callable[[int], int]

CNN_CHANNELS = ((3, 32), (32, 64), (64, 128))
GPT_LAYERS, GPT_WIDTH, GPT_CONTEXT, GPT_VOCABULARY = 4, 256, 256, 8192
LLAMA = {"layers": 8, "width": 1024, "heads": 16, "kv": 4, "ffn": 2816, "vocabulary": 32000}


def linear(random: np.random.Generator, name: str, into: int, out: int) -> Arrays:
    weight = random.standard_normal((out, into), np.float32) / np.float32(into**0.5)
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(out, np.float32)}


def layers(random: np.random.Generator, *sizes: int) -> Arrays:
    result: Arrays = {}
    for i, (into, out) in enumerate(zip(sizes, sizes[1:], strict=False)):
        result |= linear(random, f"layers.{i}", into, out)
    return result


def mlp(batch: int) -> Callable[[np.random.Generator, Size], Arrays]:
    def make(random: np.random.Generator, size: Size) -> Arrays:
        x = random.standard_normal((size(batch), size(784)), np.float32)
        y = random.integers(0, 10, size(batch), np.int32)
        return {"x": x, "y": y, **layers(random, size(784), size(512), size(512), 10)}

    return make


def hessian(random: np.random.Generator, size: Size) -> Arrays:
    x = random.standard_normal(size(200), np.float32)
    return {"x": x, **layers(random, size(200), size(256), 1)}


def conv(random: np.random.Generator, name: str, into: int, out: int) -> Arrays:
    weight = random.standard_normal((out, 3, 3, into), np.float32) / np.float32(3 * into**0.5)
    return {f"{name}.weight": weight, f"{name}.bias": np.zeros(out, np.float32)}


def cnn(random: np.random.Generator, size: Size) -> Arrays:
    x = random.standard_normal((64, 32, 32, 3), np.float32)
    y = random.integers(0, 10, 64, np.int32)
    result = {"x": x, "y": y}
    for i, (into, out) in enumerate(CNN_CHANNELS):
        result |= conv(random, f"convs.{i}", size(into), size(out))
    return result | linear(random, "head", 16 * size(CNN_CHANNELS[-1][1]), 10)


def gpt(random: np.random.Generator, size: Size) -> Arrays:
    width, context, vocabulary = size(GPT_WIDTH), size(GPT_CONTEXT), size(GPT_VOCABULARY)
    result = {"tokens": random.integers(0, vocabulary, (8, context + 1), np.int32)}
    for name, rows in (("embed", vocabulary), ("position", context)):
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


def llama(batch: int, prompt: int = 128) -> Callable[[np.random.Generator, Size], Arrays]:
    def make(random: np.random.Generator, size: Size) -> Arrays:
        width, vocabulary = size(LLAMA["width"]), size(LLAMA["vocabulary"])
        ffn = width * LLAMA["ffn"] // LLAMA["width"] // 64 * 64  # whole groups of 4-bit weights
        kv = width * LLAMA["kv"] // LLAMA["heads"]
        sizes = {"q": (width, width), "k": (width, kv), "v": (width, kv), "o": (width, width)}
        sizes |= {"gate": (width, ffn), "up": (width, ffn), "down": (ffn, width)}
        result = {
            "prompt": random.integers(0, vocabulary, (batch, size(prompt)), np.int32),
            "embed": random.standard_normal((vocabulary, width), np.float32),
            "norm": np.ones(width, np.float32),
            "head": linear(random, "", width, vocabulary)[".weight"],
        }
        for i in range(LLAMA["layers"]):
            result |= {f"{i}.norm1": np.ones(width, "f4"), f"{i}.norm2": np.ones(width, "f4")}
            result |= {f"{i}.{n}": linear(random, "", *s)[".weight"] for n, s in sizes.items()}
        return result

    return make
