"""What blocks of attention look like: accumulator, vector width, register tile, block sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from mlx.backend.llvm.gemm.elements import Element, llvm_type
from mlx.backend.llvm.gemm.operand import round_up
from mlx.backend.llvm.gemm.pairs import has_pairs
from mlx.backend.llvm.target import host
from mlx.backend.llvm.values import vector

KEYS = 128
"""Keys of a block: what is computed of a row at once, hence part of the order of its sums."""


@dataclass(frozen=True, slots=True)
class Tile:
    """A register tile of ``rows`` by two vectors of ``lanes`` accumulators.

    ``pairs``: blocks are multiplied as pairs of bfloat16 (see ``gemm.pairs``); ``amx``: on tile
    registers.
    """

    accumulate: str
    lanes: int
    rows: int
    fused: bool
    pairs: bool = False
    amx: bool = False

    @property
    def itemsize(self) -> int:
        return 8 if self.accumulate == "float64" else 4

    @property
    def vector_bytes(self) -> int:
        return self.lanes * self.itemsize

    @property
    def element(self) -> str:
        return llvm_type(self.accumulate)

    @property
    def type(self) -> str:
        return vector(self.lanes, self.element)

    @property
    def index_type(self) -> str:
        """Integers as wide as the accumulators."""
        return vector(self.lanes, f"i{8 * self.itemsize}")

    def loads(self, dtype: str) -> Element:
        """How elements of a dtype are loaded as accumulators."""
        return Element("uint8" if dtype == "bool" else dtype, self.accumulate)

    def padded(self, count: int) -> int:
        """Elements of a row, or rows, that whole vectors and whole tiles fill."""
        step = max(self.lanes, self.rows)
        return max(round_up(count, step), step)

    def turned(self, features: int) -> int:
        """Bytes of a block of keys, feature by feature, if tile registers read one."""
        return self.padded(features) * KEYS // 2 * self.itemsize if self.amx else 0


@cache
def tile_for(dtype: str) -> Tile:
    target = host()
    accumulate = "float64" if dtype == "float64" else "float32"
    lanes = target.vector_bytes // (8 if accumulate == "float64" else 4)
    many = target.vector_bytes == 64 or target.has("neon")
    pairs = dtype == "bfloat16" and has_pairs(target)
    tiles = pairs and target.has("amx-bf16")
    return Tile(accumulate, lanes, 8 if many else 4, target.has_fma, pairs, tiles)
