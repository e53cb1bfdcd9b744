"""Values out of arrays, and memory shared with other libraries."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import mlx.core as mx

DTYPES = [
    mx.bool_, mx.uint8, mx.uint16, mx.uint32, mx.uint64, mx.int8, mx.int16, mx.int32, mx.int64,
    mx.float16, mx.bfloat16, mx.float32, mx.float64, mx.complex64,
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_round_trips(dtype: mx.Dtype) -> None:
    a = mx.array([[0, 1, 3], [4, 5, 6]]).astype(dtype)
    out = np.asarray(a)
    assert out.dtype == dtype.numpy
    back = mx.array(out, dtype)
    for other in (back, pickle.loads(pickle.dumps(a)), copy.copy(a), copy.deepcopy(a)):
        assert other.dtype is dtype and other is not a
        assert other.tolist() == a.tolist()
    assert bytes(a) == out.tobytes()
    assert type(a[1, 1].item()) is type(a.tolist()[1][1])


def test_numpy_views_share_memory_and_outlive_the_handle() -> None:
    a = mx.arange(1000) + 1
    view = np.asarray(a)
    assert not view.flags.owndata
    again = np.asarray(a)
    assert np.shares_memory(view, again)
    a += 5  # binds the handle to another value
    del a
    junk = [mx.arange(1000) * 7 for _ in range(20)]
    mx.eval(junk)
    np.testing.assert_array_equal(view, np.arange(1000) + 1)
    np.testing.assert_array_equal(again, np.arange(1000) + 1)


def test_array_protocol() -> None:
    a = mx.array([1, 2])
    assert np.array(a, dtype=np.float64).dtype == np.float64
    assert a.__array__(np.float32).dtype == np.float32
    with pytest.raises(ValueError):
        a.__array__(np.float64, copy=False)
    copied = np.array(a)
    copied[0] = 9
    assert a.tolist() == [1, 2]


class Exporter:
    """Hands on another object's memory, and nothing else of it."""

    def __init__(self, of: Any) -> None:
        self.of = of

    def __dlpack__(self, **options: Any) -> Any:
        return self.of.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.of.__dlpack_device__()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dlpack(dtype: mx.Dtype) -> None:
    a = mx.array([1, 0, 1]).astype(dtype)
    assert mx.array(Exporter(a)).dtype is (dtype if dtype is not mx.float64 else mx.float32)
    assert mx.array(Exporter(a)).tolist() == a.tolist()
    if dtype is not mx.bfloat16:
        np.testing.assert_array_equal(np.from_dlpack(a), np.asarray(a))


def test_from_dlpack_shares() -> None:
    source = np.zeros(4, np.float32)
    a = mx.from_dlpack(source)
    source[1] = 5
    assert a.tolist() == [0, 5, 0, 0]
    assert mx.from_dlpack(source[::2]).tolist() == [0, 0]
    b = mx.from_dlpack(source, copy=True)
    source[1] = 6
    assert b.tolist() == [0, 5, 0, 0]
    with pytest.raises(TypeError, match="DLPack"):
        mx.from_dlpack([1])
    with pytest.raises(ValueError, match="share"):
        mx.from_dlpack(source[::2], copy=False)


def test_shared_memory_is_never_written_in_place() -> None:
    source = np.ones(100_000, np.float32)
    a = mx.from_dlpack(source)
    a = a + 1
    mx.eval(a)
    assert source[0] == 1
    view = np.asarray(a)
    a = a + 1
    mx.eval(a)
    assert view[0] == 2


def test_dlpack_of_another_device() -> None:
    class Elsewhere(Exporter):
        def __dlpack_device__(self) -> tuple[int, int]:
            return (2, 0)

    with pytest.raises(ValueError, match="device type 2"):
        mx.array(Elsewhere(np.ones(2)))


def test_memoryview() -> None:
    a = mx.array([[1, 2], [3, 4]])
    view = memoryview(a)
    assert (view.format, view.shape, view.strides) == ("i", (2, 2), (8, 4))
    assert view.tolist() == a.tolist() and not view.readonly
    assert memoryview(mx.array(1.5)).shape == () and memoryview(mx.zeros((0, 3))).shape == (0, 3)
    assert bytearray(mx.array([1, 2], mx.uint8)) == b"\1\2"
    assert np.frombuffer(mx.array([1.0, 2.0]), np.float32).tolist() == [1, 2]


def test_a_memoryview_is_the_memory_and_keeps_it() -> None:
    a = mx.zeros(3)
    view = memoryview(a)
    view[0] = 5.0
    assert a.tolist() == [5, 0, 0]
    a[1] = 7
    del a
    assert view.tolist() == [5, 0, 0]
    before = mx.get_active_memory()
    for _ in range(20):
        memoryview(mx.ones(1 << 16))
    assert mx.get_active_memory() <= before + (1 << 19)


def test_what_cannot_be_exported() -> None:
    with pytest.raises((BufferError, SystemError)):
        memoryview(mx.array([1], mx.bfloat16))
    assert np.array(mx.array([1.5], mx.bfloat16)).dtype == ml_dtypes.bfloat16


def test_scalars() -> None:
    assert mx.array([[3]]).item() == 3
    assert int(mx.array([2.7])) == 2 and float(mx.array(5)) == 5.0
    assert complex(mx.array(2.5)) == 2.5 and bool(mx.array([[1]]))
    assert [10, 20, 30][mx.array(1)] == 20
    for bad in (mx.array([1, 2]), mx.array([])):
        with pytest.raises(ValueError, match="length-1"):
            bool(bad)
        with pytest.raises(ValueError, match="length-1"):
            bad.item()
    for bad in (mx.array(1.0), mx.array([1]), mx.array(True)):
        with pytest.raises(TypeError, match="index"):
            bad.__index__()
    with pytest.raises(TypeError):
        float(mx.array(1j))


def test_length_and_iteration() -> None:
    assert [len(row) for row in mx.ones((2, 3))] == [3, 3]
    assert [x.item() for x in reversed(mx.arange(3))] == [2, 1, 0]
    with pytest.raises(TypeError, match="0-dimensional"):
        len(mx.array(1))
    with pytest.raises(TypeError, match="0-dimensional"):
        iter(mx.array(1))


def test_identity_hash_and_aliases() -> None:
    a = mx.array([1])
    b = a
    table = {a: "x"}
    a += 1
    assert b is a and b.tolist() == [2] and table[a] == "x"


def test_consumers_keep_the_old_value() -> None:
    a = mx.array([1.0, 2.0])
    b = a * 10
    a[0] = 100
    assert b.tolist() == [10, 20] and a.tolist() == [100, 2]


def test_numpy_scalars_of_bfloat16_are_floats() -> None:
    assert mx.array(1.5, mx.bfloat16).item() == 1.5
    assert np.asarray(mx.array(1.5, mx.bfloat16)).dtype == ml_dtypes.bfloat16


def test_values_cannot_be_read_inside_a_transformation() -> None:
    for fun in (lambda x: x.item(), lambda x: np.asarray(x), lambda x: repr(x)):
        with pytest.raises(ValueError, match="vmap"):
            mx.vmap(fun)(mx.ones(3))
