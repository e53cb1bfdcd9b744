"""compile: a function's Python runs once for each kind of call; later calls repeat its graph."""

from __future__ import annotations

import functools
import os
import threading
import types
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

from mlx.api.effects import Effects, Snapshot, Undo
from mlx.api.operands import check_callable
from mlx.api.reach import Reach
from mlx.array import array, wrap
from mlx.graph import trace
from mlx.graph.node import Node, ancestors
from mlx.ops import random
from mlx.primitives.base import Pick, Source
from mlx.primitives.custom import CompiledCall, Graph
from mlx.transforms.replay import substitute

KEPT = 256
_enabled = not os.environ.get("MLX_DISABLE_COMPILE")


def disable_compile() -> None:
    """Make compiled functions run as they are.  So does the variable MLX_DISABLE_COMPILE."""
    global _enabled
    _enabled = False


def enable_compile() -> None:
    """Undo :func:`disable_compile`."""
    global _enabled
    _enabled = True


def compile(  # noqa: A001 (MLX's name)
    fun: Callable[..., Any], inputs: Any = None, outputs: Any = None, shapeless: bool = False
) -> Callable[..., Any]:
    """A function that does what ``fun`` does, without running its Python again.

    Arrays that ``fun`` captures (in closures, globals, objects, modules) are read anew at
    each call, and what it assigns to captured variables and containers is assigned at each
    call; the global random key counts as captured.  It is traced again when arguments or
    captured values other than arrays change, or shapes or dtypes do.

    Args:
        fun: takes and returns trees of arrays and constants.
        inputs, outputs: containers that ``fun`` reads or changes and that can't be found
            from it, such as what a foreign object holds.
        shapeless: accepted; other shapes always trace again, and never recompile kernels.

    Raises:
        TypeError: ``fun`` is no function.
        ValueError: an argument is neither array nor constant; while tracing, the value of an
            array is needed, or an array is used that can't be found from ``fun``.

    >>> import mlx.core as mx
    >>> step = mx.compile(lambda x: mx.exp(-x) + 1)
    >>> step(mx.array(0.0)).item()
    2.0
    """
    check_callable("compile", fun)
    return Compiled(fun, inputs, outputs)


_pending: weakref.WeakKeyDictionary[Node, Undo] = weakref.WeakKeyDictionary()
_picks = tuple(Pick(i) for i in range(4096))


class _Entry:
    """A traced call: its graph, and what it did besides."""

    def __init__(self, used: list[int], graph: Graph, effects: Effects, reach: Reach) -> None:
        self.used = used
        self.primitive = CompiledCall(graph, _undo)
        self.effects = effects
        self.pinned = reach.pinned
        effects.inputs = {i: at for at, i in enumerate(used)}

    def call(self, reach: Reach) -> Any:
        inputs = tuple([reach.handles[i]._node for i in self.used])
        types = self.primitive.graph.types
        node = Node(self.primitive, inputs, types, None)
        made = [
            Node(_picks[i] if i < len(_picks) else Pick(i), (node,), shape, dtype)
            for i, (shape, dtype) in enumerate(types)
        ]
        result, undo = self.effects.repeat(reach, made, wrap)
        if undo:
            _pending[node] = undo
        return result


def _undo(call: Node) -> None:
    """Put back what a call that failed, and later calls that need its results, overwrote."""
    later = [
        (node, undo)
        for node, undo in list(_pending.items())
        if node.serial > call.serial and call in ancestors([node], call.serial - 1)
    ]
    for node, undo in sorted(later, key=lambda pair: -pair[0].serial):
        undo.undo(node.inputs, wrap)
    own = _pending.pop(call, None)
    if own is not None:
        own.undo(call.inputs, wrap)


class Compiled:
    """A compiled function."""

    def __init__(self, fun: Callable[..., Any], inputs: Any, outputs: Any) -> None:
        functools.update_wrapper(self, fun, updated=())
        self._fun = fun
        self._state = (inputs, outputs)
        self._entries: OrderedDict[Any, _Entry] = OrderedDict()
        self._lock = threading.RLock()
        self.traces = 0

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {self._fun!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not _enabled or trace.active():
            return self._fun(*args, **kwargs)
        _check_arguments(args, kwargs)
        reach = Reach((args, kwargs, self._fun, self._state, random.state))
        entry = self._entries.get(reach.key)
        if entry is None:
            with self._lock:
                entry = self._entries.get(reach.key) or self._trace(reach, args, kwargs)
        return entry.call(reach)

    def _trace(self, reach: Reach, args: tuple, kwargs: dict[str, Any]) -> _Entry:
        before = Snapshot(reach)
        try:
            with trace.Trace("compile") as opened:
                opened.captured = set(before.nodes)
                result = self._fun(*args, **kwargs)
                effects = Effects(before, result)
                entry = _entry(opened, before, effects)
        finally:
            before.restore()
        self.traces += 1
        self._entries[reach.key] = entry
        if len(self._entries) > KEPT:
            self._entries.popitem(last=False)
        return entry


def _entry(opened: trace.Trace, before: Snapshot, effects: Effects) -> _Entry:
    """The recorded graph with placeholders in place of what it read."""
    nodes = before.nodes
    index = {node: i for i, node in reversed(list(enumerate(nodes)))}
    used = sorted(index[node] for node in _read(opened, index, effects.outputs))
    stands = {nodes[i]: trace.placeholder(opened, nodes[i].shape, nodes[i].dtype) for i in used}
    outputs = substitute(effects.outputs, stands, opened.start)
    effects.outputs = []
    return _Entry(used, Graph(list(stands.values()), outputs), effects, before.reach)


def _read(opened: trace.Trace, known: Any, outputs: Sequence[Node]) -> set[Node]:
    """The older nodes that the outputs depend on; each must be among the ``known``."""
    start = opened.start
    older = {node for node in outputs if node.serial <= start}
    for node in ancestors(outputs, start):
        older.update(source for source in node.inputs if source.serial <= start)
    unknown = [n for n in older if n not in known and not isinstance(n.primitive, Source)]
    if unknown:
        node = unknown[0]
        raise ValueError(
            f"[compile] The function uses an array of shape {node.shape} and dtype "
            f"{node.dtype.name} that was made outside it and can't be found from it, so later "
            "calls would not see it change. Pass it as an argument, or list its container in "
            "inputs= (and outputs=, if the function changes it)."
        )
    return {node for node in older if node in known}


_CONSTANTS = (str, int, float, complex, bytes, type(None))


def _check_arguments(args: tuple, kwargs: dict[str, Any]) -> None:
    pending = [*args, *kwargs.values()]
    while pending:
        value = pending.pop()
        if isinstance(value, (list, tuple)):
            pending += value
        elif type(value) is dict:
            pending += value.values()
        elif not isinstance(value, (array, dict, *_CONSTANTS)) and not callable(value):
            raise ValueError(
                "[compile] Function arguments must be trees of arrays or constants (floats, "
                f"ints, strings, or None), but received type {type(value).__name__}."
            )
