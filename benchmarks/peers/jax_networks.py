"""Training steps in JAX: the MLP, the CNN and the GPT, with hand-written optimizers."""

from functools import partial

import jax
import jax.numpy as jnp

from ..models import GPT_LAYERS

HEADS = 4


def cross_entropy(logits, targets):
    logits = logits.astype(jnp.float32)
    chosen = jnp.take_along_axis(logits, targets[:, None], -1)[:, 0]
    return (jax.nn.logsumexp(logits, -1) - chosen).mean()


def adam_state(weights):
    zeros = partial(jax.tree.map, jnp.zeros_like)
    return {"step": jnp.zeros((), jnp.int32), "m": zeros(weights), "v": zeros(weights)}


def adam_update(weights, state, gradients, rate, decay=0.0):
    """Adam with decoupled weight decay and correction of the bias."""
    step = state["step"] + 1
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["m"], gradients)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, state["v"], gradients)
    first, second = 1 - 0.9**step, jnp.sqrt(1 - 0.999**step)

    def move(w, m, v):
        change = rate * (m / first) / (jnp.sqrt(v) / second + 1e-8)
        return (w * (1 - rate * decay) - change).astype(w.dtype)

    weights = jax.tree.map(move, weights, m, v)
    return weights, {"step": step, "m": m, "v": v}


def momentum_update(weights, velocity, gradients, rate):
    velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradients)
    return jax.tree.map(lambda w, v: w - rate * v, weights, velocity), velocity


def training_step(loss_of, update, weights, state, jit):
    def step(weights, state):
        loss, gradients = jax.value_and_grad(loss_of)(weights)
        return (*update(weights, state, gradients), loss)

    step = jit(step, donate_argnums=(0, 1))
    kept = [weights, state]

    def run():
        *kept[:], loss = step(*kept)
        jax.block_until_ready(kept)
        return loss

    return run


def parameters_of(data, inputs, dtype=jnp.float32):
    return {n: jnp.asarray(v, dtype) for n, v in data.items() if n not in inputs}


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def mlp(weights, x):
    h = jax.nn.relu(linear(x, weights, "layers.0"))
    h = jax.nn.relu(linear(h, weights, "layers.1"))
    return linear(h, weights, "layers.2")


def mlp_step(data, jit):
    weights, x, y = parameters_of(data, ("x", "y")), jnp.asarray(data["x"]), jnp.asarray(data["y"])
    update = partial(adam_update, rate=1e-4)

    def loss_of(weights):
        return cross_entropy(mlp(weights, x), y)

    return training_step(loss_of, update, weights, adam_state(weights), jit)


def conv(x, kernel):
    """Of one or two dimensions; as many groups as the kernel's channels leave."""
    layout = ("NHC", "OHI", "NHC") if x.ndim == 3 else ("NHWC", "OHWI", "NHWC")
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (1,) * (x.ndim - 2),
        "SAME",
        dimension_numbers=layout,
        feature_group_count=x.shape[-1] // kernel.shape[-1],
    )


def cnn_step(data, jit):
    weights, x, y = parameters_of(data, ("x", "y")), jnp.asarray(data["x"]), jnp.asarray(data["y"])

    def loss_of(weights):
        h = x
        for i in range(3):
            h = conv(h, weights[f"convs.{i}.weight"]) + weights[f"convs.{i}.bias"]
            window = (1, 2, 2, 1)
            h = jax.lax.reduce_window(
                jax.nn.relu(h), -jnp.inf, jax.lax.max, window, window, "VALID"
            )
        return cross_entropy(linear(h.reshape(h.shape[0], -1), weights, "head"), y)

    velocity = jax.tree.map(jnp.zeros_like, weights)
    update = partial(momentum_update, rate=1e-3)
    return training_step(loss_of, update, weights, velocity, jit)


def layer_norm(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    scale = jax.lax.rsqrt((centred * centred).mean(-1, keepdims=True) + 1e-5)
    return centred * scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def attention(x, weights, block):
    batch, length, width = x.shape
    qkv = linear(x, weights, f"{block}.qkv").reshape(batch, length, 3, HEADS, width // HEADS)
    mixed = jax.nn.dot_product_attention(*(qkv[:, :, i] for i in range(3)), is_causal=True)
    return linear(mixed.reshape(x.shape), weights, f"{block}.out")


def gpt_logits(weights, tokens):
    x = weights["embed.weight"][tokens] + weights["position.weight"]
    for i in range(GPT_LAYERS):
        block = f"blocks.{i}"
        x = x + attention(layer_norm(x, weights, f"{block}.norm1"), weights, block)
        h = linear(layer_norm(x, weights, f"{block}.norm2"), weights, f"{block}.up")
        x = x + linear(jax.nn.gelu(h, approximate=True), weights, f"{block}.down")
    return layer_norm(x, weights, "norm") @ weights["embed.weight"].T


def gpt_step(data, jit, dtype=jnp.float32):
    weights = parameters_of(data, ("tokens",), dtype)
    tokens = jnp.asarray(data["tokens"])

    def loss_of(weights):
        logits = gpt_logits(weights, tokens[:, :-1])
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), tokens[:, 1:].reshape(-1))

    update = partial(adam_update, rate=1e-4, decay=0.01)
    return training_step(loss_of, update, weights, adam_state(weights), jit)


ROWS = {
    "mlp_step": mlp_step,
    "cnn_step": cnn_step,
    "gpt_step": gpt_step,
    "gpt_step_bf16": partial(gpt_step, dtype=jnp.bfloat16),
}
