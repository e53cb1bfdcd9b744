"""At most 2 ulp over the whole range, and the right values at special arguments."""

from __future__ import annotations

import numpy as np
import pytest
from mpmath import mp

from mlx.backend.llvm.elementary import COMPLEX, TABLE
from tests.elementary.accuracy import DOMAIN, UNARY, exact, points, ulps, worst
from tests.elementary.evaluate import apply

DTYPES = [np.float32, np.float64]
INF, NAN = np.inf, np.nan
LIMIT = 2.0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", UNARY)
def test_error_is_at_most_two_ulp(name: str, dtype: type) -> None:
    x = points(dtype, 300)
    low, high = DOMAIN.get(name, (-INF, INF))
    x = x[(x >= low) & (x <= high)]
    if name in DOMAIN and high == 1:
        x = np.concatenate([x, np.linspace(-1, 1, 400)[1:-1].astype(dtype)])
    x = x[~((x == low) | (x == high))]
    (y,) = apply(TABLE[name], x)
    error, where = worst(y, UNARY[name], x)
    assert error <= LIMIT, (error, where)


# Where `python -m benchmarks.accuracy` found the largest error of each function in float32.
WORST = {
    "exp": "-0x1.76ffac0000000p+2",
    "expm1": "0x1.0feb1c0000000p+4",
    "log": "0x1.922fbe0000000p+0",
    "log2": "0x1.69e6ca0000000p+0",
    "log10": "0x1.55263c0000000p+0",
    "log1p": "0x1.a8a0c60000000p-2",
    "sigmoid": "-0x1.8f36760000000p+2",
    "sin": "0x1.61c1e00000000p+11",
    "cos": "0x1.391c9c0000000p+10",
    "tan": "0x1.b3736c0000000p+119",
    "arcsin": "0x1.006c2e0000000p-1",
    "arccos": "0x1.368c480000000p-1",
    "arctan": "0x1.d624060000000p-2",
    "sinh": "0x1.6e25d60000000p+0",
    "cosh": "0x1.227dc80000000p+2",
    "tanh": "0x1.137d3e0000000p+2",
    "arcsinh": "0x1.1e5dae0000000p+0",
    "arccosh": "0x1.07f6f80000000p+0",
    "arctanh": "0x1.c083d00000000p-3",
    "erf": "0x1.8295e60000000p-3",
    "erfinv": "0x1.ac8b9a0000000p-1",
    "sqrt": "0x1.fffffe0000000p-125",
    "rsqrt": "0x1.0195660000000p-126",
}


@pytest.mark.parametrize("name", WORST)
def test_error_at_the_worst_float(name: str) -> None:
    x = np.array([float.fromhex(WORST[name])], np.float32)
    error, where = worst(apply(TABLE[name], x)[0], UNARY[name], x)
    assert error <= LIMIT, (error, where)


SPECIAL = {
    "exp": [(0.0, 1), (-0.0, 1), (INF, INF), (-INF, 0.0), (1e30, INF), (-1e30, 0.0)],
    "exp2": [(0.0, 1), (3.0, 8), (-2.0, 0.25), (INF, INF), (-INF, 0.0)],
    "expm1": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -1), (1e30, INF), (-1e30, -1)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (-INF, NAN), (-1.0, NAN)],
    "log2": [(0.0, -INF), (1.0, 0.0), (8.0, 3), (0.125, -3), (INF, INF), (-1.0, NAN)],
    "log10": [(0.0, -INF), (1.0, 0.0), (1000.0, 3), (INF, INF), (-1.0, NAN)],
    "log1p": [(0.0, 0.0), (-0.0, -0.0), (-1.0, -INF), (INF, INF), (-2.0, NAN), (-INF, NAN)],
    "sigmoid": [(0.0, 0.5), (INF, 1), (-INF, 0.0), (1e30, 1), (-1e30, 0.0)],
    "sin": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "cos": [(0.0, 1), (-0.0, 1), (INF, NAN), (-INF, NAN)],
    "tan": [(0.0, 0.0), (-0.0, -0.0), (INF, NAN), (-INF, NAN)],
    "arcsin": [(0.0, 0.0), (-0.0, -0.0), (2.0, NAN), (-2.0, NAN), (INF, NAN), (1.0, np.pi / 2)],
    "arccos": [(1.0, 0.0), (2.0, NAN), (-INF, NAN), (-1.0, np.pi), (0.0, np.pi / 2)],
    "arctan": [(0.0, 0.0), (-0.0, -0.0), (INF, np.pi / 2), (-INF, -np.pi / 2)],
    "sinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (1e30, INF)],
    "cosh": [(0.0, 1), (INF, INF), (-INF, INF), (-1e30, INF)],
    "tanh": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (1e30, 1)],
    "arcsinh": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF)],
    "arccosh": [(1.0, 0.0), (0.5, NAN), (-INF, NAN), (INF, INF)],
    "arctanh": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (2.0, NAN), (INF, NAN)],
    "erf": [(0.0, 0.0), (-0.0, -0.0), (INF, 1), (-INF, -1), (7.0, 1), (-1e30, -1)],
    "erfinv": [(0.0, 0.0), (-0.0, -0.0), (1.0, INF), (-1.0, -INF), (2.0, NAN), (INF, NAN)],
    "sqrt": [(0.0, 0.0), (-0.0, -0.0), (4.0, 2), (INF, INF), (-1.0, NAN)],
    "rsqrt": [(0.0, INF), (-0.0, -INF), (4.0, 0.5), (INF, 0.0), (-1.0, NAN)],
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", SPECIAL)
def test_special_arguments(name: str, dtype: type) -> None:
    x, want = np.array([*SPECIAL[name], (NAN, NAN)], dtype).T
    (y,) = apply(TABLE[name], x.copy())
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(np.signbit(y)[want == 0], np.signbit(want)[want == 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_huge_angles(dtype: type) -> None:
    hard = [6381956970095103.0 * 2.0**797, 5.319372648326541e255, 1.0e22, 2.0**1000, 3e300]
    if dtype is np.float32:
        hard = [16367173.0 * 2.0**72, 2.0**127, 3.4e38, 1e20, 30001.0]
    x = np.array(hard, dtype)
    x = np.concatenate([x, -x, (np.arange(1, 60) * (np.pi / 2)).astype(dtype)])
    for name in ("sin", "cos", "tan"):
        (y,) = apply(TABLE[name], x)
        with mp.workprec(1400):
            true = [UNARY[name](mp.mpf(float(v))) for v in x]
        errors = [ulps(a, b, dtype) for a, b in zip(y, true, strict=True)]
        assert max(errors) <= LIMIT, (name, x[int(np.argmax(errors))])


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow(dtype: type) -> None:
    rng = np.random.default_rng(3)
    scale = 1 if dtype is np.float64 else 0.1
    base = np.concatenate([10 ** rng.uniform(-5, 5, 300), 1 + rng.uniform(-0.01, 0.01, 300)])
    exponent = np.concatenate([rng.uniform(-65, 65, 300), rng.uniform(-7e4, 7e4, 300)]) * scale
    x, y = base.astype(dtype), exponent.astype(dtype)
    x = np.concatenate([x, -x[:200]])
    y = np.concatenate([y, np.rint(y[:200] * 0.3)])
    tiny = np.finfo(dtype).smallest_subnormal
    x, y = np.append(x, [tiny, tiny]).astype(dtype), np.append(y, [0.5, -0.25]).astype(dtype)
    (out,) = apply(TABLE["pow"], x, y)
    error, where = worst(out, mp.power, x, y)
    assert error <= LIMIT, (error, where)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pow_follows_ieee(dtype: type) -> None:
    ends = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, INF, -INF, NAN, 1e30]
    x, y = (a.ravel().astype(dtype) for a in np.meshgrid(ends, ends))
    with np.errstate(all="ignore"):
        want = x**y
    (out,) = apply(TABLE["pow"], x, y)
    np.testing.assert_allclose(out, want, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(np.signbit(out)[out == 0], np.signbit(want)[out == 0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_arctan2(dtype: type) -> None:
    rng = np.random.default_rng(4)
    y = (rng.standard_normal(600) * 10 ** rng.uniform(-8, 8, 600)).astype(dtype)
    x = rng.standard_normal(600).astype(dtype)
    big = np.finfo(dtype).max
    y, x = np.append(y, [big, big, 1]).astype(dtype), np.append(x, [big, -1, -big]).astype(dtype)
    (out,) = apply(TABLE["arctan2"], y, x)
    error, where = worst(out, mp.atan2, y, x)
    assert error <= LIMIT, (error, where)
    ends = [0.0, -0.0, 1.0, -1.0, INF, -INF, NAN]
    y, x = (a.ravel().astype(dtype) for a in np.meshgrid(ends, ends))
    (out,) = apply(TABLE["arctan2"], y, x)
    want = np.arctan2(y, x)
    np.testing.assert_allclose(out, want, rtol=2 * np.finfo(dtype).eps)
    zero = want == 0
    np.testing.assert_array_equal(np.signbit(out)[zero], np.signbit(want)[zero])


def _logaddexp(a: mp.mpf, b: mp.mpf) -> mp.mpf:
    return mp.log(mp.exp(a) + mp.exp(b))


@pytest.mark.parametrize("dtype", DTYPES)
def test_logaddexp(dtype: type) -> None:
    rng = np.random.default_rng(5)
    x = rng.uniform(-3, 3, 600).astype(dtype)
    y = (x + rng.uniform(-12, 12, 600)).astype(dtype)
    (out,) = apply(TABLE["logaddexp"], x, y)
    for a, b, found in zip(x, y, out, strict=True):
        error = ulps(found, exact(_logaddexp, a, b), dtype)
        # Beside a sum that cancels the error is that of the terms.
        error *= np.spacing(abs(found)) / np.spacing(max(abs(found), abs(max(a, b))))
        assert error <= LIMIT, (a, b, found)
    cases = [(INF, INF, INF), (-INF, -INF, -INF), (INF, -INF, INF), (-INF, 2, 2), (NAN, 1, NAN)]
    x, y, want = np.array(cases, dtype).T
    np.testing.assert_array_equal(apply(TABLE["logaddexp"], x.copy(), y.copy())[0], want)


@pytest.mark.parametrize("dtype", DTYPES)
def test_fmod_is_exact(dtype: type) -> None:
    rng = np.random.default_rng(6)
    x, y = points(dtype, 1500, seed=7), points(dtype, 1500, seed=8)
    size = min(x.size, y.size)
    x, y = x[:size], rng.permutation(y)[:size]
    ends = np.array([0.0, -0.0, 1.0, -3.5, INF, -INF, NAN, np.finfo(dtype).max], dtype)
    a, b = (e.ravel() for e in np.meshgrid(ends, ends))
    x, y = np.concatenate([x, x, a, a]), np.concatenate([y, x[::-1], b, b])
    order = rng.permutation(x.size)  # beside lanes that need many steps
    x, y = x[order], y[order]
    with np.errstate(all="ignore"):
        want = np.fmod(x, y)
    (out,) = apply(TABLE["fmod"], x, y)
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(np.signbit(out)[want == 0], np.signbit(want)[want == 0])


COMPLEX_UNARY = {
    "exp": mp.exp,
    "expm1": mp.expm1,
    "log": mp.log,
    "log2": lambda z: mp.log(z) / mp.log(2),
    "log10": lambda z: mp.log(z) / mp.log(10),
    "log1p": lambda z: mp.log(1 + z),
    "sin": mp.sin,
    "cos": mp.cos,
    "tan": mp.tan,
    "sinh": mp.sinh,
    "cosh": mp.cosh,
    "tanh": mp.tanh,
    "arcsin": mp.asin,
    "arccos": mp.acos,
    "arctan": mp.atan,
    "arcsinh": mp.asinh,
    "arccosh": mp.acosh,
    "arctanh": mp.atanh,
    "sqrt": mp.sqrt,
    "rsqrt": lambda z: 1 / mp.sqrt(z),
    "sigmoid": lambda z: 1 / (1 + mp.exp(-z)),
    "abs": abs,
}
COMPLEX_BINARY = {"pow": mp.power, "div": lambda z, w: z / w}


def _complex_points() -> np.ndarray:
    rng = np.random.default_rng(9)
    scales = [(1, 1), (5, 5), (1, 1e-6), (1e-6, 1), (20, 20)]
    parts = [rng.standard_normal((40, 2)) * s for s in scales]
    parts.append(rng.standard_normal((40, 2)) * 1e-4 + [1, 0])
    return np.concatenate(parts).astype(np.float32)


@pytest.mark.parametrize("name", [*COMPLEX_UNARY, *COMPLEX_BINARY])
def test_complex(name: str) -> None:
    z = _complex_points()
    w = np.roll(z, 7, axis=0)
    args = (z,) if name in COMPLEX_UNARY else (z, w)
    function = COMPLEX_UNARY.get(name) or COMPLEX_BINARY[name]
    flat = [np.ascontiguousarray(a[:, i]) for a in args for i in (0, 1)]
    found = apply(COMPLEX[name], *flat, outputs=1 if name == "abs" else 2)
    for i, numbers in enumerate(zip(*args, strict=True)):
        with mp.workprec(300):
            true = mp.mpc(function(*(mp.mpc(float(a), float(b)) for a, b in numbers)))
        for out, part in zip(found, (true.real, true.imag), strict=False):
            assert ulps(out[i], part, np.float32) <= LIMIT, (numbers, out[i], part)


def test_any_number_of_lanes_gives_the_same_bits() -> None:
    for dtype in DTYPES:
        x = points(dtype, 64)
        for name in ("exp", "sin", "log1p", "arcsinh"):
            want = apply(TABLE[name], x)[0]
            for lanes in (2, 4, 8, 64):
                got = apply(TABLE[name], x, lanes=lanes)[0]
                np.testing.assert_array_equal(got, want, err_msg=f"{name} {lanes}")
