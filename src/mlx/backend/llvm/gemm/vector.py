"""Matrix times vector (M = 1 or N = 1), at memory bandwidth and in the order of reductions.

Along k: chunks of 65,536; inside a chunk 128 bytes of lanes, element k in lane k mod lanes,
each lane one chain of FMAs; then the upper half of the lanes is folded onto the lower half
until one is left; then neighbouring chunks are added pairwise.  Both layouts of the matrix
keep this order.  Chunks are one more batch dimension of the first kernel; where there are
several, a second kernel adds them up.
"""

from __future__ import annotations

from mlx.backend.llvm.gemm.tile import UNIT_ROW
from mlx.backend.llvm.gemm.vector_columns import Columns
from mlx.backend.llvm.gemm.vector_form import CHUNK, MAX_BLOCK, SLOTS, VectorProblem
from mlx.backend.llvm.gemm.vector_rows import Rows
from mlx.backend.llvm.ir import Module
from mlx.base.frozen import dataclass

__all__ = ["CHUNK", "MAX_BLOCK", "SLOTS", "VectorSpec"]


@dataclass(frozen=True)
class VectorSpec(VectorProblem):
    """The kernel of a matrix-vector product."""

    def emit(self, module: Module, name: str) -> None:
        form = Columns if self.w_layout == UNIT_ROW else Rows
        form(self, module, name).emit()
