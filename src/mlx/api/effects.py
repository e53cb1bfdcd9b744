"""What one run of a function returned and changed, in a form that can be repeated.

Arrays are named by where they come from: ``("old", i)`` is array i that the function could
reach before it ran, ``("new", i)`` result i of what it recorded.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from mlx.api.reach import Name, Reach
from mlx.array import array
from mlx.graph.node import Node

_MISSING = object()
Make = Callable[[Sequence[array], Sequence[array], Sequence[Any]], Any]
"""Builds a value from (old arrays, new arrays, containers) of a call."""


class Snapshot:
    """The state of everything a function can reach, to compare with and to return to."""

    def __init__(self, reach: Reach) -> None:
        self.reach = reach
        self.nodes = [handle._node for handle in reach.handles]
        self.contents = [_content(c) for c in reach.containers]

    def restore(self) -> None:
        """Undo what happened to arrays and containers since."""
        for handle, node in zip(self.reach.handles, self.nodes, strict=True):
            handle._node = node
        for container, content in zip(self.reach.containers, self.contents, strict=True):
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
        self._writes: list[tuple[Any, Any, int, Any]] = []
        self._moved: list[tuple[weakref.ref[array], int, Any]] = []

    def wrote(self, container: Any, key: Any, value: Any, old: Any) -> None:
        """A container's entry was ``old`` and is ``value`` now."""
        self._writes.append((container, key, _mark(value), old))

    def moved(self, handle: array, old: Any) -> None:
        """A handle named ``old`` and names another node now."""
        self._moved.append((weakref.ref(handle), _mark(handle), old))

    def __bool__(self) -> bool:
        return bool(self._writes or self._moved)

    def undo(self, inputs: Sequence[Node], wrap: Callable[[Node], array]) -> None:
        """Put back what nobody changed since."""
        for reference, mark, old in self._moved:
            handle = reference()
            if handle is not None and _mark(handle) == mark:
                handle._node = inputs[old.at] if isinstance(old, _Input) else old
        for container, key, mark, old in reversed(self._writes):
            if _mark(_content_at(container, key)) == mark:
                _write(container, key, wrap(inputs[old.at]) if isinstance(old, _Input) else old)


def _mark(value: Any) -> int:
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
        inputs: for each reachable array that the recorded graph reads, its position there;
            set by the one who makes the graph.
    """

    def __init__(self, before: Snapshot, result: Any) -> None:
        reach = before.reach
        self.outputs: list[Node] = []
        self.inputs: dict[int, int] = {}
        self._positions: dict[Node, int] = {}
        self._new: dict[int, int] = {}
        self._sources: list[int] = []
        self._kept: list[array] = []
        self._old = {id(handle): i for i, handle in enumerate(reach.handles)}
        self._places = {id(c): i for i, c in enumerate(reach.containers)}
        self.result = self._make(result)
        self.moved = [
            (i, self._output(handle._node))
            for i, (handle, node) in enumerate(zip(reach.handles, before.nodes, strict=True))
            if handle._node is not node
        ]
        self.writes = [
            (i, key, None if value is _MISSING else self._make(value), self._before(content, key))
            for i, (container, content) in enumerate(
                zip(reach.containers, before.contents, strict=True)
            )
            for key, value in _changes(_content(container), content)
        ]
        self._kept.clear()
        self._old, self._places, self._positions, self._new = {}, {}, {}, {}

    def _before(self, content: dict[Any, Any], key: Any) -> int | None:
        """Which reachable array a write replaces; None for other values."""
        return self._old.get(id(content.get(key, _MISSING)))

    def repeat(
        self, reach: Reach, nodes: Sequence[Node], wrap: Callable[[Node], array]
    ) -> tuple[Any, Undo]:
        """Do the same with new results: write what was written, return what was returned."""
        old, containers, undo = reach.handles, reach.containers, Undo()
        new = [wrap(nodes[i]) for i in self._sources]
        for i, key, make, replaced in self.writes:
            value = _MISSING if make is None else make(old, new, containers)
            container = containers[i]
            before = self._overwritten(container, key, replaced)
            _write(container, key, value)
            undo.wrote(container, key, value, before)
        result = self.result(old, new, containers)
        for i, output in self.moved:
            at = self.inputs.get(i)
            before = old[i]._node if at is None else _Input(at)
            old[i]._node = nodes[output]
            undo.moved(old[i], before)
        return result, undo

    def _overwritten(self, container: Any, key: Any, replaced: int | None) -> Any:
        at = None if replaced is None else self.inputs.get(replaced)
        return _content_at(container, key) if at is None else _Input(at)

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
            return lambda old, new, containers: containers[place]
        kind = type(value)
        if kind is dict:
            made = {key: self._make(child) for key, child in value.items()}
            return lambda *call: {key: make(*call) for key, make in made.items()}
        if isinstance(value, (list, tuple)):
            children = [self._make(child) for child in value]
            if hasattr(kind, "_fields"):
                return lambda *call: kind(*[make(*call) for make in children])
            return lambda *call: kind([make(*call) for make in children])
        self._check(value)
        return lambda *call: value

    def _make_array(self, value: array) -> Make:
        old = self._old.get(id(value))
        if old is not None:
            return lambda olds, new, containers: olds[old]
        at = self._new.get(id(value))
        if at is None:
            at = self._new[id(value)] = len(self._sources)
            self._sources.append(self._output(value._node))
            self._kept.append(value)  # its id stays taken
        return lambda olds, new, containers: new[at]

    def _check(self, value: Any) -> None:
        if isinstance(value, (str, int, float, complex, bytes, type(None))):
            return
        for handle in Reach([value]).handles:
            if id(handle) not in self._old:
                raise ValueError(
                    f"[compile] The function returned or stored an object of type "
                    f"{type(value).__name__} that holds arrays made by it. Return and store "
                    "arrays in lists, tuples and dictionaries."
                )
