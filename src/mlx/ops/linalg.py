"""mx.linalg: norms, products and LAPACK's factorizations.

Matrices are the last two axes, axes before them batches.  float32, float64 and, where it
makes sense, complex64 are supported.  A singular matrix, or one that is not positive
definite, raises ValueError on evaluation; one with an infinity or NaN gives NaN.

>>> import mlx.core as mx
"""

from __future__ import annotations

from typing import Any

from mlx.array import array, wrap
from mlx.base import dtype as dt
from mlx.base.dtype import Dtype, promote
from mlx.graph.node import Node
from mlx.ops.operands import array_node, axis_of, broadcast_shape, common, fitted
from mlx.ops.shape import narrow
from mlx.primitives.arithmetic import Absolute, Sign
from mlx.primitives.base import full_like, iota
from mlx.primitives.elementwise import Equal, Greater, Multiply, Subtract, cast, where
from mlx.primitives.factorizations import LU, QR, Cholesky, Eigh, Eigvalsh
from mlx.primitives.library import outputs
from mlx.primitives.matrices import (
    adjoint,
    diagonal,
    identity_like,
    multiply,
    scale_columns,
    strictly_lower,
    upper_triangle,
)
from mlx.primitives.products import Prod
from mlx.primitives.reductions import Max, Sum
from mlx.primitives.solvers import Determinant, Inverse, Solve, SolveTriangular
from mlx.primitives.spectra import SVD, Eig, Eigvals, SingularValues
from mlx.primitives.transcendental import Log
from mlx.primitives.views import Concatenate, reshape


def _matrix(name: str, a: array, square: bool = False) -> Node:
    x = array_node(f"linalg::{name}", a)
    if x.dtype not in (dt.float32, dt.float64, dt.complex64):
        raise ValueError(
            f"[linalg::{name}] Needs float32, float64 or complex64, got {x.dtype.name}."
        )
    if x.ndim < 2:
        raise ValueError(f"[linalg::{name}] Needs at least 2 dimensions, got shape {x.shape}.")
    if square and x.shape[-1] != x.shape[-2]:
        raise ValueError(f"[linalg::{name}] Only defined for square matrices, got {x.shape}.")
    return x


def inv(a: array, *, stream: Any = None) -> array:
    """The inverse of square matrices.

    >>> mx.linalg.inv(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5, 0],
           [0, 0.25]], dtype=float32)
    """
    return wrap(Inverse()(_matrix("inv", a, square=True)))


def tri_inv(a: array, upper: bool = False, *, stream: Any = None) -> array:
    """The inverse of triangular matrices; the other triangle is not read."""
    x = _matrix("tri_inv", a, square=True)
    return wrap(SolveTriangular(bool(upper))(x, identity_like(x)))


def cholesky(a: array, upper: bool = False, *, stream: Any = None) -> array:
    """The triangular L with ``L @ L.T == a``, or U with ``U.T @ U == a`` for ``upper``.

    Only that triangle of a is read.

    >>> mx.linalg.cholesky(mx.array([[4.0, 2.0], [2.0, 2.0]]))
    array([[2, 0],
           [1, 1]], dtype=float32)
    """
    x = _matrix("cholesky", a, square=True)
    return wrap(adjoint(Cholesky()(adjoint(x))) if upper else Cholesky()(x))


def cholesky_inv(a: array, upper: bool = False, *, stream: Any = None) -> array:
    """The inverse of the matrix whose Cholesky factor is a."""
    x = _matrix("cholesky_inv", a, square=True)
    inverse = SolveTriangular(bool(upper))(x, identity_like(x))
    return wrap(
        multiply(inverse, adjoint(inverse)) if upper else multiply(adjoint(inverse), inverse)
    )


def qr(a: array, *, stream: Any = None) -> tuple[array, array]:
    """Q with orthonormal columns and upper triangular R with ``Q @ R == a``.

    >>> q, r = mx.linalg.qr(mx.array([[2.0, 3.0], [0.0, 4.0]]))
    >>> q @ r
    array([[2, 3],
           [0, 4]], dtype=float32)
    """
    x = _matrix("qr", a)
    m, n = x.shape[-2:]
    if m >= n:
        q, r = outputs(QR(), x)
        return wrap(q), wrap(r)
    q, r = outputs(QR(), narrow(x, x.ndim - 1, 0, m))
    rest = multiply(adjoint(q), narrow(x, x.ndim - 1, m, n))
    return wrap(q), wrap(Concatenate(x.ndim - 1)(r, rest))


def svd(a: array, compute_uv: bool = True, *, stream: Any = None) -> Any:
    """U, the singular values and the adjoint of V, or the singular values alone.

    >>> mx.linalg.svd(mx.array([[3.0, 0.0], [0.0, 4.0]]), compute_uv=False)
    array([4, 3], dtype=float32)
    """
    x = _matrix("svd", a)
    if not compute_uv:
        return wrap(SingularValues()(x))
    return tuple(wrap(out) for out in outputs(SVD(True), x))


def _triangle(name: str, uplo: str) -> bool:
    if uplo not in ("L", "U"):
        raise ValueError(f"[linalg::{name}] UPLO must be L or U, got {uplo!r}.")
    return uplo == "L"


def eigh(a: array, UPLO: str = "L", *, stream: Any = None) -> tuple[array, array]:
    """Eigenvalues (ascending) and eigenvectors (columns) of Hermitian matrices.

    One triangle is read, the lower or the upper.

    >>> mx.linalg.eigh(mx.array([[2.0, 0.0], [0.0, 1.0]]))[0]
    array([1, 2], dtype=float32)
    """
    x = _matrix("eigh", a, square=True)
    values, vectors = outputs(Eigh(_triangle("eigh", UPLO)), x)
    return wrap(values), wrap(vectors)


def eigvalsh(a: array, UPLO: str = "L", *, stream: Any = None) -> array:
    """The eigenvalues (ascending) of Hermitian matrices."""
    return wrap(Eigvalsh(_triangle("eigvalsh", UPLO))(_matrix("eigvalsh", a, square=True)))


def eig(a: array, *, stream: Any = None) -> tuple[array, array]:
    """Eigenvalues and right eigenvectors (columns) of square matrices, as complex64."""
    x = _matrix("eig", a, square=True)
    values, vectors = outputs(Eig(), x)
    return wrap(values), wrap(vectors)


def eigvals(a: array, *, stream: Any = None) -> array:
    """The eigenvalues of square matrices, as complex64."""
    return wrap(Eigvals()(_matrix("eigvals", a, square=True)))


def lu_factor(a: array, *, stream: Any = None) -> tuple[array, array]:
    """Both triangles of an LU factorization in one matrix, and the pivots (uint32)."""
    packed, pivots, _ = outputs(LU(), _matrix("lu_factor", a))
    return wrap(packed), wrap(pivots)


def lu(a: array, *, stream: Any = None) -> tuple[array, array, array]:
    """P, L and U with ``(L @ U)[P] == a``: a permutation (uint32) and two triangles.

    >>> p, l, u = mx.linalg.lu(mx.array([[1.0, 2.0], [3.0, 4.0]]))
    >>> p
    array([1, 0], dtype=uint32)
    """
    packed, _, permutation = outputs(LU(), _matrix("lu", a))
    m, n = packed.shape[-2:]
    k = min(m, n)
    below = narrow(strictly_lower(packed), packed.ndim - 1, 0, k)
    above = narrow(upper_triangle(packed), packed.ndim - 2, 0, k)
    return wrap(permutation), wrap(below + identity_like(below)), wrap(above)


def _system(name: str, a: array, b: array) -> tuple[Node, Node, bool]:
    """Matrices of equal batches and dtype, and whether b was a vector."""
    x, y = _matrix(name, a, square=True), array_node(f"linalg::{name}", b)
    dtype = promote(x.dtype, y.dtype)
    vector = y.ndim == 1 or (y.ndim == x.ndim - 1 and y.shape == x.shape[:-1])
    y = reshape(y, (*y.shape, 1)) if vector else y
    if y.ndim < 2 or y.shape[-2] != x.shape[-1]:
        raise ValueError(
            f"[linalg::{name}] Shapes {x.shape} and {array_node(name, b).shape} do not fit."
        )
    lead = broadcast_shape(x.shape[:-2], y.shape[:-2])
    x, y = (fitted(z, lead + z.shape[-2:], dtype) for z in (x, y))
    return x, y, vector


def _solution(x: Node, vector: bool) -> array:
    return wrap(reshape(x, x.shape[:-1]) if vector else x)


def solve(a: array, b: array, *, stream: Any = None) -> array:
    """x with ``a @ x == b``; b is a vector or a matrix.

    >>> mx.linalg.solve(mx.array([[2.0, 0.0], [0.0, 4.0]]), mx.array([2.0, 8.0]))
    array([1, 2], dtype=float32)
    """
    x, y, vector = _system("solve", a, b)
    return _solution(Solve()(x, y), vector)


def solve_triangular(a: array, b: array, *, upper: bool = False, stream: Any = None) -> array:
    """x with ``a @ x == b`` for triangular a, whose other triangle is not read."""
    x, y, vector = _system("solve_triangular", a, b)
    return _solution(SolveTriangular(bool(upper))(x, y), vector)


def pinv(a: array, *, stream: Any = None) -> array:
    """The pseudo-inverse; singular values below rounding error count as 0.

    >>> mx.linalg.pinv(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    array([[0.5, 0],
           [0, 0.25]], dtype=float32)
    """
    x = _matrix("pinv", a)
    u, sizes, vh = outputs(SVD(False), x)
    eps = 1e-15 if sizes.dtype is dt.float64 else 1e-6
    bound = reshape(Max(sizes.ndim - 1)(sizes), (*sizes.shape[:-1], 1)) * (eps * max(x.shape[-2:]))
    known = Greater()(sizes, fitted(bound, sizes.shape, sizes.dtype))
    inverse = where(known, 1 / where(known, sizes, 1), 0)
    return wrap(multiply(scale_columns(adjoint(vh), inverse), adjoint(u)))


def det(a: array, *, stream: Any = None) -> array:
    """The determinant of square matrices.

    >>> mx.linalg.det(mx.array([[2.0, 0.0], [0.0, 4.0]]))
    array(8, dtype=float32)
    """
    x, dtype = _computable("det", a)
    return wrap(cast(Determinant()(x), dtype))


def _computable(name: str, a: array) -> tuple[Node, Dtype]:
    """Square matrices in a dtype that LAPACK has, and that of the result."""
    x = array_node(f"linalg::{name}", a)
    dtype = dt.at_least_float(x.dtype)
    if dtype in (dt.float16, dt.bfloat16) or x.dtype is not dtype:
        x = cast(x, dt.float32)
    return _matrix(name, wrap(x), square=True), dtype


def slogdet(a: array, *, stream: Any = None) -> tuple[array, array]:
    """The sign and the logarithm of the absolute value of the determinant.

    >>> mx.linalg.slogdet(mx.array([[2.0, 0.0], [0.0, -4.0]]))
    (array(-1, dtype=float32), array(2.07944, dtype=float32))
    """
    x, dtype = _computable("slogdet", a)
    packed, pivots, _ = outputs(LU(), x)
    line = diagonal(packed)
    at = line.ndim - 1
    unmoved = Equal()(cast(pivots, dt.int64), iota(pivots.shape, at, dt.int64))
    flips = where(unmoved, full_like(line, 1), -1)
    sign = Prod(at)(Multiply()(Sign()(line), flips))
    size = Sum(at)(Log()(Absolute()(line)))
    return wrap(cast(sign, dtype)), wrap(cast(size, dt.real_of(dtype)))


def cross(a: array, b: array, axis: int = -1, *, stream: Any = None) -> array:
    """The vector product along an axis of 3 (or 2, the last one then being 0) numbers.

    >>> mx.linalg.cross(mx.array([1, 0, 0]), mx.array([0, 1, 0]))
    array([0, 0, 1], dtype=int32)
    """
    name = "linalg::cross"
    nodes = [array_node(name, v) for v in (a, b)]
    dtype = promote(nodes[0].dtype, nodes[1].dtype)
    spaces = []
    for x in nodes:
        at = axis_of(name, axis, x.ndim)
        if x.shape[at] not in (2, 3):
            raise ValueError(f"[{name}] Axis {axis} must have 2 or 3 elements, got {x.shape}.")
        spaces.append(_lifted(cast(x, dtype), at))
    x, y = (n for n in common(name, *(wrap(s) for s in spaces)))
    at = axis_of(name, axis, x.ndim)
    u, v = ([narrow(z, at, i, i + 1) for i in range(3)] for z in (x, y))
    parts = [
        Subtract()(Multiply()(u[i], v[j]), Multiply()(u[j], v[i]))
        for i, j in ((1, 2), (2, 0), (0, 1))
    ]
    return wrap(Concatenate(at)(*parts))


def _lifted(x: Node, axis: int) -> Node:
    """Vectors of the plane with a third number 0."""
    if x.shape[axis] == 3:
        return x
    zero = full_like(narrow(x, axis, 0, 1), 0)
    return Concatenate(axis)(x, zero)
