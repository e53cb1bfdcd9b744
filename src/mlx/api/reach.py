"""What a function can reach: the arrays it captures, and the containers it may change."""

from __future__ import annotations

import collections
import functools
import types
from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

from mlx.api.origin import is_foreign, is_ours, is_users, knows_arrays
from mlx.api.pattern import (
    ATTRIBUTES,
    CELL,
    DICTIONARY,
    GROUP,
    GROWN,
    MODULE,
    PARTS,
    SEQUENCE,
    TALLIED,
    Found,
    Name,
    Pattern,
    Step,
)
from mlx.api.usage import Usage, names_in
from mlx.array import array
from mlx.base.dtype import Dtype

_SCALARS = frozenset({bool, int, float, complex, str, bytes, type(None), Dtype})
_SEQUENCES = (list, tuple, collections.deque)
PARTS_OF: dict[type, Callable[[Any], Sequence[Any]]] = {
    types.MethodType: lambda method: (method.__func__, method.__self__),
    functools.partial: lambda partial: (partial.func, partial.args, partial.keywords),
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda attribute: (attribute.fget,),
    slice: lambda cut: (cut.start, cut.stop, cut.step),
    range: lambda numbers: (numbers.start, numbers.stop, numbers.step),
}
"""Kinds of the standard library, and of others who add theirs, that are taken apart."""
_LONG = 1000
_MANY = 4
_EMPTY = object()


class Reach:
    """A scan without a pattern to compare with; ``found`` is what it leaves.

    ``patterns`` holds those known, by key; a new one is added by who wants to keep it.
    ``usage`` says which names only count or grow, and learns the code that is met.
    """

    def __init__(self, roots: list[Any], patterns: dict[Any, Pattern], usage: Usage) -> None:
        self._flat = roots
        self._usage = usage
        self._steps: list[Step] = []
        self._keys: list[Any] = []
        self._fixed: list[int] = []
        self._constants: list[int] = []
        self._sets: list[int] = []
        self._arrays: list[int] = []
        self._aliases: list[tuple[int, int]] = []
        self._containers: list[Any] = []
        self._namespaces: list[dict[str, Any]] = []
        self._seen: dict[int, int] = {}
        self._names: dict[int, tuple[int, Any, str]] = {}
        self._open: set[tuple[int, Any]] = set()
        self._open_lists: dict[int, str] = {}
        self._members: dict[int, str] = {}
        usage.settle()
        self._groups: dict[type, list[int]] = {}
        seen, wave = 0, len(roots)
        while seen < wave:
            for at in range(seen, wave):
                self._visit(at, roots[at])
            self._take_groups()
            seen, wave = wave, len(roots)
        self.found = self._result(patterns)

    def _visit(self, at: int, value: Any) -> None:
        kind = type(value)
        if at in self._names and self._is_open(at, value, kind):
            return
        if kind in _SCALARS:
            self._constants.append(at)
            return
        first = self._seen.setdefault(id(value), at)
        if kind is types.FunctionType:
            module = value.__module__ or ""
            if not is_ours(module) and not is_foreign(module):
                self._usage.meet(value.__code__, self._members.get(at))
        if first != at:
            self._aliases.append((at, first))
        elif kind is array:
            self._arrays.append(at)
        elif isinstance(value, (dict, *_SEQUENCES)):
            if len(value) > _LONG and _is_constant(value):
                self._fixed.append(at)  # known by identity and length
                self._parts(at, _length)
            else:
                self._groups.setdefault(kind, []).append(at)
        else:
            self._object(at, value, kind)

    def _take_groups(self) -> None:
        """Take apart the dictionaries and sequences of the wave, those of a type together."""
        groups, self._groups = self._groups, {}
        for kind, places in groups.items():
            if len(places) >= _MANY:
                self._group(kind, places)
                continue
            for at in places:
                value = self._flat[at]
                if isinstance(value, dict):
                    self._dictionary(at, value, kind)
                else:
                    self._sequence(at, value)

    def _group(self, kind: type, places: list[int]) -> None:
        flat = self._flat
        values = [flat[at] for at in places]
        own = None
        if not issubclass(kind, tuple):
            self._containers += places
        for value in values:
            if isinstance(value, dict):
                self._keys += value
                flat += value.values()
            else:
                flat += value
        if issubclass(kind, dict) and hasattr(values[0], "__dict__"):
            own = [len(value.__dict__) for value in values]
            for at, value in zip(places, values, strict=True):
                self._attributes(at, value.__dict__, len(flat), kind)
                flat += value.__dict__.values()
        lengths = [len(value) for value in values]
        self._steps.append(Step(tuple(places), kind, GROUP, (lengths, own), len(flat)))
        if own is not None:
            self._class_of(places[0], kind)

    def _is_open(self, at: int, value: Any, kind: type) -> bool:
        """Whether the function can't see the value: its name is never read, or it only counts
        or grows."""
        number, key, name = self._names[at]
        if kind is list or kind is dict:
            if kind is list and self._usage.grows(name):
                how = GROWN
            elif self._usage.tallies(name) and _is_constant(value):
                how = TALLIED
            else:
                return False
            self._open_lists[id(value)] = name
            self._open.add((len(self._containers), how))
            self._containers.append(at)
            return True
        if kind in _SCALARS and self._usage.counts(name, kind):
            self._open.add((number, key))
            return True
        return False

    def _step(self, at: int, mode: int, parts: Any, extra: Any = None) -> None:
        self._flat += parts
        self._steps.append(Step(at, type(self._flat[at]), mode, extra, len(self._flat)))

    def _parts(self, at: int, parts: Callable[[Any], Sequence[Any]]) -> None:
        self._step(at, PARTS, parts(self._flat[at]), parts)

    def _dictionary(self, at: int, value: dict, kind: type) -> None:
        self._containers.append(at)
        self._keys += value
        attributes = getattr(value, "__dict__", None)
        if attributes is None:
            self._step(at, DICTIONARY, value.values())
            return
        start = len(self._flat) + len(value)
        self._attributes(at, attributes, start, kind)
        self._step(at, MODULE, [*value.values(), *attributes.values()], len(value))
        self._class_of(at, kind)

    def _sequence(self, at: int, value: Any) -> None:
        if not isinstance(value, tuple):
            self._containers.append(at)
        self._step(at, SEQUENCE, value)

    def _object(self, at: int, value: Any, kind: type) -> None:
        if kind is types.CellType:
            self._cell(at, value)
        elif kind is types.FunctionType:
            self._function(at, value)
        elif kind in PARTS_OF:
            start = len(self._flat)
            self._parts(at, PARTS_OF[kind])
            if at in self._members:
                self._members |= dict.fromkeys(range(start, len(self._flat)), self._members[at])
        elif isinstance(value, type):
            self._fixed.append(at)
            if not is_foreign(value.__module__) and not is_ours(value.__module__):
                self._class(at, value)
        elif isinstance(value, (set, frozenset)):
            self._sets.append(at)
        else:
            self._fixed.append(at)
            if not is_foreign(kind.__module__):
                self._instance(at, value, kind)

    def _instance(self, at: int, value: Any, kind: type) -> None:
        attributes = getattr(value, "__dict__", None)
        if attributes is not None:
            self._attributes(at, attributes, len(self._flat), kind)
            self._step(at, ATTRIBUTES, attributes.values())
        if slots := _slots(kind):
            self._parts(at, lambda value: [getattr(value, name, _EMPTY) for name in slots])
        self._class_of(at, kind)

    def _attributes(self, at: int, attributes: dict[str, Any], start: int, kind: type) -> None:
        """Note the ``__dict__`` of the value, whose parts will be at ``start``."""
        self._seen[id(attributes)] = at
        if is_users(kind):
            number = len(self._containers)
            for i, key in enumerate(attributes):
                if not key.startswith("_") or kind.__base__ is object:
                    self._names[start + i] = (number, key, key)
        self._containers.append(~at)
        self._keys += attributes

    def _class_of(self, at: int, kind: type) -> None:
        """Look into the class of the value too, once."""
        if id(kind) not in self._seen and not is_ours(kind.__module__):
            self._parts(at, _kind)

    def _cell(self, at: int, value: types.CellType) -> None:
        try:
            content = value.cell_contents
        except ValueError:
            self._containers.append(at)
            self._parts(at, _cell_parts)
            return
        name = self._names.get(at)
        if name is not None:
            self._names[len(self._flat)] = (len(self._containers), None, name[2])
        self._containers.append(at)
        self._step(at, CELL, [content])

    def _class(self, at: int, value: type) -> None:
        names = tuple(
            name
            for name in vars(value)
            if not name.startswith("__") or isinstance(vars(value)[name], types.FunctionType)
        )
        get = itemgetter(*names, "__module__", "__module__")
        for i, name in enumerate(names):
            self._members[len(self._flat) + 2 + i] = name
        self._parts(at, lambda value: (value.__bases__, len(vars(value)), *get(vars(value))))

    def _function(self, at: int, value: types.FunctionType) -> None:
        code, namespace = value.__code__, value.__globals__
        own, others = self._globals(code, namespace)
        start = len(self._flat)
        cells = len(value.__closure__ or ())
        for i, name in enumerate(code.co_freevars):
            self._names[start + 4 + i] = (0, None, name)
        for i, name in enumerate([*own, *(key for _, key in others)]):
            named = Name(namespace if i < len(own) else others[i - len(own)][0], name)
            if not isinstance(named.namespace[name], types.ModuleType):
                self._names[start + 4 + cells + i] = (len(self._containers), None, name)
                self._containers.append(named)
        self._namespaces.append(namespace)
        self._parts(at, _function_parts(namespace, own, others))

    def _globals(
        self, code: types.CodeType, namespace: dict[str, Any]
    ) -> tuple[list[str], list[tuple[dict[str, Any], str]]]:
        """The global variables that a function names: its module's, and those of modules."""
        if is_ours(namespace.get("__name__")) or not knows_arrays(namespace):
            return [], []
        names, attributes = names_in(code)
        own = [name for name in names if name in namespace]
        others = []
        for name in own:
            found = namespace[name]
            if isinstance(found, types.ModuleType) and not is_ours(found.__name__):
                members = vars(found)
                if knows_arrays(members):
                    others += [(members, key) for key in attributes if key in members]
        return own, others

    def _result(self, patterns: dict[Any, Pattern]) -> Found:
        flat, arrays = self._flat, self._arrays
        handles = tuple([flat[at] for at in arrays])
        nodes = [handle._node for handle in handles]
        first: dict[Any, int] = {}
        key = (
            tuple(map(type, flat)),
            tuple([(s.mode, s.at, s.end, _lengths(s)) for s in self._steps]),
            tuple(self._keys),
            tuple([id(flat[at]) for at in self._fixed]),
            tuple(map(id, self._namespaces)),
            tuple([frozenset(flat[at]) for at in self._sets]),
            tuple(self._aliases),
            tuple([first.setdefault(node, i) for i, node in enumerate(nodes)]),
            frozenset(self._open),
        )
        pattern = patterns.get(key)
        if pattern is None:
            pinned = [*(flat[at] for at in self._fixed), *self._namespaces]
            pattern = Pattern(key, pinned, self._containers, self._steps)
            pattern.open = self._open
            grown = [
                self._containers[number] for number, key in self._open if key in (GROWN, TALLIED)
            ]
            places = [s.at if s.mode == GROUP else (s.at,) for s in self._steps]
            distinct = sorted({*chain.from_iterable(places), *grown})
            pattern.fix(
                flat, self._keys, self._fixed, self._constants, self._sets, arrays,
                distinct, self._aliases,
            )  # fmt: skip
        return Found(pattern, flat, handles, nodes)

    def conflicts(self) -> set[str]:
        """Names whose lists are also reached by ways where they are looked into."""
        return {name for at, name in self._open_lists.items() if at in self._seen}


def _is_constant(value: Any) -> bool:
    """Whether nothing but constants is in a container."""
    return set(map(type, value.values() if isinstance(value, dict) else value)) <= _SCALARS


def _lengths(step: Step) -> Any:
    return repr(step.extra) if step.mode in (MODULE, GROUP) else None


def _length(value: Any) -> tuple[int]:
    return (len(value),)


def _kind(value: Any) -> tuple[type]:
    return (type(value),)


def _cell_parts(cell: types.CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return (_EMPTY,)


def _function_parts(
    namespace: dict[str, Any], own: list[str], others: list[tuple[dict[str, Any], str]]
) -> Callable[[Any], Sequence[Any]]:
    """What takes apart a function of a module: its code, defaults, cells and globals."""

    def parts(function: types.FunctionType) -> Sequence[Any]:
        if function.__globals__ is not namespace:
            return ()
        found = [
            function.__code__, function.__defaults__, function.__kwdefaults__,
            function.__dict__ or None, *(function.__closure__ or ()),
        ]  # fmt: skip
        if own:
            found += [namespace[name] for name in own]
            if others:
                found += [members[key] for members, key in others]
        return found

    return parts


@functools.lru_cache(maxsize=4096)
def _slots(kind: type) -> tuple[str, ...]:
    """The attributes that instances keep outside ``__dict__``."""
    found: list[str] = []
    for base in kind.__mro__:
        names = base.__dict__.get("__slots__", ())
        found += (names,) if isinstance(names, str) else names
    return tuple(name for name in found if not name.startswith("__"))
