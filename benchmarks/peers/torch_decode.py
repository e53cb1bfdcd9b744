"""Greedy decoding of the Llama in PyTorch, with a cache of fixed length."""

from functools import partial

import torch
from torch.nn import functional as F

from ..models import LLAMA

SIZE = LLAMA["width"] // LLAMA["heads"]


def rotate(x, cos, sin):
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Llama:
    """Weights, a cache, and one pass over new tokens at given positions."""

    def __init__(self, data, dtype):
        self.weights = {n: torch.from_numpy(v).to(dtype) for n, v in data.items() if n != "prompt"}
        batch, length = data["prompt"].shape
        shape = (LLAMA["layers"], 2, batch, LLAMA["kv"], length + length // 2 + 1, SIZE)
        self.cache = torch.zeros(shape, dtype=dtype)
        powers = 10000.0 ** (-torch.arange(0, SIZE, 2) / SIZE)
        angles = torch.arange(shape[-2])[:, None] * powers
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)

    def __call__(self, tokens, at):
        weights = self.weights
        x = weights["embed"][tokens]
        future = torch.arange(self.cache.shape[-2]) <= at[:, None]
        for i in range(LLAMA["layers"]):
            h = F.rms_norm(x, x.shape[-1:], weights[f"{i}.norm1"], 1e-5)
            x = x + self.attention(h, i, at, future)
            h = F.rms_norm(x, x.shape[-1:], weights[f"{i}.norm2"], 1e-5)
            gate = F.silu(h @ weights[f"{i}.gate"].T)
            x = x + (gate * (h @ weights[f"{i}.up"].T)) @ weights[f"{i}.down"].T
        last = F.rms_norm(x[:, -1:], x.shape[-1:], weights["norm"], 1e-5)
        return (last @ weights["head"].T).argmax(-1)

    def attention(self, h, i, at, future):
        q, k, v = (
            (h @ self.weights[f"{i}.{n}"].T).view(*h.shape[:2], -1, SIZE).transpose(1, 2)
            for n in "qkv"
        )
        cos, sin = self.cos[at], self.sin[at]
        keys, values = self.cache[i]
        keys[:, :, at] = rotate(k, cos, sin)
        values[:, :, at] = v
        q = rotate(q, cos, sin)
        mixed = F.scaled_dot_product_attention(q, keys, values, attn_mask=future, enable_gqa=True)
        return mixed.transpose(1, 2).reshape(h.shape) @ self.weights[f"{i}.o"].T


@torch.inference_mode()
def decode(data, jit, dtype=torch.float32):
    model = Llama(data, dtype)
    prompt = torch.from_numpy(data["prompt"]).long()
    length = prompt.shape[1]
    first = model(prompt, torch.arange(length))
    step = jit(model.__call__)

    @torch.inference_mode()
    def run():
        token, read = first, []
        for i in range(length // 2):
            read.append(token.tolist())
            token = step(token, torch.tensor([length + i]))
        return torch.tensor(read)

    return run


@torch.inference_mode()
def kv_update(data, jit):
    cache, news = torch.from_numpy(data["cache"]), torch.from_numpy(data["new"])
    news = [news[:, :, i : i + 1] for i in range(news.shape[2])]
    starts = [torch.tensor([64 + i]) for i in range(len(news))]

    @torch.inference_mode()
    def write(cache, new, start):
        cache.index_copy_(2, start, new)

    write = jit(write)

    def run():
        for new, start in zip(news, starts, strict=True):
            write(cache, new, start)
        return cache

    return run


ROWS = {
    "llm_decode_f32": decode,
    "llm_decode_batch4": decode,
    "llm_decode_bf16": partial(decode, dtype=torch.bfloat16),
    "kv_update": kv_update,
}
