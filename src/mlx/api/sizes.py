"""Which numbers in a graph are sizes of its inputs: found by tracing it at several sizes.

A function is traced again with one free size changed at a time.  A number of the graph that
follows is written as a sum (``{"sum": [constant, [factor, size], ...]}``) or as a product
(``{"times": [factor, size, ...]}``, or with ``"over"`` its inverse) of sizes.  A trace with all
sizes changed at once proves the result; where it doesn't, the function has no shapeless form.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from math import isclose, prod
from typing import Any

from mlx.base.lazy import LazyModule

fractions = LazyModule("fractions")

Shapes = Sequence[tuple[int, ...]]
Group = tuple[tuple[int, int], ...]
"""Dimensions, (input, axis) each, that have one size."""
_FRESH = (5, 7)
_TOGETHER = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47)
"""Multiples of the example's size to try, so that what divides it still does."""


class Unrelated(Exception):
    """A number that follows the sizes in no known way."""


def parametrize(trace: Callable[[Shapes], Any], shapes: Shapes) -> tuple[Any, list[Group]]:
    """The graph with expressions for its sizes, and what is free in it."""
    base = trace(shapes)
    free = _free(trace, shapes, base)
    sizes = [shapes[g[0][0]][g[0][1]] for g in free]
    samples = [(sizes, base)]
    for group, at in itertools.product(range(len(free)), _FRESH):
        changed = [times(n, at) if i == group else n for i, n in enumerate(sizes)]
        samples.append((changed, trace(resized(shapes, free, changed))))
    if len(free) > 1:
        primes = itertools.cycle(_TOGETHER)
        together = [times(n, by) for n, by in zip(sizes, primes, strict=False)]
        samples.append((together, trace(resized(shapes, free, together))))
    return _merge([s for s, _ in samples], [g for _, g in samples]), free


def times(size: int, by: int) -> int:
    return size * by if size else by


def resized(shapes: Shapes, groups: Sequence[Group], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    out = [list(shape) for shape in shapes]
    for group, size in zip(groups, sizes, strict=True):
        for at, axis in group:
            out[at][axis] = size
    return [tuple(shape) for shape in out]


def _free(trace: Callable[[Shapes], Any], shapes: Shapes, base: Any) -> list[Group]:
    """Dimensions that may change alone, then those of one size that may change together."""

    def works(group: Group) -> bool:
        sizes = [times(shapes[group[0][0]][group[0][1]], by) for by in _FRESH]
        try:
            return all(_alike(base, trace(resized(shapes, [group], [n]))) for n in sizes)
        except Exception:  # the function does not take these sizes
            return False

    bound: dict[int, list[tuple[int, int]]] = {}
    free: list[Group] = []
    for at, shape in enumerate(shapes):
        for axis, size in enumerate(shape):
            if works(((at, axis),)):
                free.append(((at, axis),))
            else:
                bound.setdefault(size, []).append((at, axis))
    return free + [g for g in map(tuple, bound.values()) if len(g) > 1 and works(g)]


def _alike(a: Any, b: Any) -> bool:
    """Whether two graphs differ in numbers alone."""
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_alike(a[k], b[k]) for k in a)
    return a == b or _is_number(a) and _is_number(b)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _merge(sizes: list[Sequence[int]], values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, list):
        return [_merge(sizes, list(v)) for v in zip(*values, strict=True)]
    if isinstance(first, dict):
        return {k: _merge(sizes, [v[k] for v in values]) for k in first}
    if all(type(v) is type(first) and (v == first or v != v) for v in values):
        return first
    if not all(map(_is_number, values)):
        raise Unrelated(f"{values[0]!r} becomes {values[1]!r}")
    for make in (_sum, _times, _over):
        found = make(sizes, values)
        if found is None:
            continue
        found["real"] = isinstance(first, float)
        if all(
            isclose(evaluated(found, s), v, rel_tol=1e-12)
            for s, v in zip(sizes, values, strict=True)
        ):
            return found
    raise Unrelated(f"the number {first} of the graph, which follows several sizes at once")


def _sum(sizes: list[Sequence[int]], values: list[Any]) -> Any:
    """A constant and a multiple of each size, from its first sample."""
    terms, constant = [], fractions.Fraction(values[0])
    for i, size in enumerate(sizes[0]):
        sample = 1 + i * len(_FRESH)
        slope = fractions.Fraction(values[sample] - values[0]) / (sizes[sample][i] - size)
        if slope:
            terms.append([float(slope), i])
            constant -= slope * size
    return {"sum": [float(constant), *terms]}


def _followed(sizes: list[Sequence[int]], values: list[Any]) -> list[int]:
    return [i for i in range(len(sizes[0])) if values[1 + i * len(_FRESH)] != values[0]]


def _times(sizes: list[Sequence[int]], values: list[Any]) -> Any:
    which = _followed(sizes, values)
    whole = prod(sizes[0][i] for i in which)
    return {"times": [values[0] / whole, *which]} if which and whole else None


def _over(sizes: list[Sequence[int]], values: list[Any]) -> Any:
    which = _followed(sizes, values)
    return {"over": [values[0] * prod(sizes[0][i] for i in which), *which]} if which else None


def evaluated(graph: Any, sizes: Sequence[int]) -> Any:
    """The graph with its expressions replaced by numbers."""
    if isinstance(graph, list):
        return [evaluated(v, sizes) for v in graph]
    if not isinstance(graph, dict):
        return graph
    if "sum" in graph:
        constant, *terms = graph["sum"]
        return _number(constant + sum(factor * sizes[i] for factor, i in terms), graph["real"])
    if "times" in graph or "over" in graph:
        factor, *which = graph["times" if "times" in graph else "over"]
        whole = prod(sizes[i] for i in which)
        return _number(factor * whole if "times" in graph else factor / whole, graph["real"])
    return {k: evaluated(v, sizes) for k, v in graph.items()}


def _number(value: float, is_real: bool) -> int | float:
    nearest = round(value)
    if isclose(value, nearest, rel_tol=1e-12, abs_tol=1e-9):
        return float(nearest) if is_real else nearest
    return value
