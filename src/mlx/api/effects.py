"""What one run of a function returned and changed, in a form that can be repeated.

Arrays are named by where they come from: ``("old", i)`` is array i that the function could
reach before it ran, ``("new", i)`` result i of what it recorded.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from mlx.api.pattern import GROWN, TALLIED, Found, Name
from mlx.api.reach import Reach
from mlx.api.usage import Usage
from mlx.array import array, wrap
from mlx.base.tree import leaves, picker
from mlx.graph.node import Node

_MISSING = object()
Make = Callable[[Sequence[array], Found], Any]
"""Builds a value from the new arrays of a call and what the call found."""


class Snapshot:
    """The state of everything a function can reach, to compare with and to return to."""

    def __init__(self, found: Found) -> None:
        self.found = found
        pattern = found.pattern
        grown = {number for number, key in pattern.open if key is GROWN}
        self.containers = [found.container(i) for i in range(len(pattern.containers))]
        self.contents = [None if i in grown else _content(c) for i, c in enumerate(self.containers)]
        self.lengths = {i: len(self.containers[i]) for i in grown}

    def restore(self) -> None:
        """Undo what happened to arrays and containers since."""
        for handle, node in zip(self.found.handles, self.found.nodes, strict=True):
            handle._node = node
        for i, (container, content) in enumerate(zip(self.containers, self.contents, strict=True)):
            if content is None:
                del container[self.lengths[i] :]
                continue
            for key, value in _changes(content, _content(container)):
                _write(container, key, value)


def _content(container: Any) -> dict[Any, Any]:
    """A container's values by key or position."""
    if isinstance(container, dict):
        return dict(container)
    if isinstance(container, types.CellType):
        try:
            return {None: container.cell_contents}
        except ValueError:
            return {}
    if isinstance(container, Name):
        found = container.namespace.get(container.key, _MISSING)
        return {} if found is _MISSING else {None: found}
    return dict(enumerate(container))


def _content_at(container: Any, key: Any) -> Any:
    if isinstance(container, (types.CellType, Name)):
        return _content(container).get(None, _MISSING)
    if isinstance(container, dict):
        return container.get(key, _MISSING)
    return container[key] if key < len(container) else _MISSING


def _changes(now: dict[Any, Any], before: dict[Any, Any]) -> list[tuple[Any, Any]]:
    """Keys with the values they have now; gone ones last, in falling order."""
    changed = [(k, v) for k, v in now.items() if before.get(k, _MISSING) is not v]
    gone = [(k, _MISSING) for k in before if k not in now]
    return changed + gone[::-1]


def _write(container: Any, key: Any, value: Any) -> None:
    if isinstance(container, types.CellType):
        if value is _MISSING:
            del container.cell_contents
        else:
            container.cell_contents = value
        return
    if isinstance(container, Name):
        container, key = container.namespace, container.key
    if value is _MISSING:
        del container[key]
    elif isinstance(container, dict):
        dict.__setitem__(container, key, value)
    elif key == len(container):
        container.append(value)
    else:
        container[key] = value


class Undo:
    """What a call overwrote, to put back should computing its results fail.

    Nothing here refers to the call's results, so that it goes when they go; and old arrays
    that the call reads are named by their position among its inputs, so that nothing here
    keeps their memory from being reused.
    """

    def __init__(self) -> None:
        self.writes: list[tuple[Any, Any, float, Any]] = []
        """(container, key, mark of what it holds now, what it held)"""
        self.moved: list[tuple[weakref.ref[array], float, Any]] = []
        """(handle, mark of what it names now, what it named)"""

    def __bool__(self) -> bool:
        return bool(self.writes or self.moved)

    def undo(self, inputs: Sequence[Node]) -> None:
        """Put back what nobody changed since."""
        for reference, mark, old in self.moved:
            handle = reference()
            if handle is not None and _mark(handle) == mark:
                handle._node = inputs[old.at] if isinstance(old, _Input) else old
        for container, key, mark, old in reversed(self.writes):
            if _mark(_content_at(container, key)) == mark:
                _write(container, key, wrap(inputs[old.at]) if isinstance(old, _Input) else old)


def _mark(value: Any) -> float:
    """Tells a value from others without holding it: an array by what it names."""
    return -value._node.serial if type(value) is array else id(value)


class _Input:
    """An array that is input ``at`` of a call."""

    def __init__(self, at: int) -> None:
        self.at = at


class Effects:
    """What a run did since a snapshot.

    Attributes:
        outputs: nodes that the run recorded and that are needed to repeat it.
    """

    def __init__(self, before: Snapshot, result: Any) -> None:
        found = before.found
        self.outputs: list[Node] = []
        self._positions: dict[Node, int] = {}
        self._new: dict[int, int] = {}
        self._sources: list[int] = []
        self._kept: list[array] = []
        self._old = {id(handle): i for i, handle in enumerate(found.handles)}
        self._places = {id(c): i for i, c in enumerate(before.containers)}
        self._result = self._make(result)
        self._moved = [
            (i, self._output(handle._node), None)
            for i, (handle, node) in enumerate(zip(found.handles, found.nodes, strict=True))
            if handle._node is not node
        ]
        self._stores: list[tuple[int, Any, int, Any]] = []
        """Of new arrays in dictionaries: (container, key, which, old value if it is an input)."""
        self._writes: list[tuple[int, Any, Make | None, Any]] = []
        """The others: (container, key, None to delete, old value if it is an input)."""
        self._appends: list[tuple[int, Make]] = []
        """To lists that the function only grows, where arrays are among it."""
        self._sums: list[tuple[int, Any, int]] = []
        """What was added to numbers that the function only counts; of the traced call alone."""
        self._remarks: list[tuple[int, Make]] = []
        """Appended constants, likewise."""
        self._compare(before)
        self._kept.clear()
        self._old, self._places, self._positions, self._new = {}, {}, {}, {}

    def _compare(self, before: Snapshot) -> None:
        """Note what was written."""
        counted = before.found.pattern.open
        for i, (container, content) in enumerate(
            zip(before.containers, before.contents, strict=True)
        ):
            if content is None:
                added = container[before.lengths[i] :]
                holds_arrays = any([type(x) is array for x in leaves(added)])
                appends = self._appends if holds_arrays else self._remarks
                appends += [(i, self._make(value)) for value in added]
                continue
            for key, value in _changes(_content(container), content):
                replaced = self._old.get(id(content.get(key, _MISSING)))
                if (i, key) in counted or (i, TALLIED) in counted:
                    self._sums.append((i, key, value - content[key]))
                elif value is _MISSING:
                    self._writes.append((i, key, None, replaced))
                elif self._is_new(value) and isinstance(container, dict):
                    self._stores.append((i, key, self._which(value), replaced))
                else:
                    self._writes.append((i, key, self._make(value), replaced))

    def seal(self, inputs: dict[int, int]) -> None:
        """Say which reachable arrays the recorded graph reads, and as which of its inputs."""

        def known(i: int | None) -> Any:
            at = None if i is None else inputs.get(i)
            return None if at is None else _Input(at)

        self._moved = [(i, output, known(i)) for i, output, _ in self._moved]
        self._stores = [(i, key, which, known(old)) for i, key, which, old in self._stores]
        self._writes = [(i, key, make, known(old)) for i, key, make, old in self._writes]
        self._is_pure = not self

    def __bool__(self) -> bool:
        """Whether there is anything to repeat besides the result."""
        return any([self._moved, self._stores, self._writes, self._appends])

    def count(self, found: Found) -> None:
        """Do what belongs to the traced call alone."""
        undo = Undo()
        for i, key, difference in self._sums:
            container = found.container(i)
            self._put(container, key, _content_at(container, key) + difference, None, undo)
        self._append(self._remarks, found, [], undo)

    def repeat(self, found: Found, nodes: Sequence[Node]) -> tuple[Any, Undo | None]:
        """Do the same with new results: write what was written, return what was returned, and
        what would undo it."""
        new = []
        make = array.__new__
        for i in self._sources:  # ``wrap``, inlined
            handle = make(array)
            handle._node = nodes[i]
            new.append(handle)
        if self._is_pure:
            return self._result(new, found), None
        undo = Undo()
        if self._stores:
            self._store(found, new, undo)
        if self._writes or self._appends:
            self._write(found, new, undo)
        result = self._result(new, found)
        for i, output, old in self._moved:
            handle = found.handles[i]
            before = old or handle._node
            handle._node = nodes[output]
            undo.moved.append((weakref.ref(handle), _mark(handle), before))
        return result, undo

    def _store(self, found: Found, new: Sequence[array], undo: Undo) -> None:
        last, container = -1, {}
        for i, key, which, old in self._stores:
            if i != last:
                last, container = i, found.container(i)
            value = new[which]
            if old is None:
                old = container.get(key, _MISSING)
            undo.writes.append((container, key, -value._node.serial, old))
            dict.__setitem__(container, key, value)

    def _write(self, found: Found, new: Sequence[array], undo: Undo) -> None:
        for i, key, make, old in self._writes:
            value = _MISSING if make is None else make(new, found)
            self._put(found.container(i), key, value, old, undo)
        self._append(self._appends, found, new, undo)

    def _append(
        self, appends: list[tuple[int, Make]], found: Found, new: Sequence[array], undo: Undo
    ) -> None:
        for i, make in appends:
            container = found.container(i)
            self._put(container, len(container), make(new, found), None, undo)

    def _put(self, container: Any, key: Any, value: Any, old: Any, undo: Undo) -> None:
        before = old or _content_at(container, key)
        _write(container, key, value)
        undo.writes.append((container, key, _mark(value), before))

    def _output(self, node: Node) -> int:
        at = self._positions.setdefault(node, len(self.outputs))
        if at == len(self.outputs):
            self.outputs.append(node)
        return at

    def _make(self, value: Any) -> Make:
        """How to build a value like this one."""
        if type(value) is array:
            return self._make_array(value)
        place = self._places.get(id(value))
        if place is not None:
            return lambda new, found: found.container(place)
        kind = type(value)
        if kind is dict:
            keys, values = list(value), self._make_all(list(value.values()))
            return lambda new, found: dict(zip(keys, values(new, found), strict=True))
        if isinstance(value, (list, tuple)):
            children = self._make_all(value)
            if hasattr(kind, "_fields"):
                return lambda new, found: kind(*children(new, found))
            return lambda new, found: kind(children(new, found))
        self._check(value)
        return lambda new, found: value

    def _make_all(self, values: Sequence[Any]) -> Callable[[Sequence[array], Found], Sequence[Any]]:
        if all([self._is_new(value) for value in values]):
            pick = picker([self._which(value) for value in values])
            return lambda new, found: pick(new)
        makes = [self._make(value) for value in values]
        return lambda new, found: [make(new, found) for make in makes]

    def _make_array(self, value: array) -> Make:
        old = self._old.get(id(value))
        if old is not None:
            return lambda new, found: found.handles[old]
        at = self._which(value)
        return lambda new, found: new[at]

    def _is_new(self, value: Any) -> bool:
        return type(value) is array and id(value) not in self._old

    def _which(self, value: array) -> int:
        """The number of a new array."""
        at = self._new.get(id(value))
        if at is None:
            at = self._new[id(value)] = len(self._sources)
            self._sources.append(self._output(value._node))
            self._kept.append(value)  # its id stays taken
        return at

    def _check(self, value: Any) -> None:
        if isinstance(value, (str, int, float, complex, bytes, type(None))):
            return
        for handle in Reach([value], {}, Usage()).found.handles:
            if id(handle) not in self._old:
                raise ValueError(
                    f"[compile] The function returned or stored an object of type "
                    f"{type(value).__name__} that holds arrays made by it. Return and store "
                    "arrays in lists, tuples and dictionaries."
                )
