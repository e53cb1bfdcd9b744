"""Convolutions as matrix products whose left operand is gathered while it is packed."""

from mlx.backend.llvm.convolution.plan import plan_contraction

__all__ = ["plan_contraction"]
