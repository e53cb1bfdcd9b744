"""Chains of float16 and bfloat16: steps side by side, what is left of a row, and rounding."""

import numpy as np
import pytest

import mlx.core as mx

HALVES = [mx.float16, mx.bfloat16]


def chain(a, b, c):
    return ((a * b + c) * a - b) / c + a * a * a


def numbers(rng, shape, dtype):
    """Any bits but those of NaN, whose payloads are not promised."""
    bits = mx.array(rng.integers(0, 65536, shape, dtype=np.uint16)).view(dtype)
    return mx.where(mx.isnan(bits), mx.array(-0.0, dtype), bits)


def same(a, b):
    a, b = (np.array(v.astype(mx.float32)) for v in (a, b))
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(np.signbit(a)[~np.isnan(a)], np.signbit(b)[~np.isnan(b)])


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("shape", [(1,), (127,), (128,), (1000,), (5, 96), (3, 161), (70000,)])
def test_chain_is_its_operations_one_by_one(dtype, shape):
    rng = np.random.default_rng(3)
    a, b = numbers(rng, shape, dtype), numbers(rng, shape, dtype)
    c = numbers(rng, shape[-1:], dtype)

    def one_by_one():
        product = a * b
        mx.eval(product)
        total = product + c
        mx.eval(total)
        total = total * a
        mx.eval(total)
        total = total - b
        mx.eval(total)
        total = total / c
        square = a * a
        mx.eval(total, square)
        cube = square * a
        mx.eval(cube)
        return total + cube

    same(mx.compile(chain)(a, b, c), one_by_one())


@pytest.mark.parametrize("dtype", HALVES)
def test_operand_may_be_result(dtype):
    a = mx.arange(1000).astype(dtype) / 7
    mx.eval(a)
    expected = mx.array(a) * 2 + 1 - mx.array(a)
    a = a * 2 + 1 - a
    same(a, expected)


def test_bfloat16_products_round_to_nearest_even():
    bits = np.arange(65536, dtype=np.uint16)
    left = mx.array(bits).view(mx.bfloat16)
    wide = (bits.astype(np.uint32) << 16).view(np.float32)
    for factor in (1.0, 1.0078125, -3.015625, 2.0**-100, 2.0**100):
        with np.errstate(all="ignore"):
            exact = (wide * np.float32(factor)).view(np.uint32)
        odd = (exact >> 16) & 1
        nearest = ((exact.astype(np.uint64) + 0x7FFF + odd) >> 16).astype(np.uint16)
        found = np.array((left * mx.array(factor, mx.bfloat16)).view(mx.uint16))
        nan = (bits & 0x7FFF) > 0x7F80
        np.testing.assert_array_equal(found[~nan], nearest[~nan])
        assert ((found[nan] & 0x7FFF) > 0x7F80).all()
