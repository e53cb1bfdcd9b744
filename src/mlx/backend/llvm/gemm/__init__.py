"""Matrix products: packed panels, a register-tiled micro-kernel, fused epilogues."""

from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, StoreEpilogue
from mlx.backend.llvm.gemm.plan import plan_gemm

__all__ = ["Epilogue", "Matrix", "StoreEpilogue", "plan_gemm"]
