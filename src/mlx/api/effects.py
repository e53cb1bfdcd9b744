"""What one run of a function returned and changed, in a form that can be repeated.

Arrays are named by where they come from: ``("old", i)`` is array i that the function could
reach before it ran, ``("new", i)`` result i of what it recorded.
"""

from __future__ import annotations

import types
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


class Effects:
    """What a run did since a snapshot.

    Attributes:
        outputs: nodes that the run recorded and that are needed to repeat it.
    """

    def __init__(self, before: Snapshot, result: Any) -> None:
        reach = before.reach
        self.outputs: list[Node] = []
        self._new: dict[int, int] = {}
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
            (i, key, None if value is _MISSING else self._make(value))
            for i, (container, content) in enumerate(
                zip(reach.containers, before.contents, strict=True)
            )
            for key, value in _changes(_content(container), content)
        ]
        self._kept.clear()

    def repeat(self, reach: Reach, nodes: Sequence[Node], wrap: Callable[[Node], array]) -> Any:
        """Do the same with new results: write what was written, return what was returned."""
        old, containers = reach.handles, reach.containers
        new = [wrap(node) for node in nodes]
        for i, key, make in self.writes:
            value = _MISSING if make is None else make(old, new, containers)
            _write(containers[i], key, value)
        result = self.result(old, new, containers)
        for i, output in self.moved:
            old[i]._node = nodes[output]
        return result

    def _output(self, node: Node) -> int:
        self.outputs.append(node)
        return len(self.outputs) - 1

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
            at = self._new[id(value)] = self._output(value._node)
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
