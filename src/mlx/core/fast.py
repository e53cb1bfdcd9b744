"""Fused compositions of models."""

from mlx.ops.fast import cross_entropy, layer_norm, rms_norm, rope, scaled_dot_product_attention

__all__ = ["cross_entropy", "layer_norm", "rms_norm", "rope", "scaled_dot_product_attention"]
