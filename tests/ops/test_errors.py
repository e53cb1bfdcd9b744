"""Bad input raises an exception that names the operation."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest

import mlx.core as mx

X, I = mx.ones((2, 3)), mx.arange(6).reshape(2, 3)  # noqa: E741
C = X + 1j

CASES: list[tuple[type[Exception], str, Callable[[], Any]]] = [
    (ValueError, "broadcast", lambda: X + mx.ones((2, 4))),
    (ValueError, "add", lambda: X + [1, 2]),
    (ValueError, "add", lambda: mx.add([1, 2], X)),
    (TypeError, "add", lambda: X + None),
    (ValueError, "less", lambda: X < "a"),  # type: ignore[operator]
    (ValueError, "overflow", lambda: I + 2**40),
    (ValueError, "overflow", lambda: I.astype(mx.uint8) + (-1)),
    (ValueError, "negative", lambda: -(X > 0)),
    (ValueError, "bitwise_and", lambda: X & 1),
    (ValueError, "bitwise_invert", lambda: ~X),
    (ValueError, "floor", lambda: mx.floor(C)),
    (ValueError, "erf", lambda: mx.erf(C)),
    (ValueError, "clip", lambda: mx.clip(X, None, None)),
    (TypeError, "float32", lambda: X.astype("float32")),
    (IndexError, "sum", lambda: X.sum(2)),
    (ValueError, "sum", lambda: X.sum(2)),
    (ValueError, "sum", lambda: X.sum((0, -2))),
    (TypeError, "sum", lambda: X.sum(1.5)),
    (ValueError, "max", lambda: mx.max(mx.zeros(0))),
    (ValueError, "argmax", lambda: mx.argmax(mx.zeros(0))),
    (ValueError, "logsumexp", lambda: mx.logsumexp(mx.zeros(0))),
    (ValueError, "reshape", lambda: X.reshape(4, 2)),
    (ValueError, "reshape", lambda: X.reshape(-1, -1)),
    (ValueError, "reshape", lambda: mx.zeros(0).reshape(0, -1)),
    (TypeError, "reshape", lambda: X.reshape(2.0, 3)),
    (ValueError, "flatten", lambda: mx.flatten(X, 1, 0)),
    (ValueError, "unflatten", lambda: mx.unflatten(X, 1, (2, 2))),
    (ValueError, "squeeze", lambda: mx.squeeze(X, 0)),
    (IndexError, "expand_dims", lambda: mx.expand_dims(X, 5)),
    (ValueError, "expand_dims", lambda: mx.expand_dims(X, (0, 0))),
    (ValueError, "transpose", lambda: mx.transpose(X, (0,))),
    (ValueError, "transpose", lambda: mx.transpose(X, (0, 0))),
    (IndexError, "swapaxes", lambda: mx.swapaxes(X, 0, 2)),
    (ValueError, "matrix_transpose", lambda: mx.ones(3).mT),
    (ValueError, "broadcast_to", lambda: mx.broadcast_to(X, (3,))),
    (ValueError, "broadcast_to", lambda: mx.broadcast_to(X, (-1, 3))),
    (ValueError, "concatenate", lambda: mx.concatenate([])),
    (ValueError, "concatenate", lambda: mx.concatenate([X, mx.ones(3)])),
    (ValueError, "concatenate", lambda: mx.concatenate([X, mx.ones((2, 4))])),
    (IndexError, "concatenate", lambda: mx.concatenate([X, X], 2)),
    (ValueError, "stack", lambda: mx.stack([X, mx.ones(3)])),
    (ValueError, "split", lambda: mx.split(X, 2, 1)),
    (ValueError, "repeat", lambda: mx.repeat(X, -1)),
    (ValueError, "pad", lambda: mx.pad(X, -1)),
    (MemoryError, "allocate", lambda: mx.eval(mx.pad(X, 1 << 40, mode="reflect"))),
    (MemoryError, "allocate", lambda: mx.eval(mx.fft.stft(X, 1 << 40))),
    (ValueError, "resample", lambda: mx.fast.resample(X, ())),
    (TypeError, "resample", lambda: mx.fast.resample(X, 1j)),
    (ValueError, "convert", lambda: mx.random.randint(0, 1j)),
    (TypeError, "stride", lambda: mx.conv1d(X[None], X[:, None], 1.5)),
    (TypeError, "mode", lambda: mx.quantize(X, mode={})),
    (TypeError, "group_size", lambda: mx.quantize(X, group_size=[1])),
    (ValueError, "pad", lambda: mx.pad(X, 1, "wrap")),
    (ValueError, "full", lambda: mx.full((2,), mx.ones(3))),
    (ValueError, "zeros|full", lambda: mx.zeros((-1,))),
    (ValueError, "arange", lambda: mx.arange(0, 10, 0)),
    (ValueError, "arange", lambda: mx.arange(True)),
    (TypeError, "arange", lambda: mx.arange(0, 2 + 0j, 1)),
    (ValueError, "arange", lambda: mx.arange(float("inf"))),
    (ValueError, "matmul", lambda: X @ X),
    (ValueError, "matmul", lambda: I @ I),
    (ValueError, "addmm", lambda: mx.addmm(I, I, I.T, alpha=0.5)),
    (ValueError, "matmul", lambda: X @ mx.array(1.0)),
    (TypeError, "matmul", lambda: X @ 2),
    (ValueError, "broadcast", lambda: mx.ones((3, 2, 2)) @ mx.ones((5, 2, 2))),
    (ValueError, "addmm", lambda: mx.addmm(mx.ones(4), X, X.T)),
    (ValueError, "tensordot", lambda: mx.tensordot(X, X, 1)),
    (ValueError, "inner", lambda: mx.inner(X, mx.ones(2))),
    (ValueError, r"\[index\] Cannot broadcast array of shape \(3,\) into shape \(2,\)",
     lambda: mx.zeros(2).__setitem__(slice(None), mx.ones(3))),
    (RuntimeError, "bitwise_and", lambda: X & X),
    (TypeError, "arange", lambda: mx.arange()),
    (TypeError, "linspace.*endpoint", lambda: mx.linspace(0, 1, 5, mx.float16)),  # type: ignore
    (ValueError, "divide.*int32", lambda: operator.itruediv(mx.arange(6), 2)),
    (ValueError, "issubdtype", lambda: mx.issubdtype(float, mx.floating)),  # type: ignore
    (TypeError, "sum", lambda: mx.sum([1.0])),
    (ValueError, "add", lambda: mx.add(X, [1.0])),
    (ValueError, "pad", lambda: mx.pad(mx.zeros(0), 1, mode="symmetric")),
    (ValueError, "pad", lambda: mx.pad(mx.zeros(1), 1, mode="reflect")),
    (ValueError, "overflow", lambda: mx.zeros(2, mx.uint8).__setitem__(0, -1)),
    (ValueError, "einsum", lambda: mx.einsum("ij,jk", X, X)),
    (ValueError, "einsum", lambda: mx.einsum("ij", mx.ones(2))),
    (ValueError, "einsum", lambda: mx.einsum("ij->k", X)),
    (ValueError, "einsum", lambda: mx.einsum("ij,jk", X)),
    (ValueError, "topk", lambda: mx.topk(X, 4)),
    (ValueError, "partition", lambda: mx.partition(X, 3)),
    (IndexError, "sort", lambda: mx.sort(mx.array(1.0))),
    (ValueError, "searchsorted", lambda: mx.searchsorted(X, X)),
    (ValueError, "diff", lambda: mx.diff(X, -1)),
    (IndexError, "cumsum", lambda: mx.cumsum(X, 2)),
    (ValueError, "view", lambda: mx.view(mx.ones((3,), mx.uint8), mx.uint16)),
    (ValueError, "unique", lambda: mx.unique(mx.zeros(0), 2)),
    (ValueError, "conv", lambda: mx.conv1d(mx.ones((1, 5, 2)), mx.ones((4, 3, 3)))),
    (ValueError, "conv", lambda: mx.conv1d(mx.ones((1, 2, 2)), mx.ones((4, 3, 2)))),
    (ValueError, "stride must be positive", lambda: mx.conv1d(
        mx.ones((1, 5, 2)), mx.ones((4, 3, 2)), stride=0)),
    (ValueError, "dilation must be positive", lambda: mx.conv_transpose1d(
        mx.ones((1, 5, 2)), mx.ones((4, 3, 2)), dilation=0)),
    (ValueError, "conv", lambda: mx.conv1d(
        mx.ones((1, 5, 2), mx.int32), mx.ones((4, 3, 2), mx.int32))),
    (ValueError, "rope", lambda: mx.fast.rope(
        mx.ones((1, 2, 4)), 3, traditional=True, base=1.0, scale=1.0, offset=0)),
    (ValueError, "layer_norm", lambda: mx.fast.layer_norm(X, mx.ones(2), None, 1e-5)),
    (ValueError, "attention", lambda: mx.fast.scaled_dot_product_attention(X, X, X, scale=1.0)),
    (ValueError, "cross_entropy", lambda: mx.fast.cross_entropy(X, mx.array([0.0, 1.0]))),
    (ValueError, "inv", lambda: mx.linalg.inv(X)),
    (ValueError, "inv", lambda: mx.linalg.inv(I)),
    (ValueError, "svd", lambda: mx.linalg.svd(mx.ones(3))),
    (ValueError, "UPLO", lambda: mx.linalg.eigh(mx.eye(2), "X")),
    (ValueError, "fft", lambda: mx.fft.fft(X, n=0)),
    (ValueError, "fft", lambda: mx.fft.fft(X, norm="foo")),
    (IndexError, "fft", lambda: mx.fft.fft(X, axis=3)),
]  # fmt: skip


@pytest.mark.parametrize(("error", "pattern", "call"), CASES)
def test_raises(error: type[Exception], pattern: str, call: Callable[[], Any]) -> None:
    with pytest.raises(error, match=pattern):
        call()


def test_singular_matrices_raise_on_evaluation() -> None:
    for kind in (ValueError, RuntimeError):
        with pytest.raises(kind, match="singular"):
            mx.eval(mx.linalg.inv(mx.zeros((2, 2))))
    with pytest.raises(ValueError, match="positive definite"):
        mx.eval(mx.linalg.cholesky(-mx.eye(2)))
