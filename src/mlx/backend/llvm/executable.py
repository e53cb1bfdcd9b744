"""Executables: what the runtime runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from mlx.backend.llvm.abi import FIRST, GATHER, SCATTER, Command, HostCall
from mlx.backend.llvm.arena import ALIGN
from mlx.backend.llvm.executor import BASES, CALL
from mlx.base.errors import MatrixError
from mlx.base.lazy import LazyModule
from mlx.base.tree import picker

lapack = LazyModule("mlx.backend.llvm.lapack")

_CHECKED = {GATHER: "gather", SCATTER: "scatter"}
SMALL_COST = 150_000


class Executable:
    """A bound program: native commands, and how leaves and outputs map to its bases."""

    __slots__ = (
        "_commands", "arena_bytes", "blocks", "caller", "can_fail", "carries", "donations",
        "donors", "leaf_order", "leaves", "lean", "met", "only", "output_bytes", "pick", "places",
        "plain", "results", "scalar_order", "segments", "span", "used",
    )  # fmt: skip

    _commands: Any
    segments: list[Any]
    """Native programs and host calls, in order."""
    arena_bytes: int
    output_bytes: list[int]
    leaves: int
    """How many leaves the region has; some may go unread."""
    leaf_order: list[int]
    scalar_order: list[int]
    can_fail: bool
    donations: list[tuple[int, list[int]]]
    """(output, leaves): it may take the memory of one that nobody else refers to."""
    donors: list[int]
    """The leaves that ``donations`` names, each once."""
    results: list[tuple[str, int, int]]
    """For each output: ("leaf" or "output", which, byte offset)."""
    plain: bool
    """Whether the outputs are just the output buffers, in their order."""
    blocks: list[int]
    """Bytes of the blocks of memory that the output buffers lie in."""
    places: list[tuple[int, int]]
    """For each output buffer: (block, byte offset)."""
    carries: dict[int, tuple[int, int]]
    """By command: (output, leaf) of a copy that does nothing if the one has the other's memory."""
    only: Any
    """The only segment, where it is native; else None."""
    lean: Any
    """``only`` without the ``carries``, for when none of them does anything; None without any."""
    pick: Callable[[Any], Sequence[Any]]
    """Takes what ``leaf_order`` names."""
    span: slice | None
    """The words of the executor's ``@call`` that a run fills; None where it has too few."""
    caller: Any
    """The runtime's: False before the first run, True after it, then what runs it, or None."""
    met: int
    """How often it was looked up since it has a caller; the runtime's."""
    used: int
    """When it was used last; the cache's."""

    def seal(self) -> Executable:
        """Note what follows from the rest; the last step of making one."""
        self.blocks, self.places = _blocks(self.output_bytes)
        only = self.segments[0] if len(self.segments) == 1 else None
        self.only = None if isinstance(only, HostCall) else only
        self.caller = False
        self.met = 0
        self.pick = picker(self.leaf_order)
        end = BASES + FIRST + len(self.leaf_order) + len(self.places) + len(self.scalar_order)
        self.span = slice(0, end) if end <= CALL else None
        return self

    @property
    def commands(self) -> list[Command | HostCall]:
        """The kernels' launches and the host calls, in order."""
        if callable(self._commands):
            self._commands = self._commands()
        return self._commands

    @commands.setter
    def commands(self, commands: Any) -> None:
        """Set them, or what makes them when somebody looks."""
        self._commands = commands

    @staticmethod
    def error(status: Sequence[int]) -> Exception:
        """The exception for a status block that a kernel filled."""
        if message := lapack.failure(status):
            return MatrixError(message)
        code, index, size, width = status
        what = f"index {index} is" if width == 1 else f"a window of {width} at {index} is"
        return IndexError(
            f"[{_CHECKED.get(code, 'eval')}] {what} out of bounds for an axis of size {size}; "
            f"valid indices are {-size} to {size - width}."
        )


SHARED_BYTES = 1024


def _blocks(sizes: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Blocks for buffers, and where in them these lie.  Tiny ones share blocks that are no larger
    than the Python objects around one of them: so one that stays keeps little else."""
    blocks: list[int] = []
    places = []
    shared = -1
    for nbytes in sizes:
        taken = -(-nbytes // ALIGN) * ALIGN
        if taken > SHARED_BYTES // 4:
            places.append((len(blocks), 0))
            blocks.append(nbytes)
            continue
        if shared < 0 or blocks[shared] + taken > SHARED_BYTES:
            shared = len(blocks)
            blocks.append(0)
        places.append((shared, blocks[shared]))
        blocks[shared] += taken
    return blocks, places


def is_small(commands: Sequence[Command | HostCall]) -> bool:
    """Whether a program takes less time than waking threads would."""
    cost = sum(c.bytes + c.flops // 8 for c in commands if isinstance(c, Command))
    return cost < SMALL_COST
