"""The register tile of a target and accumulator, and the layout of packed panels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from mlx.backend.llvm.cache_sizes import first_level
from mlx.backend.llvm.gemm import amx
from mlx.backend.llvm.gemm.dots import Dots, Runs, dots_of
from mlx.backend.llvm.gemm.elements import SIZES, Element
from mlx.backend.llvm.gemm.halves import Halves
from mlx.backend.llvm.gemm.pairs import Pairs, has_pairs
from mlx.backend.llvm.target import Target, host

LARGEST_GROUP = 128
"""Elements along k that share a scale, where a quantized matrix is packed."""
ROW, COLUMN = "row", "col"
UNIT_ROW, UNIT_COL, GENERAL = "unitrow", "unitcol", "general"  # layouts of an operand


@dataclass(frozen=True, slots=True)
class Tile:
    """Shape of the micro-kernel and of what is packed for it.

    A tile of C is ``rows`` x ``cols`` accumulators.  B lies in panels of ``cols`` columns, one
    row of a panel after the other.  A lies in panels of ``rows`` rows: row by row with a
    constant pitch where k is the fast axis of the source (format ROW: packing is a copy), else
    column by column (COLUMN).  With two planes (complex), each such row or column is followed
    by its imaginary part.  ``pairs``: elements of A and B are pairs of bfloat16, and ``depth``
    counts pairs.  ``amx``: the micro-kernel works on tile registers; A is always in format ROW.
    ``halves``: elements are float16 in two parts (see ``halves``), B has a plane for each.
    ``dots``: elements are runs of small integers (see ``dots``); A is always in format ROW.
    """

    accumulate: str
    lanes: int
    rows: int
    vectors: int
    planes: int
    depth: int
    fused: bool
    itemsize: int
    pairs: bool = False
    amx: bool = False
    halves: bool = False
    dots: Dots | None = None

    @property
    def block_depth(self) -> int:
        """How deep a block of k is best: ``depth``, or up to a third less, so that a panel of A
        and one of B lie in the first-level cache together.

        A processor that retires two vector FMAs a cycle waits for its second-level cache
        otherwise (a fifth, on Emerald Rapids).  Whole groups of quantized matrices fit.
        """
        fits = first_level() // ((self.rows + self.cols) * self.planes * self.itemsize)
        fits -= fits % LARGEST_GROUP
        return self.depth if self.amx or fits < self.depth * 2 // 3 else min(fits, self.depth)

    @property
    def name(self) -> str:
        """Names the packed format and the micro-kernels within a module."""
        marks = {"pairs": self.pairs, "halves": self.halves, "amx": self.amx}
        runs = [self.dots.name] if self.dots else []
        return "_".join([self.accumulate, *[mark for mark, is_so in marks.items() if is_so], *runs])

    @property
    def identity(self) -> str:
        """Names all that packing and the micro-kernels depend on."""
        return f"{self.name}_{self.lanes}_{self.rows}x{self.vectors}x{self.depth}"

    @property
    def step(self) -> int:
        """Elements of the operands along k that make one of a panel."""
        return self.dots.together if self.dots else 2 if self.pairs else 1

    @property
    def rate(self) -> float:
        """Multiplications in the time of one of float32: a rule of thumb."""
        return self.step * (8 if self.amx else 1) * 4 / self.itemsize / self.planes**2

    @property
    def k_unit(self) -> int:
        """Elements along k that the micro-kernel takes at once."""
        return self.step * (self.lanes if self.amx else 1)

    def depth_of(self, length: int) -> int:
        """Elements of a panel that hold so many along k, up to where the micro-kernel stops."""
        return -(-length // self.k_unit) * (self.k_unit // self.step)

    def a_format(self, layout: str) -> str:
        """The packed format of A: the one that needs no transposition, if there is a choice."""
        return COLUMN if layout == UNIT_ROW and not (self.amx or self.dots) else ROW

    def element(self, dtype: str, right: bool = False) -> Element:
        """How operands of a dtype are loaded into panels: A, or on the ``right`` B."""
        if self.halves:
            return Halves(dtype, self.accumulate, right)
        if self.dots:
            flip = right and self.dots.correct != 0
            return Runs(dtype, self.accumulate, self.dots.together, flip)
        return (Pairs if self.pairs else Element)(dtype, self.accumulate)

    @property
    def b_planes(self) -> int:
        return 2 if self.halves else self.planes

    @property
    def vector_bytes(self) -> int:
        return self.lanes * self.itemsize

    @property
    def cols(self) -> int:
        return self.vectors * self.lanes

    @property
    def row_pitch(self) -> int:
        """Elements from one row of A to the next in format ROW; odd in cache lines."""
        return (self.depth + self.lanes) * self.planes

    @property
    def a_panel(self) -> int:
        """Elements of one packed panel of A, the same in both formats."""
        return self.rows * self.row_pitch

    @property
    def correction(self) -> int:
        """Bytes from a packed row of A to the number behind it (see ``dots``)."""
        return (self.row_pitch - 1) * self.itemsize

    @property
    def b_row(self) -> int:
        """Bytes of one row of a packed panel of B."""
        return self.cols * self.b_planes * self.itemsize

    @property
    def c_tile(self) -> int:
        """Elements of one tile of C."""
        return self.rows * self.cols * self.planes

    @property
    def least_rows(self) -> int:
        """Rows of the smallest micro-kernel: blocks need not be whole tiles."""
        return self.variants[0][0]

    @property
    def variants(self) -> list[tuple[int, int]]:
        """(rows, vectors) of the micro-kernels, smallest first."""
        few = (amx.SIDE,) if self.amx else (4, 8)
        steps = sorted({r for r in few if r < self.rows} | {self.rows})
        narrow = [(r, v) for v in range(1, self.vectors) for r in (steps[0], steps[-1])]
        return narrow + [(r, self.vectors) for r in steps]


@cache
def tile_for(accumulate: str, target: Target | None = None) -> Tile:
    target = target or host()
    planes = 2 if accumulate == "complex64" else 1
    itemsize = SIZES[accumulate] // planes
    lanes = target.vector_bytes // itemsize
    # What LLVM keeps in registers: 32 of them, but with NEON some more hold elements of A.
    many = target.vector_bytes == 64 or target.has("neon")
    if planes == 2:
        rows, vectors = (10, 1) if many else (4, 1)
    else:
        rows, vectors = (14 if target.avx512 else 12, 2) if many else (6, 2)
    depth = (384 if itemsize == 4 else 256) // planes
    return Tile(accumulate, lanes, rows, vectors, planes, depth, target.has_fma, itemsize)


@cache
def tile_of_product(
    a_dtype: str, b_dtype: str, accumulate: str, target: Target | None = None
) -> Tile:
    """The tile for a matrix product: as ``tile_for``, or with pairs where the CPU has them."""
    target = target or host()
    tile = tile_for(accumulate, target)
    dtypes = {a_dtype, b_dtype}
    if accumulate == "int32":
        dots = dots_of(a_dtype, b_dtype, target)
        return replace(_on_tiles(tile, 512) if dots and dots.tiles else tile, dots=dots)
    if accumulate != "float32" or not target.avx512:
        return tile
    if target.has("amx-bf16") and dtypes in ({"bfloat16"}, {"float16"}):
        exact = dtypes == {"bfloat16"}
        return replace(_on_tiles(tile, 512 if exact else 256), pairs=exact, halves=not exact)
    return replace(tile, pairs=has_pairs(target) and dtypes == {"bfloat16"})


def _on_tiles(tile: Tile, depth: int) -> Tile:
    return replace(tile, rows=2 * amx.SIDE, vectors=2, depth=depth, amx=True)
