"""Reductions over the rows in the kernel that reduces each row: the same bits as by themselves."""

import numpy as np
import pytest

import mlx.core as mx

SIZES = [(256, 64), (300, 65), (1000, 257), (4111, 96)]


def operands(rows, inner, dtype):
    made = np.random.default_rng(rows + inner).standard_normal((2, rows, inner))
    x, y = (mx.array(part.astype(np.float32)).astype(dtype) for part in made)
    mx.eval(x, y)
    return x, y


def kinds(f, *args):
    return [kernel.kind for kernel in mx.explain(f, *args).kernels]


def both_ways(x, y):
    """Sums of rows and of columns of what the rows were scaled by, and the scaled rows."""
    scaled = x / (1 + mx.sum(abs(x), axis=1, keepdims=True))
    return scaled, mx.sum(scaled * y, axis=0), mx.max(y, axis=0), mx.min(x * y, axis=1)


def one_by_one(x, y):
    total = mx.sum(abs(x), axis=1, keepdims=True)
    mx.eval(total)
    scaled = x / (1 + total)
    mx.eval(scaled)
    product, other = scaled * y, x * y
    mx.eval(product, other)
    return scaled, mx.sum(product, axis=0), mx.max(y, axis=0), mx.min(other, axis=1)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16, mx.float64])
@pytest.mark.parametrize(("rows", "inner"), SIZES)
def test_equals_separate_kernels(rows, inner, dtype):
    x, y = operands(rows, inner, dtype)
    found, expected = both_ways(x, y), one_by_one(x, y)
    for got, want in zip(found, expected, strict=True):
        mx.eval(got, want)
        assert mx.array_equal(got, want).item()


def test_columns_before_rows():
    x, y = operands(512, 100, mx.float32)

    def run(x, y):
        return mx.sum(x, axis=0), mx.sum(x * y, axis=1)

    assert kinds(run, x, y)[0] == "late"
    columns, rows = run(x, y)
    assert mx.array_equal(columns, mx.sum(mx.contiguous(x), axis=0)).item()
    assert mx.array_equal(rows, mx.sum(x * y, axis=1)).item()


def test_gradients_of_a_norm_are_one_kernel():
    x, y = operands(512, 128, mx.float32)
    weight, bias = mx.ones((128,)), mx.zeros((128,))
    mx.eval(weight, bias)

    def gradients(x, weight, bias, y):
        norm = lambda *primals: mx.fast.layer_norm(*primals, 1e-5)  # noqa: E731
        return mx.vjp(norm, [x, weight, bias], [y])

    assert kinds(gradients, x, weight, bias, y) == ["late", "combine", "combine"]


def test_cross_entropy_with_its_gradient_keeps_no_copy_of_the_logits():
    logits = mx.random.normal((512, 1000))
    targets = mx.random.randint(0, 1000, (512,))
    mx.eval(logits, targets)

    def loss(logits):
        picked = mx.take_along_axis(logits, targets[:, None], axis=1)[:, 0]
        return mx.mean(mx.logsumexp(logits, axis=1) - picked)

    explained = mx.explain(mx.value_and_grad(loss), logits)
    assert sum(k.bytes > logits.nbytes for k in explained.kernels) == 1


def test_views_and_transposed_operands():
    x, y = operands(320, 320, mx.float32)

    def run(x, y):
        seen = x.T + y
        return mx.sum(seen, axis=1), mx.sum(seen * y, axis=0)

    seen = x.T + y
    mx.eval(seen)
    product = seen * y
    mx.eval(product)
    rows, columns = run(x, y)
    assert mx.array_equal(rows, mx.sum(seen, axis=1)).item()
    assert mx.array_equal(columns, mx.sum(product, axis=0)).item()


def test_rows_in_several_loops():
    x, y = operands(512, 64, mx.float32)
    x, y = x.reshape(4, 128, 64), y.reshape(128, 4, 64).transpose(1, 0, 2)

    def run(x, y):
        seen = x * y
        return mx.sum(seen, axis=2), mx.sum(seen, axis=(0, 1))

    seen = mx.contiguous(x * y)
    mx.eval(seen)
    rows, columns = run(x, y)
    assert mx.array_equal(rows, mx.sum(seen, axis=2)).item()
    assert mx.array_equal(columns, mx.sum(seen, axis=(0, 1))).item()


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16, mx.float64, mx.int32])
@pytest.mark.parametrize(("rows", "inner"), [(256, 64), (389, 65), (1000, 257), (4111, 96)])
def test_rows_added_together(rows, inner, dtype):
    """A map that is stored too, and several runs of rows at once."""
    x, y = (10 * part for part in operands(rows, inner, mx.float32))
    x, y = x.astype(dtype), y.astype(dtype)
    mx.eval(x, y)

    def run(x, y):
        product = x * y
        return product, mx.sum(product, axis=0), mx.max(product, axis=0)

    assert kinds(run, x, y)[0] == "late"
    product, *sums = run(x, y)
    mx.eval(product, *sums)
    alone = mx.contiguous(x * y)
    mx.eval(alone)
    assert mx.array_equal(product, alone).item()
    wide = np.array(alone.astype(mx.float64 if dtype is mx.float64 else mx.float32))
    wide = wide.astype(np.int64) if dtype is mx.int32 else wide
    lanes = 16 if dtype is mx.float64 else 32
    total = np.zeros((lanes, inner), wide.dtype)
    for k, row in enumerate(wide):
        total[k % lanes] += row
    while len(total) > 1:
        total = total[: len(total) // 2] + total[len(total) // 2 :]
    assert mx.array_equal(sums[0], mx.array(total[0], dtype=dtype)).item()
    assert mx.array_equal(sums[1], mx.array(wide.max(0), dtype=dtype)).item()
