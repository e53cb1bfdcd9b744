"""Matrix products: packed panels, a register-tiled micro-kernel, fused epilogues."""

from mlx.backend.llvm.gemm.operand import Epilogue, Matrix, Product, StoreEpilogue
from mlx.backend.llvm.gemm.plan import plan_gemm

__all__ = ["Epilogue", "Matrix", "Product", "StoreEpilogue", "plan_gemm"]
