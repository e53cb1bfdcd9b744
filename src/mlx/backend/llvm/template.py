"""A region planned for sizes that change, and bound to sizes by one generated function.

The template holds what no size decides: kernels, and the tables of commands and constants as
they were when it was made.  Binding copies the tables and writes in what depends on sizes.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from mlx.backend.llvm import programs
from mlx.backend.llvm.abi import Command
from mlx.backend.llvm.arena import ALIGN, arrange, temporaries
from mlx.backend.llvm.executable import Executable, is_small
from mlx.backend.llvm.programs import assemble
from mlx.compiler.plan import make_plan
from mlx.compiler.recipe import Recipe
from mlx.compiler.shadow import Fixed, shadow
from mlx.compiler.sizes import Size, value_of
from mlx.compiler.steps import Plan
from mlx.graph.node import Node

Named = dict[tuple[int, ...], tuple[Any, ...]]


class Template:
    """How to make the executable of a region for other sizes."""

    _found: tuple[list[int], ...]
    """Of the plan."""

    def __init__(
        self,
        recipe: Recipe,
        named: Named,
        order: Sequence[Node],
        live: list[int],
        leaves: Sequence[Node],
        scalars: list[Node],
        workers: int,
        check_size: Callable[[int], None],
        like: Template | None,
    ) -> None:
        """Plan a region whose tuples of sizes have the ``named`` values, sizes of ``recipe``;
        what was found planning it for sizes ``like`` these need not be found again.
        Raises Fixed where that can't be done, and what ``check_size`` raises where a buffer
        can't be allocated."""
        self._recipe = recipe
        self._last_placed: tuple[Sequence[int], list[int]] = ((), [0])
        self._in_consts: list[tuple[int, int]] = []
        """Numbers that depend on sizes: where they stand, and which size each is."""
        self._in_table: list[tuple[int, int]] = []
        nodes, stand_ins, signs = shadow(order, leaves, named)
        at = {node: i for i, node in enumerate(order)}
        numbers = [nodes[at[node]] for node in scalars]
        before = () if like is None else like._found
        plan = make_plan(nodes, {nodes[i] for i in live}, before, signs)
        self._found = plan.found
        for buffer in plan.buffers:
            if buffer.kind != "leaf":
                check_size(value_of(buffer.nbytes))
        made = assemble(plan, nodes, live, stand_ins, numbers, workers, self._place)
        commands = [c for c in made.commands if isinstance(c, Command)]
        if len(commands) < len(made.commands):
            raise Fixed("a host call")
        self._small = is_small(commands)
        self._rest = [i for i in range(len(commands)) if i not in made.carries]
        self._rest_small = is_small([commands[i] for i in self._rest])
        self._libraries = programs.compiled(commands, workers)
        recipe.close()
        self._like = made
        self._commands = commands
        self._fill(plan)

    def _place(self, plan: Plan) -> Any:
        """Every temporary at a place of its own that is yet unknown; the size of the arena."""
        temps = temporaries(plan)
        self._lives = [(b.first, b.last) for b in temps]
        self._sizes = [b.nbytes for b in temps]
        *places, total = arrange([value_of(n) for n in self._sizes], self._lives)
        for buffer, place in zip(temps, places, strict=True):
            buffer.position = self._recipe.place(place) * ALIGN
        return self._recipe.place(total) * ALIGN

    def _fill(self, plan: Plan) -> None:
        """The tables as they are now, and the function that changes them."""
        numbers: list[Any] = []
        table: list[Any] = []
        self._starts = [0]
        for command, library in zip(self._commands, self._libraries, strict=True):
            table += [library.address("kernel"), 8 * len(numbers), command.tasks, 0]
            numbers += command.consts
            self._starts.append(len(numbers))
        self._consts = array("q", map(value_of, numbers))
        self._table = array("q", map(value_of, table))
        changing: dict[str, int] = {}  # sizes that commands hold, most of them many times
        sizes: list[Any] = []
        for numbers_of, changes in ((numbers, self._in_consts), (table, self._in_table)):
            for i, number in enumerate(numbers_of):
                if type(number) is Size:
                    if number.name not in changing:
                        changing[number.name] = len(sizes)
                        sizes.append(number)
                    changes.append((i, changing[number.name]))
        like = self._like
        self._bind = self._recipe.function(
            "sizes, place, lives, check",
            [*self._sizes, *like.output_bytes],
            "place({0}, lives, check)",
            [sizes, like.output_bytes, [at for _, _, at in like.results], [like.arena_bytes]],
        )

    def bind(
        self,
        sizes: Sequence[int],
        make_program: Callable[..., Any],
        check_size: Callable[[int], None],
    ) -> Executable | None:
        """The executable for other sizes; None where planning would have decided otherwise.
        ``check_size`` raises where a buffer can't be allocated."""
        found = self._bind(sizes, self._placed, self._lives, check_size)
        if found is None:
            return None
        consts, table, like = self._consts[:], self._table[:], self._like
        result = Executable()
        changed, output_bytes, offsets, (result.arena_bytes,) = found
        result.output_bytes = list(output_bytes)
        for at, i in self._in_consts:
            consts[at] = changed[i]
        for at, i in self._in_table:
            table[at] = changed[i]
        result.results = [
            (kind, number, offset)
            for (kind, number, _), offset in zip(like.results, offsets, strict=True)
        ]
        result.can_fail, result.plain = like.can_fail, like.plain
        result.donations = like.donations
        result.donors = like.donors
        result.leaves, result.leaf_order = like.leaves, like.leaf_order
        result.scalar_order = like.scalar_order
        result.carries, result.lean = like.carries, None
        result.segments = []
        if like.carries and self._rest:
            rest = array("q", [n for i in self._rest for n in table[4 * i : 4 * i + 4]])
            result.lean = make_program(rest, consts, self._rest_small, self._libraries)
        if table:
            result.segments.append(make_program(table, consts, self._small, self._libraries))
        result.commands = partial(self._described, tuple(sizes), consts, table)
        return result.seal()

    def _placed(
        self,
        sizes: Sequence[int],
        lives: Sequence[tuple[int, int]],
        check: Callable[[int], None],
    ) -> list[int]:
        """The places of as many buffers as have ``lives``; the sizes behind theirs are outputs'.
        Most bindings change the sizes of outputs alone."""
        if sizes:
            check(max(sizes))
        temporary = sizes[: len(lives)]
        before, places = self._last_placed
        if temporary != before:
            places = arrange(temporary, lives)
            self._last_placed = temporary, places
        return places

    def _described(
        self, sizes: tuple[int, ...], consts: array[int], table: array[int]
    ) -> list[Command]:
        """The commands of a bound executable, for whoever wants to see them."""
        measure = self._recipe.function(
            "sizes, place, lives, check",
            self._sizes,
            "place({0}, lives, check)",
            [(command.bytes, command.flops) for command in self._commands],
        )
        measured = measure(sizes, self._placed, self._lives, lambda nbytes: None)
        return [
            Command(c.spec, consts[start:stop].tolist(), table[4 * i + 2], c.label, *numbers)
            for i, (c, start, stop, numbers) in enumerate(
                zip(self._commands, self._starts, self._starts[1:], measured, strict=False)
            )
        ]
