"""Kernels for GPUs: defined anywhere, refused where they are called."""

from __future__ import annotations

import pytest

import mlx.core as mx


def test_a_metal_kernel_is_defined_and_refuses_to_run() -> None:
    kernel = mx.fast.metal_kernel("twice", input_names=["x"], output_names=["y"], source="")
    x = mx.ones((4,))
    with pytest.raises(RuntimeError, match="No Metal device to run 'twice'"):
        kernel(
            inputs=[x],
            output_shapes=[x.shape],
            output_dtypes=[x.dtype],
            grid=(4, 1, 1),
            threadgroup=(4, 1, 1),
        )


@pytest.mark.parametrize("kernel", [mx.fast.metal_kernel, mx.fast.cuda_kernel])
def test_names_and_sources_are_checked(kernel) -> None:
    with pytest.raises(TypeError, match="input_names must be a sequence of names"):
        kernel("twice", "x", ["y"], "")
    with pytest.raises(TypeError, match="source must be a string"):
        kernel("twice", ["x"], ["y"], 3)


def test_a_cuda_kernel_names_what_is_missing() -> None:
    with pytest.raises(RuntimeError, match="No CUDA device to run 'twice'"):
        mx.fast.cuda_kernel("twice", ["x"], ["y"], "")
