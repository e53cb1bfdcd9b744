"""Half precision: computed in float32 inside, rounded once at the end."""

import mlx.core as mx


def _is_half(x: mx.array) -> bool:
    return isinstance(x, mx.array) and x.dtype in (mx.float16, mx.bfloat16)


def widen(x: mx.array) -> mx.array:
    """Return a half precision array as float32, any other as it is."""
    return x.astype(mx.float32) if _is_half(x) else x


def narrow(y: mx.array, like: mx.array) -> mx.array:
    """Return `y` in the dtype of `like` if that is half precision."""
    return y.astype(like.dtype) if _is_half(like) else y


def narrow_all(y: mx.array, *of: mx.array | None) -> mx.array:
    """Return `y`, computed of arrays, in their common dtype if that is half precision."""
    dtype = mx.result_type(*[x for x in of if x is not None])
    return y.astype(dtype) if dtype in (mx.float16, mx.bfloat16) else y
