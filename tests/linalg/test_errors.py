"""Bad matrices raise what names the operation; the process lives and goes on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mlx.core as mx

LA = mx.linalg
SQUARE = ("cholesky", "cholesky_inv", "det", "eig", "eigh", "eigvals", "eigvalsh", "inv", "slogdet")
ANY = (*SQUARE, "lu", "lu_factor", "pinv", "qr", "svd", "tri_inv")
SINGULAR = mx.array([[1.0, 2.0], [2.0, 4.0]])


@pytest.mark.parametrize("name", ANY)
def test_ranks_and_dtypes(name: str) -> None:
    fn = getattr(LA, name)
    with pytest.raises(ValueError, match=r"\[linalg::\w+\].*\(3,\)"):
        fn(mx.ones(3))
    with pytest.raises(TypeError, match="linalg::"):
        fn(3.0)
    if name not in ("det", "slogdet"):
        for dtype in (mx.int32, mx.float16, mx.bool_):
            with pytest.raises(ValueError, match=r"\[linalg::\w+\].*float32"):
                fn(mx.ones((2, 2)).astype(dtype))


@pytest.mark.parametrize("name", SQUARE)
def test_rectangles(name: str) -> None:
    with pytest.raises(ValueError, match=r"\[linalg::\w+\].*square"):
        getattr(LA, name)(mx.ones((2, 3)))


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda: LA.inv(SINGULAR), r"linalg::inv.*singular"),
        (lambda: LA.inv(mx.stack([mx.eye(2), SINGULAR])), r"linalg::inv.*singular"),
        (lambda: LA.solve(SINGULAR, mx.ones(2)), r"linalg::solve.*singular"),
        (lambda: LA.solve_triangular(mx.zeros((2, 2)), mx.ones(2)), "singular"),
        (lambda: LA.tri_inv(mx.zeros((2, 2))), "singular"),
        (lambda: LA.cholesky(mx.array([[1.0, 2.0], [2.0, 1.0]])), "cholesky.*positive definite"),
        (lambda: LA.cholesky(SINGULAR), "cholesky.*positive definite"),
    ],
)
def test_singular(call: Any, cause: str) -> None:
    found = call()
    for _ in range(2):  # using what failed raises again
        with pytest.raises(ValueError, match=cause):
            mx.eval(found)
    with pytest.raises(ValueError, match=cause):
        (found + 1).tolist()
    assert LA.det(SINGULAR).item() == 0
    assert LA.slogdet(SINGULAR)[1].item() == -np.inf
    assert LA.inv(mx.eye(2)).tolist() == [[1, 0], [0, 1]]


def test_singular_in_a_compiled_function() -> None:
    fn = mx.compile(lambda a: LA.inv(a) * 2)
    assert fn(mx.eye(2)).tolist() == [[2, 0], [0, 2]]
    with pytest.raises(ValueError, match="singular"):
        mx.eval(fn(SINGULAR))
    assert fn(mx.eye(2)).tolist() == [[2, 0], [0, 2]]


@pytest.mark.parametrize("name", ANY)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_no_number(name: str, bad: float) -> None:
    """NaN in, NaN out, for this matrix of the batch alone."""
    values = np.stack([np.eye(3), np.eye(3)]).astype(np.float32)
    values[1, 2, 1] = bad
    found = getattr(LA, name)(mx.array(values))
    parts = [np.array(v) for v in (found if isinstance(found, tuple) else (found,))]
    floats = [v for v in parts if v.dtype.kind in "fc"]
    assert all(np.isfinite(v[0]).all() for v in floats)
    assert any(np.isnan(v[1]).any() for v in floats)


def test_what_is_not_read_may_be_anything() -> None:
    x = mx.array([[2.0, np.nan], [1.0, 4.0]])
    assert np.isfinite(np.array(LA.tri_inv(x))).all()
    assert np.isfinite(np.array(LA.cholesky(x))).all()
    assert np.isfinite(np.array(LA.eigvalsh(x))).all()
    assert np.isnan(np.array(LA.eigvalsh(x, "U"))).all()


@pytest.mark.parametrize(
    ("call", "cause"),
    [
        (lambda: LA.eigh(mx.eye(2), "X"), "UPLO"),
        (lambda: LA.solve(mx.eye(2), mx.ones(3)), r"linalg::solve.*\(3,\)"),
        (lambda: LA.solve(mx.ones((2, 3)), mx.ones(2)), "square"),
        (lambda: LA.solve(mx.ones((2, 2, 2)), mx.ones((3, 2, 1))), "broadcast"),
        (lambda: LA.cross(mx.ones(4), mx.ones(4)), "2 or 3"),
        (lambda: LA.norm(mx.ones((2, 2)), "foo"), "foo"),
        (lambda: LA.norm(mx.ones((2, 2)), 3), "3"),
        (lambda: LA.norm(mx.ones(2), "fro"), "fro"),
        (lambda: LA.norm(mx.ones((2, 2, 2)), 2), "axes"),
        (lambda: LA.norm(mx.ones((2, 2)), axis=(0, 0)), "Duplicate"),
        (lambda: LA.norm(mx.ones((2, 2)), axis=5), "axis 5"),
    ],
)
def test_arguments(call: Any, cause: str) -> None:
    with pytest.raises(ValueError, match=cause):
        call()
