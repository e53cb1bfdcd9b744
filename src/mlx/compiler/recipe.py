"""What planning computed of sizes, as code that computes it for other sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from mlx.compiler.sizes import UNBOUNDED, Number, Size, name_of, sizes_in


class Recipe:
    """The sizes of one plan: ``variables`` stand for these values, all different, at least 2."""

    def __init__(self, values: Sequence[int]) -> None:
        self.is_open = True
        self.sizes: dict[str, Size] = {}
        self.guards: dict[tuple[str, str, str], tuple[str, tuple[Size, ...]]] = {}
        self.hashed: dict[str, Size] = {}
        self.functions: dict[str, Callable[..., int]] = {}
        self.results: dict[tuple[Any, ...], Number] = {}
        """What operations gave, and ``outcomes`` of comparisons, by what is compared with."""
        self.outcomes: dict[tuple[str, str], dict[Any, Any]] = {}
        self._made: dict[str, Size] = {}
        self._products: dict[tuple[int, tuple[str, ...]], Size] = {}
        self.variables = [self._variable(value, 2) for value in values]
        self.places: list[Size] = []
        self._distinct = {v.name for v in self.variables}

    def _variable(self, value: int, low: int) -> Size:
        size = Size(self, "", (), value, low)
        self._products[1, size.atoms] = size
        return size

    def place(self, value: int) -> Size:
        """A number that becomes known only when all sizes are: a place in memory."""
        size = self._variable(value, 0)
        self.places.append(size)
        return size

    def made(self, text: str, inputs: tuple[Size, ...], value: int, low: int) -> Size:
        """The result of an operation; the same text is the same size."""
        size = self._made.get(text)
        if size is None:
            size = self._made[text] = Size(self, text, inputs, value, low)
            self._products[1, size.atoms] = size
        return size

    def product(
        self, factor: int, atoms: tuple[str, ...], text: str, inputs: tuple[Size, ...], value: int
    ) -> Number:
        """``factor`` times ``atoms``, which ``text`` computes."""
        if not atoms or not factor:
            return factor
        size = self._products.get((factor, atoms))
        if size is None:
            low = factor
            for atom in atoms:
                low *= self.sizes[atom].low
            is_bounded = factor > 0 and all(self.sizes[atom].low >= 0 for atom in atoms)
            size = Size(self, text, inputs, value, low if is_bounded else UNBOUNDED)
            size.factor, size.atoms = factor, atoms
            self._products[factor, atoms] = size
        return size

    def guard(self, comparison: str, a: Size, b: Number, outcome: bool) -> None:
        """A decision that planning took."""
        other = name_of(b)
        key = (comparison, a.name, other)
        if key not in self.guards:
            test = f"{a.name} {comparison} {other}"
            self.guards[key] = (test if outcome else f"not {test}", sizes_in(a, b))

    def is_variable(self, size: Size) -> bool:
        return size.name in self._distinct

    def close(self) -> None:
        """End planning: what dictionaries told apart must stay apart, and equal equal."""
        by_value: dict[int, Size] = {}
        for size in self.hashed.values():
            first = by_value.setdefault(size.value, size)
            if first is not size:
                self.guard("==", size, first, True)
            elif size.value in (0, 1):
                self.guard("==", size, size.value, True)
        self.is_open = False
        apart = tuple(size for value, size in by_value.items() if value not in (0, 1))
        if len(apart) > 1 and not all(self.is_variable(size) for size in apart):
            names = ", ".join(s.name for s in apart)
            self.guards["distinct", "", ""] = (f"len({{0, 1, {names}}}) == {len(apart) + 2}", apart)

    # -- code --------------------------------------------------------------------------

    def function(
        self,
        arguments: str,
        needed: Sequence[Number],
        placing: str,
        results: Sequence[Sequence[Number]],
    ) -> Callable[..., Any]:
        """Code that is given the variables (``sizes``) and returns None where a guard fails, else
        tuples of the numbers in ``results``.

        The numbers ``needed`` come before the line ``placing``, which yields the places and names
        these numbers in braces: {0}.
        """
        writer = _Writer(self)
        late = []
        writer.unpack([v.name for v in self.variables], "sizes")
        for test, inputs in self.guards.values():
            if writer.compute(inputs):
                writer.lines.append(f"if not ({test}): return None")
            else:
                late.append((test, inputs))
        if self.places:
            writer.compute(sizes_in(*needed))
            listed = "".join(f"{name_of(n)}, " for n in needed)
            writer.unpack([p.name for p in self.places], placing.format(f"({listed})"))
            writer.late.clear()
        for test, inputs in late:
            writer.compute(inputs)
            writer.lines.append(f"if not ({test}): return None")
        for numbers in results:
            writer.compute(sizes_in(*numbers))
        tuples = "".join(
            f"({''.join(f'{name_of(n)}, ' for n in numbers)}), " for numbers in results
        )
        writer.lines.append(f"return ({tuples})")
        source = f"def bind({arguments}):\n    " + "\n    ".join(writer.lines)
        scope: dict[str, Any] = dict(self.functions)
        exec(compile(source, "<template>", "exec"), scope)
        return scope["bind"]


class _Writer:
    """Lines of code, each size computed once, before its first use."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.known: set[str] = set()
        self.late: set[str] = {p.name for p in recipe.places}
        self.lines: list[str] = []

    def unpack(self, names: list[str], value: str) -> None:
        self.known.update(names)
        if names:
            self.lines.append(f"{', '.join(names)}, = {value}")

    def compute(self, sizes: Iterable[Size]) -> bool:
        """Write what the sizes need; False if some need places that aren't known."""
        stack = list(sizes)
        while stack:
            size = stack[-1]
            if size.name in self.known:
                stack.pop()
                continue
            if size.name in self.late or any(i.name in self.late for i in size.inputs):
                self.late.add(size.name)
                return False
            missing = [i for i in size.inputs if i.name not in self.known]
            if missing:
                stack += missing
                continue
            self.known.add(stack.pop().name)
            self.lines.append(f"{size.name} = {size.text}")
        return True
