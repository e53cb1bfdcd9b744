"""Attention by blocks: online softmax, its gradient, and a variant for few queries."""

from mlx.backend.llvm.attention.plan import plan_attention

__all__ = ["plan_attention"]
