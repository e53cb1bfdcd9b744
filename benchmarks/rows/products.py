"""Matrix products and convolutions."""

import mlx.core as mx


def matmul(data, jit, dtype=mx.float32):
    a, b = (mx.array(data[name]).astype(dtype) for name in "ab")
    mx.eval(a, b)
    product = jit(mx.matmul)
    return lambda: product(a, b)


def matmul_bf16(data, jit):
    return matmul(data, jit, mx.bfloat16)


def matvec_bf16(data, jit):
    x = mx.array(data["x"]).astype(mx.bfloat16)
    weights = [mx.array(data[f"w{i}"]).astype(mx.bfloat16) for i in range(8)]
    mx.eval(x, weights)
    product = jit(mx.matmul)

    def run():
        outputs = []
        for weight in weights:
            outputs.append(product(x, weight))
            mx.eval(outputs[-1])
        return outputs

    return run


def conv2d_grad(data, jit):
    x, w, out = (mx.array(data[name]) for name in ("x", "w", "out"))
    both = jit(lambda x, w: mx.vjp(lambda x, w: mx.conv2d(x, w, padding=1), [x, w], [out]))
    return lambda: both(x, w)


ROWS = {
    "matmul_f32_1024": matmul,
    "matmul_f32_2048": matmul,
    "matmul_bf16_2048": matmul_bf16,
    "matmul_512x64x64": matmul,
    "matvec_bf16": matvec_bf16,
    "conv2d_grad": conv2d_grad,
}
