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
from mlx.api.pattern import Found, Pattern
from mlx.api.reach import PARTS_OF, Reach
from mlx.api.usage import Usage
from mlx.array import array
from mlx.base.tree import leaves, picker
from mlx.graph import trace
from mlx.graph.node import Node, ancestors, next_serial
from mlx.ops import random
from mlx.primitives.base import Pick, Source
from mlx.primitives.custom import CompiledCall, Graph
from mlx.transforms.repeated import Transformed
from mlx.transforms.replay import substitute

KEPT = 256
RECENT = 4
"""Structures of calls that are compared with before a call is scanned anew."""
SHORT = 32
"""Operations that are recorded anew where a call is one part of a larger graph, so that they fuse
with what is around them and need no run of their own."""
LEAST = 8
"""Operations from which one node may stand for a call inside a gradient."""
PATIENCE = 8
"""Calls inside transformations that are traced, beyond those that were not, before none is."""
_APART = frozenset({"barrier", "compiled", "custom"})
"""Families of operations that are bound to the call in which they were recorded."""
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
    call, as are arrays that it appends to lists; the global random key counts as captured.
    It is traced again when arguments or captured values other than arrays change, or shapes or
    dtypes do; and when a captured array whose value it read (``item()``, an ``if``) is another
    one.

    What the function changes but can't see is no reason to trace again: an integer attribute or
    captured variable that its code uses in ``n += 1`` alone, integers in a dictionary or list
    that it uses in ``calls["n"] += 1`` alone, a list that it uses in ``log.append(...)`` alone;
    nor are attributes that it doesn't name at all.  Such counts, appended constants, printing
    and other effects of its Python happen only while it is traced.  A function that reads such
    a value, or may read it by way of ``getattr``, ``vars`` and the like, is traced again for each
    new one.

    Args:
        fun: takes and returns trees of arrays and constants.
        inputs, outputs: containers that ``fun`` reads or changes and that can't be found
            from it, such as what a foreign object holds.
        shapeless: accepted; other shapes always trace again, and never recompile kernels.

    Raises:
        TypeError: ``fun`` is no function.
        ValueError: an argument is neither array nor constant; while tracing, the value of an
            argument is needed, or an array is used that can't be found from ``fun``.

    >>> import mlx.core as mx
    >>> step = mx.compile(lambda x: mx.exp(-x) + 1)
    >>> step(mx.array(0.0)).item()
    2.0
    """
    check_callable("compile", fun)
    return Compiled(fun, inputs, outputs)


_pending: weakref.WeakKeyDictionary[Node, Undo] = weakref.WeakKeyDictionary()


class _Entry:
    """A traced call: its graph, and what it did besides."""

    def __init__(
        self, used: list[int], graph: Graph, effects: Effects, found: Found, read: set[Node]
    ) -> None:
        self.key = found.key
        self._read = [(i, weakref.ref(n)) for i, n in enumerate(found.nodes) if n in read]
        self._pick = picker(used)
        self._primitive = CompiledCall(graph, _undo)
        self._types = graph.types
        self._effects = effects
        self._results = [(Pick(i), shape, dtype) for i, (shape, dtype) in enumerate(graph.types)]
        self._constants, self._shapes, self._dtypes = found.constants, found.shapes, found.dtypes
        self._exact = all(c == c and c != 0 for c in found.constants)
        effects.seal({i: at for at, i in enumerate(used)})
        self._graph = graph
        order = [node for node in ancestors(graph.outputs) if node.data is None]
        self._is_short = not effects and len(order) <= SHORT
        self.is_plain = _APART.isdisjoint([n.primitive.family for n in order if n.primitive])
        self._again: _Again | None = None

    def fits(self, found: Found) -> bool:
        """Whether this is certainly the entry of a call of the same structure."""
        return (
            found.shapes == self._shapes
            and found.dtypes == self._dtypes
            and found.constants == self._constants
            and (self._exact or found.key == self.key)
            and (not self._read or self.holds(found))
        )

    def holds(self, found: Found) -> bool:
        """Whether the arrays whose values were read while tracing are still the same."""
        return all([found.nodes[i] is node() for i, node in self._read])

    def call(self, found: Found) -> Any:
        given = tuple(self._pick(found.nodes))
        if self._is_short and None in [node.data for node in given]:
            return self.repeat(found)
        node = Node(self._primitive, given, self._types, None)
        inputs = (node,)
        made = []
        new = Node.__new__
        for pick, shape, dtype in self._results:  # Node(...), in half the time
            result_node = new(Node)
            result_node.primitive, result_node.inputs = pick, inputs
            result_node.shape, result_node.dtype, result_node.data = shape, dtype, None
            result_node.serial = next_serial()
            made.append(result_node)
        result, undo = self._effects.repeat(found, made)
        if undo:
            _pending[node] = undo
        return result

    def repeat(self, found: Found) -> Any:
        """The call as part of what surrounds it: its operations are recorded again."""
        if self._again is None:
            self._again = _Again(self._graph)
        made = self._again.of(self._pick(found.nodes))
        return self._effects.repeat(found, made)[0]


class _Again:
    """What a graph records of other inputs."""

    def __init__(self, graph: Graph) -> None:
        order = [node for node in ancestors(graph.outputs) if node.data is None]
        known = [s for n in (*order, *graph.outputs) for s in (n, *n.inputs) if s.data is not None]
        self._values = [node for node in dict.fromkeys(known) if node not in graph.inputs]
        given = [*graph.inputs, *self._values]
        self._recorded = Transformed(given, order, graph.outputs, LEAST)

    def of(self, inputs: Sequence[Node]) -> list[Node]:
        """The outputs, as results of one node where only a gradient that takes it is open."""
        made: list[Any] = self._recorded.of([*inputs, *self._values], trace.takes_wholes())
        return made


def _undo(call: Node) -> None:
    """Put back what a call that failed, and later calls that need its results, overwrote."""
    later = [
        (node, undo)
        for node, undo in list(_pending.items())
        if node.serial > call.serial and call in ancestors([node], call.serial - 1)
    ]
    for node, undo in sorted(later, key=lambda pair: -pair[0].serial):
        undo.undo(node.inputs)
    own = _pending.pop(call, None)
    if own is not None:
        own.undo(call.inputs)


_made: weakref.WeakSet[Compiled] = weakref.WeakSet()


def _after_fork() -> None:
    """In a forked child: the threads that were tracing are gone, and never let go."""
    for compiled in list(_made):
        compiled._lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Compiled:
    """A compiled function."""

    def __init__(self, fun: Callable[..., Any], inputs: Any, outputs: Any) -> None:
        functools.update_wrapper(self, fun, updated=())
        self._fun = fun
        self._state = (inputs, outputs)
        self._captured = [fun, random.state, *(s for s in (inputs, outputs) if s is not None)]
        self._patterns: dict[Any, Pattern] = {}
        self._recent: tuple[Pattern, ...] = ()
        self._kept: OrderedDict[_Entry, Pattern] = OrderedDict()
        self._usage = Usage()
        self._lock = threading.RLock()
        _made.add(self)
        self._is_met_inside = False
        self._patience = PATIENCE
        self.traces = 0

    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        return f"<compiled {self._fun!r}>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not _enabled:
            return self._fun(*args, **kwargs)
        if trace.active():
            return self._call_inside(args, kwargs)
        found, entry = self._met(args, kwargs)
        return entry.call(found)

    def _call_inside(self, args: tuple, kwargs: dict[str, Any]) -> Any:
        """A call inside a transformation: what a call like it recorded is recorded again.

        The first one runs the Python, for it may be the only one; so do all where that is not
        possible, or each call is unlike those before.
        """
        if not self._is_met_inside or self._patience <= 0:
            self._is_met_inside = True
            return self._fun(*args, **kwargs)
        traces = self.traces
        try:
            found, entry = self._met(args, kwargs)
        except ValueError:  # a value is read, or an array used that can't be found
            self._patience = 0
            return self._fun(*args, **kwargs)
        if not entry.is_plain:
            self._patience = 0
            return self._fun(*args, **kwargs)
        self._patience += 1 if self.traces == traces and self._patience < PATIENCE else 0
        self._patience -= self.traces != traces
        return entry.repeat(found)

    def _met(self, args: tuple, kwargs: dict[str, Any]) -> tuple[Found, _Entry]:
        """What a call reaches, and the traced call that it is like."""
        roots = [args, kwargs, *self._captured]
        for pattern in self._recent:
            found = pattern.match(roots.copy())
            if found is not None:
                break
        else:
            _check_arguments(args, kwargs)
            found = self._scan(roots)
            pattern = found.pattern
            self._recent = (pattern, *[p for p in self._recent if p is not pattern][: RECENT - 1])
        entry = pattern.last
        if entry is None or not entry.fits(found):
            entry = pattern.entries.get(found.key)
            if entry is None or not entry.holds(found):
                with self._lock:
                    entry = pattern.entries.get(found.key)
                    if entry is None or not entry.holds(found):
                        entry = self._trace(found, args, kwargs)
            pattern.last = entry
        return found, entry

    def _scan(self, roots: list[Any]) -> Found:
        """Scan until all the code met is known."""
        usage = self._usage
        with self._lock:
            while True:
                version = usage.version
                reach = Reach(roots.copy(), self._patterns, usage)
                usage.block(reach.conflicts())
                if usage.version == version:
                    return reach.found

    def _trace(self, found: Found, args: tuple, kwargs: dict[str, Any]) -> _Entry:
        before = Snapshot(found)
        try:
            with trace.Trace("compile") as opened:
                given = [args, kwargs, *self._captured[1:]]
                opened.captured = {node: False for node in found.nodes} | {
                    x._node: True for x in leaves(given) if type(x) is array
                }
                result = self._fun(*args, **kwargs)
                effects = Effects(before, result)
                entry = _entry(opened, before, effects)
        finally:
            before.restore()
        effects.count(found)
        self.traces += 1
        self._keep(entry, found.pattern)
        return entry

    def _keep(self, entry: _Entry, pattern: Pattern) -> None:
        self._patterns[pattern.key] = pattern
        if (before := pattern.entries.get(entry.key)) is not None:
            self._kept.pop(before, None)
        pattern.entries[entry.key] = entry
        self._kept[entry] = pattern
        if len(self._kept) > KEPT:
            oldest, of = self._kept.popitem(last=False)
            del of.entries[oldest.key]
            of.last = None
            if not of.entries:
                del self._patterns[of.key]


PARTS_OF[Compiled] = lambda compiled: (compiled._fun, compiled._state)


def _entry(opened: trace.Trace, before: Snapshot, effects: Effects) -> _Entry:
    """The recorded graph with placeholders in place of what it read."""
    nodes = before.found.nodes
    index = {node: i for i, node in reversed(list(enumerate(nodes)))}
    used = sorted(index[node] for node in _read(opened, index, effects.outputs))
    stands = {nodes[i]: trace.placeholder(opened, nodes[i].shape, nodes[i].dtype) for i in used}
    outputs = substitute(effects.outputs, stands, opened.start)
    effects.outputs = []
    graph = Graph(list(stands.values()), outputs)
    return _Entry(used, graph, effects, before.found, opened.read)


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
