"""The rows in JAX, jitted."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import jax_decode, jax_networks

HALVES = (jnp.bfloat16, jnp.float16)


def warm() -> None:
    finish(jnp.ones((256, 256)) @ jnp.ones((256, 256)))


def finish(outputs: object) -> None:
    jax.block_until_ready(outputs)


def arrays(outputs: object) -> list[np.ndarray]:
    values = map(jnp.asarray, jax.tree.leaves(outputs))
    return [np.asarray(v.astype(jnp.float32) if v.dtype in HALVES else v) for v in values]


def compiler(variant: str) -> Callable:
    return jax.jit


def named(data, *names):
    return [jnp.asarray(data[name]) for name in names]


def unary(function):
    def make(data, jit):
        (x,) = named(data, "x")
        run = jit(function)
        return lambda: run(x)

    return make


def settle() -> None:
    """JAX keeps no freed memory of its own on the CPU."""


def gelu_chain(data, jit):
    x, a, b = named(data, *"xab")
    chain = jit(lambda x, a, b: jax.nn.gelu(x * a + b, approximate=True) + x)
    return lambda: chain(x, a, b)


def with_gradient(function, jit, inputs, out):
    def both(inputs, out):
        value, pullback = jax.vjp(function, *inputs)
        return value, pullback(out)

    both = jit(both)
    return lambda: both(inputs, out)


def transposed_add(data, jit):
    x, y = named(data, "x", "y")
    run = jit(lambda x, y: x.T * 0.3 + y)
    return lambda: run(x, y)


def softmax_grad(data, jit):
    x, out = named(data, "x", "out")
    return with_gradient(jax.nn.softmax, jit, [x], out)


def layer_norm_grad(data, jit):
    x, weight, bias, out = named(data, "x", "weight", "bias", "out")

    def norm(x, weight, bias):
        centred = x - x.mean(-1, keepdims=True)
        scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
        return centred * scale * weight + bias

    return with_gradient(norm, jit, [x, weight, bias], out)


def rms_norm_grad(data, jit):
    x, weight, out = named(data, "x", "weight", "out")
    return with_gradient(jax_decode.rms_norm, jit, [x, weight], out)


def cross_entropy_grad(data, jit):
    logits, targets = named(data, "logits", "targets")
    run = jit(jax.value_and_grad(jax_networks.cross_entropy))
    return lambda: run(logits, targets)


def matmul(data, jit, dtype=jnp.float32):
    a, b = (v.astype(dtype) for v in named(data, "a", "b"))
    product = jit(jnp.matmul)
    return lambda: product(a, b)


def matmul_int8(data, jit):
    a, b = named(data, "a", "b")
    product = jit(partial(jnp.matmul, preferred_element_type=jnp.int32))
    return lambda: product(a, b)


def linear_gelu(data, jit):
    x, weight, bias = named(data, "x", "weight", "bias")
    layer = jit(lambda x, w, b: jax.nn.gelu(x @ w.T + b, approximate=True))
    return lambda: layer(x, weight, bias)


def matvec(data, jit, dtype=jnp.float32):
    (x,) = (v.astype(dtype) for v in named(data, "x"))
    weights = [v.astype(dtype) for v in named(data, *(f"w{i}" for i in range(8)))]
    product = jit(jnp.matmul)
    return lambda: [jax.block_until_ready(product(x, weight)) for weight in weights]


def conv2d_grad(data, jit):
    x, w, out = named(data, "x", "w", "out")
    return with_gradient(jax_networks.conv, jit, [x, w], out)


def attention_grad(data, jit):
    def attention(*operands):
        """JAX wants heads third; XLA wants them second again and drops the transpositions."""
        turned = (x.transpose(0, 2, 1, 3) for x in operands)
        return jax.nn.dot_product_attention(*turned, is_causal=True).transpose(0, 2, 1, 3)

    q, k, v, out = named(data, "q", "k", "v", "out")
    return with_gradient(attention, jit, [q, k, v], out)


def adamw_update(data, jit):
    weights = named(data, *(f"p{i}" for i in range(50)))
    gradients = named(data, *(f"g{i}" for i in range(50)))
    update = jit(partial(jax_networks.adam_update, rate=1e-3, decay=0.01), donate_argnums=(0, 1))
    state = [weights, jax_networks.adam_state(weights)]

    def run():
        state[:] = update(*state, gradients)
        return state[0]

    return run


def chain(x, y):
    for _ in range(250):
        x = jnp.tanh(x * 0.1 + y) @ y
    return x


def small(function):
    def make(data, jit):
        x, y = named(data, "x", "y")
        run = jit(function)
        return lambda: run(x, y)

    return make


def parameters(data):
    return {name: jnp.asarray(v) for name, v in data.items() if name.startswith("layers")}


def hessian(data, jit):
    (x,) = named(data, "x")
    weights = parameters(data)

    def scalar(x):
        hidden = jnp.tanh(weights["layers.0.weight"] @ x + weights["layers.0.bias"])
        return (weights["layers.1.weight"] @ hidden + weights["layers.1.bias"])[0]

    run = jit(jax.jacfwd(jax.jacrev(scalar)))
    return lambda: run(x)


def per_example_grads(data, jit):
    x, y = named(data, "x", "y")
    weights = parameters(data)

    def loss(weights, x, y):
        return jax_networks.cross_entropy(jax_networks.mlp(weights, x[None]), y[None])

    run = jit(jax.vmap(jax.grad(loss), in_axes=(None, 0, 0)))
    return lambda: run(weights, x, y)


def fft(data, jit):
    x = jnp.asarray(data["real"] + 1j * data["imag"])
    run = jit(jnp.fft.fft)
    return lambda: run(x)


def random_normal(data, jit):
    key, shape = jax.random.key(0), data["x"].shape
    run = jit(lambda key: jax.random.normal(key, shape))
    return lambda: run(key)


def embedding_grad(data, jit):
    table, ids, out = named(data, "table", "ids", "out")
    return with_gradient(lambda table: table[ids], jit, [table], out)


ROWS = {
    "gelu_chain": gelu_chain,
    "transposed_add": transposed_add,
    "softmax_rows": unary(partial(jax.nn.softmax, axis=-1)),
    "softmax_grad": softmax_grad,
    "layer_norm_grad": layer_norm_grad,
    "rms_norm_grad": rms_norm_grad,
    "cross_entropy_grad": cross_entropy_grad,
    "matmul_f32_1024": matmul,
    "matmul_f32_2048": matmul,
    "matmul_f32_odd": matmul,
    "matmul_f16_2048": partial(matmul, dtype=jnp.float16),
    "matmul_bf16_2048": partial(matmul, dtype=jnp.bfloat16),
    "matmul_int8_2048": matmul_int8,
    "matmul_512x64x64": matmul,
    "linear_gelu": linear_gelu,
    "matvec_f32": matvec,
    "matvec_bf16": partial(matvec, dtype=jnp.bfloat16),
    "conv2d_grad": conv2d_grad,
    "depthwise_grad": conv2d_grad,
    "conv1d_grad": conv2d_grad,
    "attention_grad": attention_grad,
    "adamw_update": adamw_update,
    "small_ops": small(chain),
    "small_ops_grad": small(jax.value_and_grad(lambda x, y: chain(x, y).sum())),
    "hessian": hessian,
    "per_example_grads": per_example_grads,
    "cumsum": unary(jnp.cumsum),
    "sort": unary(jnp.sort),
    "topk": unary(lambda x: jnp.sort(jax.lax.top_k(x, 50)[0])),
    "argmax_rows": unary(partial(jnp.argmax, axis=-1)),
    "fft": fft,
    "random_normal": random_normal,
    "embedding_grad": embedding_grad,
    **jax_networks.ROWS,
    **jax_decode.ROWS,
}
