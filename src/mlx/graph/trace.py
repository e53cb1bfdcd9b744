"""Active transformations of a thread, and which evaluated nodes must keep their inputs."""

from __future__ import annotations

import threading
from typing import Any

from mlx.graph.node import Node, next_serial

_lock = threading.Lock()
_open: list[Trace] = []  # of all threads, in order of opening
_local = threading.local()


class Trace:
    """An active transformation, as a context manager; nothing of it stays after an exception.

    ``start`` is a serial: what is older cannot depend on the transformation's inputs.
    ``records_values`` says whether evaluation inside it must keep history (grad, vjp, jvp);
    ``forbids_eval`` names the transformation if its placeholders have no values (vmap,
    compile).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.start = 0
        self.evaluated: list[Node] = []

    def __enter__(self) -> Trace:
        self.start = next_serial()
        stack().append(self)
        with _lock:
            _open.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        stack().remove(self)
        with _lock:
            _open.remove(self)
            others = list(_open)
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


class Placeholder:
    """Stands in a node's ``data`` for "has no value, and never will": it knows its maker."""

    def __init__(self, maker: str, advice: str) -> None:
        self.maker = maker
        self.advice = advice

    def error(self) -> ValueError:
        return ValueError(
            f"[eval] Attempting to eval an array during function transformations like "
            f"{self.maker} without a value: {self.advice}"
        )


def placeholder(shape: Any, dtype: Any, maker: str, advice: str) -> Node:
    """A node without a value, the input of a function being traced."""
    return Node(None, (), shape, dtype, Placeholder(maker, advice))
