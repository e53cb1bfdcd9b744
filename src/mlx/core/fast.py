"""Fused compositions of models, and kernels in the languages of GPUs."""

from mlx.ops.attention import scaled_dot_product_attention
from mlx.ops.custom_kernels import cuda_kernel, metal_kernel, precompiled_cuda_kernel
from mlx.ops.delta import gated_delta_update
from mlx.ops.fast import cross_entropy, layer_norm, rms_norm, rope
from mlx.ops.resample import resample, resample_max

__all__ = [
    "cross_entropy",
    "cuda_kernel",
    "gated_delta_update",
    "layer_norm",
    "metal_kernel",
    "precompiled_cuda_kernel",
    "resample",
    "resample_max",
    "rms_norm",
    "rope",
    "scaled_dot_product_attention",
]
