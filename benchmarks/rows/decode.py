"""Greedy decoding of a Llama: 8 layers, width 1024, 16 heads, 4 of keys and values."""

from functools import partial

import mlx.core as mx
import mlx.nn as nn

from ..models import LLAMA

LINEAR = ("q", "k", "v", "o", "gate", "up", "down", "head")


def dense(weight):
    return lambda x: x @ weight.T


def four_bits(weight):
    packed = mx.quantize(weight, group_size=64, bits=4)
    mx.eval(packed)
    return lambda x: mx.quantized_matmul(x, *packed, transpose=True, group_size=64, bits=4)


class Llama:
    """Weights, and one pass over new tokens with a cache of keys and values."""

    def __init__(self, data, dtype, linear):
        self.embed = mx.array(data["embed"]).astype(dtype)
        self.norm = mx.array(data["norm"]).astype(dtype)
        arrays = {n: mx.array(v) for n, v in data.items() if n not in ("embed", "norm", "prompt")}
        self.weights = {}
        for name, value in arrays.items():
            value = value.astype(dtype)
            is_linear = name.split(".")[-1] in LINEAR
            self.weights[name] = linear(value) if is_linear else value
        mx.eval(self.embed, self.norm)

    def __call__(self, tokens, cache):
        x = self.embed[tokens]
        grown = []
        for i in range(LLAMA["layers"]):
            weights = {n: self.weights[f"{i}.{n}"] for n in (*LINEAR[:-1], "norm1", "norm2")}
            mixed, entry = attention(mx.fast.rms_norm(x, weights["norm1"], 1e-5), weights, cache[i])
            x = x + mixed
            h = mx.fast.rms_norm(x, weights["norm2"], 1e-5)
            x = x + weights["down"](nn.silu(weights["gate"](h)) * weights["up"](h))
            grown.append(entry)
        last = mx.fast.rms_norm(x[:, -1:], self.norm, 1e-5)
        return mx.argmax(self.weights["head"](last), axis=-1), grown


def attention(x, weights, entry):
    size = x.shape[-1] // LLAMA["heads"]
    batch, length = x.shape[:2]
    q, k, v = (weights[n](x).reshape(batch, length, -1, size).transpose(0, 2, 1, 3) for n in "qkv")
    offset = 0 if entry is None else entry[0].shape[2]
    rope = partial(mx.fast.rope, dims=size, traditional=False, base=10000.0, scale=1.0)
    q, k = rope(q, offset=offset), rope(k, offset=offset)
    if entry is not None:
        k, v = (mx.concatenate([old, new], axis=2) for old, new in zip(entry, (k, v), strict=True))
    mask = "causal" if length > 1 else None
    mixed = mx.fast.scaled_dot_product_attention(q, k, v, scale=size**-0.5, mask=mask)
    return weights["o"](mixed.transpose(0, 2, 1, 3).reshape(x.shape)), (k, v)


def decode(data, jit, dtype=mx.float32, linear=dense):
    """Half as many tokens as the prompt has."""
    model = Llama(data, dtype, linear)
    first = mx.array(data["prompt"])
    count = first.shape[1] // 2
    start = model(first, [None] * LLAMA["layers"])
    mx.eval(start)

    def run():
        """The next token is asked for before the present one is read back."""
        token, cache = start
        read = []
        for _ in range(count):
            following, cache = model(token, cache)
            mx.async_eval(following)
            read.append(token.tolist())
            token = following
        return mx.array(read)

    return run


def kv_update(data, jit):
    """New keys written into a long cache, a position at a time, as decoding does."""
    cache, news = [mx.array(data["cache"])], mx.array(data["new"])
    news = [news[:, :, i : i + 1] for i in range(news.shape[2])]
    mx.eval(cache, news)

    def write(new, start):
        cache[0] = mx.slice_update(cache[0], new, start, axes=[2])

    write = jit(write, inputs=cache, outputs=cache)
    starts = [mx.array([64 + i]) for i in range(len(news))]

    def run():
        for new, start in zip(news, starts, strict=True):
            write(new, start)
            mx.eval(cache)
        return cache[0]

    return run


ROWS = {
    "llm_decode_f32": decode,
    "llm_decode_batch4": decode,
    "kv_update": kv_update,
    "llm_decode_bf16": partial(decode, dtype=mx.bfloat16),
    "llm_decode_q4": partial(decode, dtype=mx.bfloat16, linear=four_bits),
}
