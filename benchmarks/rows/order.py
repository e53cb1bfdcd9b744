"""Scans, sorting, FFT, random numbers, gathers and scatters."""

import mlx.core as mx


def unary(function):
    """A row that applies a function to the input `x`."""

    def make(data, jit):
        x = mx.array(data["x"])
        run = jit(function)
        return lambda: run(x)

    return make


def fft(data, jit):
    x = mx.array(data["real"] + 1j * data["imag"])
    run = jit(mx.fft.fft)
    return lambda: run(x)


def random_normal(data, jit):
    key, shape = mx.random.key(0), data["x"].shape
    run = jit(lambda key: mx.random.normal(shape, key=key))
    return lambda: run(key)


def embedding_grad(data, jit):
    table, ids, out = (mx.array(data[name]) for name in ("table", "ids", "out"))
    run = jit(lambda table, ids: mx.vjp(lambda table: table[ids], [table], [out]))
    return lambda: run(table, ids)


ROWS = {
    "cumsum": unary(lambda x: mx.cumsum(x)),
    "sort": unary(lambda x: mx.sort(x)),
    "topk": unary(lambda x: mx.sort(mx.topk(x, 50, axis=-1), axis=-1)),
    "argmax_rows": unary(lambda x: mx.argmax(x, axis=-1)),
    "fft": fft,
    "random_normal": random_normal,
    "embedding_grad": embedding_grad,
}
