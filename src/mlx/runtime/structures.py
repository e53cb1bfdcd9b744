"""Programs by structure: what one region and its like, at other sizes, were planned as.

A structure sees which of its sizes change.  The first sizes are planned as they are; from the
second on a template is made in which what changes is open, and new sizes only bind it.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from mlx.base.lazy import LazyModule
from mlx.graph.node import Node
from mlx.runtime import team
from mlx.runtime.described import Described
from mlx.runtime.memory import check_size

if TYPE_CHECKING:
    from mlx.backend.llvm.executable import Executable
    from mlx.backend.llvm.template import Named, Template
    from mlx.compiler.recipe import Recipe

programs = LazyModule("mlx.backend.llvm.programs")
recipes = LazyModule("mlx.compiler.recipe")
stored = LazyModule("mlx.backend.llvm.stored")
shadow = LazyModule("mlx.compiler.shadow")
templates = LazyModule("mlx.backend.llvm.template")

Shapes = tuple[tuple[int, ...], ...]
PROGRAMS = 2048
WORDS = 1 << 19
"""What the keys of all programs hold; a program takes some 300 bytes for each number there."""
STRUCTURES = 2048
VARIANTS = 64
"""Templates tried for one pattern of equal sizes."""
PATIENCE = 16
"""Templates after which more are made only if those there are bind now and then."""
counters = {"planned": 0, "templates": 0, "bound": 0, "refused": 0, "stored": 0}


class Region:
    """A walk over a region and what else planning needs; planning goes by serial numbers."""

    __slots__ = ("_equal", "_live", "_of", "_threads", "shapes")

    def __init__(
        self,
        of: Described,
        live: list[int],
        shapes: Shapes,
        equal: tuple[int, ...],
        threads: int,
    ) -> None:
        self._of = of
        self._equal = equal
        self._live = live
        self.shapes = shapes
        self._threads = threads

    def _nodes(self) -> tuple[list[Node], list[int], list[Node], list[Node]]:
        """The nodes in order of serial, which of them are outputs, leaves, run-time numbers."""
        of = self._of
        order = sorted(of.order, key=_serial)
        index = {node: i for i, node in enumerate(order)}
        return order, [index[of.order[i]] for i in self._live], of.leaves, of.scalars

    def planned(self, name: str | None = None) -> Executable:
        """The executable, planned for exactly these sizes; kept on disk if it has a name."""
        return programs.build_executable(
            *self._nodes(), self._threads, team.Program, check_size, name
        )

    def name(self) -> str | None:
        """What says the region to other processes, if it is worth being kept."""
        of = self._of
        if not stored.is_kept(len(of.order)):
            return None
        rest = self._live, self._threads, self._equal
        return stored.name_of(of.order, of.leaves, of.shapes, rest)

    def template(self, recipe: Recipe, named: Named, like: Template | None) -> Template:
        """A template for other sizes; ``like`` one whose guards these fail."""
        return templates.Template(recipe, named, *self._nodes(), self._threads, check_size, like)


_serial = operator.attrgetter("serial")


class Structure:
    """All sizes of one structure that were met."""

    __slots__ = ("_bound", "_first", "_made", "_open", "_pick", "_plain", "_templates")
    _pick: Callable[[tuple[int, ...]], tuple[int, ...]]
    """Takes the sizes that change, once there are some."""

    def __init__(self) -> None:
        self._first: tuple[int, ...] | None = None
        self._open: list[int] = []  # positions of the sizes that change
        self._templates: dict[tuple[int, ...], list[Template]] = {}
        self._made = 0
        self._bound = 0
        self._plain: Template | None = None  # for sizes of which none is 0 or 1

    def executable(self, region: Region) -> Executable:
        """The executable of a region at sizes not met before."""
        sizes = tuple(chain.from_iterable(region.shapes))
        if self._first is None:
            self._first = sizes
            return _first_met(region)
        self._observe(sizes, self._first)
        if not self._open:  # its program was forgotten, or planning it interrupted
            return _first_met(region)
        pattern, values = _pattern(self._pick(sizes))
        known = self._templates.setdefault(pattern, [])
        for at, template in enumerate(known):
            found = template.bind(values, team.Program.bound, check_size)
            if found is not None:
                if at:
                    known.insert(0, known.pop(at))
                counters["bound"] += 1
                self._bound += 1
                return found
        return self._templated(region, sizes, values, known, min(pattern) >= 0)

    def _observe(self, sizes: tuple[int, ...], first: tuple[int, ...]) -> None:
        """Note which sizes are not what they were."""
        is_open = self._open
        new = [i for i, (a, b) in enumerate(zip(sizes, first, strict=True)) if a != b]
        if not set(new).issubset(is_open):
            self._open = sorted({*new, *is_open})
            self._templates.clear()
            self._pick = _picker(self._open)

    def _templated(
        self,
        region: Region,
        sizes: tuple[int, ...],
        values: list[int],
        known: list[Template],
        is_plain: bool,
    ) -> Executable:
        """Make a template of these sizes and bind it to them."""
        if len(known) >= VARIANTS or self._made >= max(PATIENCE, 2 * self._bound):
            return _planned(region)
        self._made += 1
        recipe = recipes.Recipe(values)
        variables = dict(zip(values, recipe.variables, strict=True))
        is_open = set(self._open)
        flat = [variables.get(n, n) if i in is_open else n for i, n in enumerate(sizes)]
        named: Named = {}
        start = 0
        for shape in region.shapes:
            named[shape] = tuple(flat[start : start + len(shape)])
            start += len(shape)
        like = known[0] if known else self._plain if is_plain else None
        try:
            template = region.template(recipe, named, like)
        except shadow.Fixed:
            self._made += 1 << 30
            return _planned(region)
        except (TypeError, AttributeError):  # a planner insists on plain integers
            counters["refused"] += 1
            self._made += 1 << 30
            return _planned(region)
        counters["templates"] += 1
        known.insert(0, template)
        if is_plain:
            self._plain = template
        found = template.bind(values, team.Program.bound, check_size)
        assert found is not None
        return found


def _picker(positions: list[int]) -> Callable[[Any], tuple[int, ...]]:
    if len(positions) == 1:
        only = positions[0]
        return lambda sizes: (sizes[only],)
    return operator.itemgetter(*positions)


def _planned(region: Region) -> Executable:
    counters["planned"] += 1
    team.prepare()
    return region.planned()


def _first_met(region: Region) -> Executable:
    """The program of a structure's first sizes: as another process planned it, or planned."""
    name = region.name()
    found = name and stored.load(name, team.Program.bound, check_size)
    if found:
        counters["stored"] += 1
        return found
    counters["planned"] += 1
    team.prepare()
    return region.planned(name)


def _pattern(sizes: Sequence[int]) -> tuple[tuple[int, ...], list[int]]:
    """Which of the sizes are 0, 1, or equal to others; and the different ones above 1."""
    numbers: dict[int, int] = {0: -1, 1: -2}
    pattern = tuple([numbers.setdefault(n, len(numbers)) for n in sizes])
    return pattern, list(numbers)[2:]


class Programs:
    """Executables by structure and sizes; those used last are kept."""

    def __init__(self) -> None:
        self._structures: OrderedDict[Any, Structure] = OrderedDict()
        self._programs: dict[Any, Executable] = {}
        self._words = 0
        self._clock = 0

    def find(self, key: Any) -> Executable | None:
        """The executable of a structure and sizes that were met before.

        It notes the time instead of moving to an end: a key is long, and hashed each time.
        """
        program = self._programs.get(key)
        if program is not None:
            program.used = self._clock = self._clock + 1
        return program

    def make(self, key: Any, structure: Any, region: Region) -> Executable:
        """Plan or bind, and keep the result."""
        known = self._structures.get(structure)
        if known is None:
            known = self._structures[structure] = Structure()
            if len(self._structures) > STRUCTURES:
                self._structures.popitem(last=False)
        else:
            self._structures.move_to_end(structure)
        program = self._programs[key] = known.executable(region)
        program.used = self._clock = self._clock + 1
        self._words += len(key[0])
        if len(self._programs) > PROGRAMS or self._words > WORDS:
            self._forget()
        return program

    def _forget(self) -> None:
        """Let go of the eighth not used for longest, but not of the last."""
        oldest = sorted(self._programs, key=lambda key: self._programs[key].used)[:-1]
        programs, words = len(self._programs) * 7 // 8, self._words * 7 // 8
        for key in oldest:
            if len(self._programs) <= programs and self._words <= words:
                break
            self._words -= len(key[0])
            del self._programs[key]

    def clear(self) -> None:
        """Forget all."""
        self._structures.clear()
        self._programs.clear()
        self._words = 0
