"""The structure of what a function reaches, in a form that is compared with few steps of Python.

Everything reached lies in one flat list: first the roots, then the parts of each value that has
parts, in the order in which they are met.  Two scans of one structure differ in arrays and
constants alone, at the same positions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import chain
from operator import attrgetter
from typing import Any, NamedTuple

from mlx.api import matcher
from mlx.array import array
from mlx.base.tree import picker
from mlx.graph.node import Node

SEQUENCE, DICTIONARY, MODULE, ATTRIBUTES, CELL, PARTS, GROUP = range(7)
"""How a value is taken apart; a module is a dictionary that also has attributes.  A group is
several sequences, dictionaries or modules of one type: first come the items of all of them,
then the attributes of all of them."""
GROWN, TALLIED = object(), object()
_HOW = {
    SEQUENCE: matcher.ITEMS,
    DICTIONARY: matcher.VALUES,
    MODULE: matcher.VALUES_AND_ATTRIBUTES,
    ATTRIBUTES: matcher.ATTRIBUTES_OF,
    CELL: matcher.CELL_OF,
    PARTS: matcher.PARTS_OF,
}
_NAMED = (DICTIONARY, MODULE, ATTRIBUTES)
_OFTEN = 3
"""Calls of one structure after which code is written for it."""


class Step(NamedTuple):
    """Take the value at a position apart, or a group's at several."""

    at: Any
    kind: type
    mode: int
    extra: Any
    """PARTS: the function that does it; MODULE: how many items the dictionary has; GROUP: how
    many items each has, and how many attributes (None if they have no ``__dict__``)."""
    end: int
    """How long the flat list is then."""


class Name:
    """A global variable that a function names, as a container of one value."""

    __slots__ = ("namespace", "key")

    def __init__(self, namespace: dict[str, Any], key: str) -> None:
        self.namespace = namespace
        self.key = key


class Found:
    """What one call reaches.

    Attributes:
        handles: the arrays, each once; ``nodes``: what they name.
        constants: the guarded ones; ``types``: shapes and dtypes of the arrays.
    """

    __slots__ = ("constants", "dtypes", "flat", "handles", "nodes", "pattern", "shapes")

    def __init__(self, pattern: Pattern, flat: list[Any], handles: Any, nodes: list[Node]) -> None:
        self.pattern = pattern
        self.flat = flat
        self.handles: Sequence[array] = handles
        self.nodes = nodes
        self.constants: tuple[Any, ...] = tuple(pattern.pick_constants(flat))
        self.shapes = [node.shape for node in nodes]
        self.dtypes = [node.dtype for node in nodes]

    @property
    def key(self) -> Any:
        """Tells calls of one structure apart: constants exactly (-0.0, NaN), shapes, dtypes."""
        exact = tuple([c if c == c and c != 0 else repr(c) for c in self.constants])
        return exact, tuple(self.shapes), tuple([dtype.index for dtype in self.dtypes])

    @classmethod
    def of(
        cls,
        pattern: Pattern,
        flat: list[Any],
        handles: Sequence[array],
        nodes: list[Node],
        constants: tuple[Any, ...],
        shapes: list[Any],
        dtypes: list[Any],
    ) -> Found:
        """All of it as it was found."""
        self = cls.__new__(cls)
        self.pattern, self.flat, self.handles, self.nodes = pattern, flat, handles, nodes
        self.constants, self.shapes, self.dtypes = constants, shapes, dtypes
        return self

    def container(self, number: int) -> Any:
        """What may be written to: a dictionary, list, cell or name."""
        where = self.pattern.containers[number]
        if type(where) is int:
            return self.flat[where] if where >= 0 else self.flat[~where].__dict__
        return where


class Pattern:
    """What all scans of one structure have in common.

    Attributes:
        key: equal for equal structures.
        steps: how the flat list is made.
        containers: position of each container, its complement where it is the value's
            ``__dict__``, or a Name.
        open: what is not looked at, for the function only counts or grows it: (number of the
            container, key there, or GROWN for a list, TALLIED for all items).
        pinned: objects that the structure knows by ``id``.
        entries: what a compiled function keeps for calls of this structure.
    """

    def __init__(self, key: Any, pinned: list[Any], containers: list[Any], steps: list[Step]):
        self.key = key
        self.pinned = pinned
        self.containers = containers
        self.steps: list[tuple[Any, ...]] = [
            (picker(at), kind, mode, extra, end) if mode == GROUP else (at, kind, mode, extra, end)
            for at, kind, mode, extra, end in steps
        ]
        self.open: set[tuple[int, Any]] = set()
        self.entries: dict[Any, Any] = {}
        self.last: Any = None
        self._written: Callable[[list[Any]], Found | None] | None = None
        self._matches = 0

    def fix(
        self,
        flat: list[Any],
        keys: list[Any],
        fixed: list[int],
        constants: list[int],
        sets: list[int],
        arrays: list[int],
        distinct: list[int],
        aliases: list[tuple[int, int]],
    ) -> None:
        """Say what is compared, by positions."""
        self._types = list(map(type, flat))
        self._keys = keys
        self._compared = (fixed, distinct, aliases, arrays, constants, sets)
        self._pick_fixed = picker(fixed)
        self._ids = list(map(id, self._pick_fixed(flat)))
        self.pick_constants = picker(constants)
        self._pick_sets = picker(sets)
        kept = self._pick_sets(flat)
        self._sets = type(kept)([frozenset(s) for s in kept])  # type: ignore[call-arg]
        self._pick_arrays = picker(arrays)
        self._aliases = aliases
        nodes = [flat[at]._node for at in arrays]
        self._nodes = len(set(nodes))
        self._same = [(i, nodes.index(n)) for i, n in enumerate(nodes) if nodes.index(n) != i]
        if self._same:  # else arrays that differ in their nodes differ
            distinct = distinct + arrays
        self._pick_distinct = picker(distinct)
        self._distinct = len(distinct)

    def flatten(self, flat: list[Any]) -> bool:  # noqa: C901 (one branch a way)
        """Take the roots in ``flat`` apart; whether their structure may be this one."""
        keys: list[Any] = []
        for at, kind, mode, extra, end in self.steps:
            if mode == GROUP:
                if not _take_group(at(flat), kind, extra, flat, keys) or len(flat) != end:
                    return False
                continue
            value = flat[at]
            if type(value) is not kind:
                return False
            if mode == SEQUENCE:
                flat += value
            elif mode == PARTS:
                flat += extra(value)
            elif mode == CELL:
                flat.append(value.cell_contents)
            else:
                if mode != ATTRIBUTES:
                    keys += value
                    flat += value.values()
                if mode != DICTIONARY:
                    keys += value.__dict__
                    flat += value.__dict__.values()
            if len(flat) != end or (mode == MODULE and len(value) != extra):
                return False
        return keys == self._keys and list(map(type, flat)) == self._types

    def match(self, roots: list[Any]) -> Found | None:
        """The scan of a call if its structure is this one.  ``roots`` is taken over."""
        if self._written is not None:
            return self._written(roots)
        flat, count = roots, len(roots)
        try:
            if not self.flatten(flat):
                return None
        except (AttributeError, KeyError, RuntimeError, ValueError):
            return None  # a part is gone
        handles = self._pick_arrays(flat)
        nodes = [handle._node for handle in handles]
        if (
            len(set(nodes)) != self._nodes
            or list(map(id, self._pick_fixed(flat))) != self._ids
            or len(set(map(id, self._pick_distinct(flat)))) != self._distinct
            or self._pick_sets(flat) != self._sets
        ):
            return None
        for at, first in self._aliases:
            if flat[at] is not flat[first]:
                return None
        for at, first in self._same:
            if nodes[at] is not nodes[first]:
                return None
        self._matches += 1
        if self._matches == _OFTEN:
            self._written = self._write(flat, count)
        return Found(self, flat, handles, nodes)

    def _write(self, flat: list[Any], roots: int) -> Callable[[list[Any]], Found | None] | None:
        """This comparison as straight-line code; None where it is long or unusual."""
        fixed, distinct, aliases, arrays, constants, sets = self._compared
        if len(flat) > matcher.LONGEST or sets or self._same:
            return None
        opened = []
        start, named = roots, 0
        for at, kind, mode, extra, end in self.steps:
            if mode == GROUP:
                return None
            attributes = end - start - extra if mode == MODULE else 0
            names = end - start if mode in _NAMED else 0
            keys = self._keys[named : named + names]
            opened.append(
                matcher.Opened(
                    at, kind, _HOW[mode], extra, end - start - attributes, attributes, keys
                )
            )
            start, named = end, named + names
        ids = dict(zip(fixed, self._ids, strict=True))
        compared = matcher.Compared(roots, self._types, ids, distinct, aliases, arrays, constants)
        return matcher.written(opened, compared, partial(Found.of, self))


_attributes_of = attrgetter("__dict__")


def _take_group(
    values: Sequence[Any], kind: Any, sizes: tuple[Any, Any], flat: list[Any], keys: list[Any]
) -> bool:
    """Take apart values of one type; False if they are not of it, or of other lengths."""
    lengths, own = sizes
    if set(map(type, values)) != {kind} or list(map(len, values)) != lengths:
        return False
    if not issubclass(kind, dict):
        flat += chain.from_iterable(values)
        return True
    keys += chain.from_iterable(values)
    flat += chain.from_iterable(map(kind.values, values))
    if own is not None:
        attributes = list(map(_attributes_of, values))
        keys += chain.from_iterable(attributes)
        flat += chain.from_iterable(map(dict.values, attributes))
        return list(map(len, attributes)) == own
    return True
