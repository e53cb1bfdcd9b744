"""Active transformations of a thread, and which evaluated nodes must keep their inputs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import Any

from mlx.graph.node import Node, ancestors, next_serial

_lock = threading.Lock()
_open: list[Trace] = []  # of all threads, in order of opening
_local = threading.local()


class Trace:
    """An active transformation, as a context manager; nothing of it stays after an exception.

    Attributes:
        name: the transformation, for messages.
        start: a serial; what is older cannot depend on the transformation's inputs.
        evaluated: nodes evaluated meanwhile, which keep their inputs until the oldest open
            trace that may walk them ends.
        captured: for compile, older nodes that stand for state: the value they have now is
            not theirs at every call.  Those that are True may not be read; the others may, and
            ``read`` has those that were.
        is_open: whether the transformation is running its function.
        takes_wholes: whether nodes that stand for others may be recorded in it, which it will
            spell out where it needs to; ``has_wholes``: whether some were.
    """

    def __init__(self, name: str, takes_wholes: bool = False) -> None:
        self.name = name
        self.takes_wholes = takes_wholes
        self.has_wholes = False
        self.start = 0
        self.evaluated: list[Node] = []
        self.captured: Mapping[Node, bool] = {}
        self.read: set[Node] = set()
        self.is_open = False

    def __enter__(self) -> Trace:
        self.is_open = True
        stack().append(self)
        with _lock:
            _open.append(self)  # before its serial: who saw none open got an older one
            self.start = next_serial()
        return self

    def __exit__(self, *exc: object) -> None:
        self.is_open = False
        self.captured = {}  # placeholders keep the trace, which must not keep the captured
        stack().remove(self)
        with _lock:
            _open.remove(self)
            others = list(_open) if self.evaluated else _open
        for node in self.evaluated:
            heir = next((t for t in others if t.start < node.serial), None)
            if heir is None:
                node.inputs = ()
            else:
                heir.evaluated.append(node)
        self.evaluated = []


def stack() -> list[Trace]:
    """The active transformations of this thread, outermost first."""
    try:
        return _local.stack
    except AttributeError:
        _local.stack = []
        return _local.stack


def active() -> bool:
    """Whether this thread is inside a transformation."""
    return bool(stack())


def any_open() -> bool:
    """Whether any thread is inside a transformation."""
    return bool(_open)


def takes_wholes() -> bool:
    """Whether the only transformation of all threads is this thread's and takes nodes that stand
    for others; notes that it has some."""
    if len(_open) != 1 or not (own := stack()) or not own[0].takes_wholes:
        return False
    own[0].has_wholes = True
    return True


def has_wholes() -> bool:
    """Whether a transformation of this thread has nodes that stand for others."""
    return bool(_open) and any([trace.has_wholes for trace in stack()])


def spelled_out() -> None:
    """Note that what stood for others is recorded in full."""
    for trace in stack():
        trace.has_wholes = False


def evaluated(nodes: list[Node]) -> None:
    """Drop the inputs of nodes that now have data, unless an open trace may still walk them."""
    if not _open:
        for node in nodes:
            node.inputs = ()
        return
    with _lock:
        oldest = _open[0] if _open else None
    for node in nodes:
        if oldest is not None and node.serial > oldest.start:
            oldest.evaluated.append(node)
        else:
            node.inputs = ()


def alone() -> bool:
    """Whether this thread's only transformation is the only one of all threads."""
    return len(_open) == 1 and len(stack()) == 1


def check_readable(nodes: Iterable[Node]) -> None:
    """Note which captured arrays the values of ``nodes`` depend on, where this thread compiles a
    function: they hold for calls that find the same ones.

    Raises ValueError where that is an argument, or state that the caller named: baked in, their
    values would be wrong in later calls.
    """
    for trace in stack():
        if trace.captured:
            nodes = list(nodes)
            captured = trace.captured
            read = [*nodes, *(s for n in ancestors(nodes, trace.start) for s in n.inputs)]
            if any([captured.get(node, False) for node in read]):
                raise ValueError(
                    "[eval] Attempting to eval an array during function transformations like "
                    f"{trace.name}: the value of an argument would be built in, and later calls "
                    "would not see it change. Compute with arrays alone (mx.where in place of an "
                    "if on a value), or pass a Python number."
                )
            trace.read.update([node for node in read if node in captured])


def _after_fork() -> None:
    """In a forked child: the other threads, and what they transformed, are gone."""
    _open[:] = [trace for trace in _open if trace in stack()]
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_after_fork
    )


class Placeholder:
    """Stands in a node's ``data`` for "has no value, and never will": it knows its maker."""

    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def error(self) -> Exception:
        maker = self.trace.name
        if self.trace.is_open:
            return ValueError(
                f"[eval] Attempting to eval an array during function transformations like "
                f"{maker}, where arrays have no values yet. Compute with arrays alone (mx.where "
                f"in place of an if on a value), or move the evaluation out of the function."
            )
        return RuntimeError(
            f"[eval] Attempting to eval an array that leaked out of {maker}: it was recorded "
            f"while {maker} traced a function and never had a value. Return it from the "
            f"function in place of storing it."
        )


def placeholder(trace: Trace, shape: Any, dtype: Any) -> Node:
    """A node without a value, the input of the function being traced."""
    return Node(None, (), shape, dtype, Placeholder(trace))
