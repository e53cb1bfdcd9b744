"""Text from the model, a byte at a time."""

import numpy as np

import mlx.core as mx

from .model import GPT


def generate(
    model: GPT, prompt: bytes, count: int, context: int, seed: int, temperature: float
) -> bytes:
    """The prompt and `count` more bytes.

    The window always has the same shape: what stands behind the last byte can't be seen by it,
    so that zeros will do there.
    """
    text = bytearray(prompt or b"\n")
    keys = mx.random.split(mx.random.key(seed), max(count, 1))
    for key in keys[:count]:
        seen = text[-context:]
        window = np.frombuffer(seen.ljust(context, b"\0"), np.uint8)[None]
        logits = model(mx.array(window))[0, len(seen) - 1]
        if temperature > 0:
            choice = mx.random.categorical(logits / temperature, key=key)
        else:
            choice = mx.argmax(logits)
        text.append(choice.item())
    return bytes(text)


def printable(text: bytes) -> str:
    """Text that is safe on a terminal: no control characters but line ends and tabs."""
    decoded = text.decode("utf-8", errors="replace")
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in decoded)
