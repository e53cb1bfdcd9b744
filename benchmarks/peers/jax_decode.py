"""Greedy decoding of the Llama in JAX, with a cache of fixed length."""

from functools import partial

import jax
import jax.numpy as jnp

from ..models import LLAMA

SIZE = LLAMA["width"] // LLAMA["heads"]


def rms_norm(x, weight):
    wide = x.astype(jnp.float32)
    scale = jax.lax.rsqrt((wide * wide).mean(-1, keepdims=True) + 1e-5)
    return (wide * scale).astype(x.dtype) * weight


def rotate(x, positions):
    """x [batch, length, heads, size] by angles that grow with the position."""
    powers = 10000.0 ** (-jnp.arange(0, SIZE, 2) / SIZE)
    angles = positions[:, None, None] * powers
    cos, sin = jnp.cos(angles).astype(x.dtype), jnp.sin(angles).astype(x.dtype)
    a, b = jnp.split(x, 2, -1)
    return jnp.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


def attention(h, weights, i, keys, values, positions):
    q, k, v = (
        (h @ weights[f"{i}.{name}"].T).reshape(*h.shape[:2], -1, SIZE) for name in ("q", "k", "v")
    )
    start = (0, positions[0], 0, 0)
    keys = jax.lax.dynamic_update_slice(keys, rotate(k, positions), start)
    values = jax.lax.dynamic_update_slice(values, v, start)
    seen = jnp.arange(keys.shape[1]) <= positions[:, None]
    q = rotate(q, positions)
    mixed = jax.nn.dot_product_attention(q, keys, values, mask=seen[None, None])
    return mixed.reshape(h.shape) @ weights[f"{i}.o"].T, keys, values


def forward(weights, cache, tokens, start):
    """The next token and the grown cache, for tokens that begin at a position."""
    positions = start + jnp.arange(tokens.shape[1])
    x = weights["embed"][tokens]
    grown = []
    for i, (keys, values) in enumerate(cache):
        h = rms_norm(x, weights[f"{i}.norm1"])
        mixed, keys, values = attention(h, weights, i, keys, values, positions)
        grown.append((keys, values))
        x = x + mixed
        h = rms_norm(x, weights[f"{i}.norm2"])
        gate = jax.nn.silu(h @ weights[f"{i}.gate"].T)
        x = x + (gate * (h @ weights[f"{i}.up"].T)) @ weights[f"{i}.down"].T
    last = rms_norm(x[:, -1:], weights["norm"])
    return jnp.argmax(last @ weights["head"].T, -1), grown


def decode(data, jit, dtype=jnp.float32):
    weights = {n: jnp.asarray(v, dtype) for n, v in data.items() if n != "prompt"}
    batch, length = data["prompt"].shape
    shape = (batch, length + length // 2 + 1, LLAMA["kv"], SIZE)
    cache = [(jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)) for _ in range(LLAMA["layers"])]
    step = jit(forward)
    first = step(weights, cache, jnp.asarray(data["prompt"]), 0)

    def run():
        token, cache = first
        read = []
        for i in range(length // 2):
            following, cache = step(weights, cache, token, length + i)
            read.append(token.tolist())
            token = following
        return jnp.asarray(read)

    return run


def kv_update(data, jit):
    cache, news = [jnp.asarray(data["cache"])], jnp.asarray(data["new"])
    news = [news[:, :, i : i + 1] for i in range(news.shape[2])]
    starts = [jnp.asarray(64 + i) for i in range(len(news))]

    def write(cache, new, start):
        return jax.lax.dynamic_update_slice_in_dim(cache, new, start, 2)

    write = jit(write, donate_argnums=0)

    def run():
        for new, start in zip(news, starts, strict=True):
            cache[0] = jax.block_until_ready(write(cache[0], new, start))
        return cache[0]

    return run


ROWS = {
    "llm_decode_f32": decode,
    "llm_decode_batch4": decode,
    "llm_decode_bf16": partial(decode, dtype=jnp.bfloat16),
    "kv_update": kv_update,
}
