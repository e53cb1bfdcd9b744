"""Functions from files, which ``exporting`` wrote."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlx.api.operands import array_arguments
from mlx.api.portable import FORMAT, described_inputs, rebuilt
from mlx.api.sizes import evaluated
from mlx.array import array, wrap
from mlx.array.values import value_node
from mlx.base.lazy import LazyModule
from mlx.graph.node import Node
from mlx.graph.trace import Trace
from mlx.transforms.replay import substitute

if TYPE_CHECKING:
    from mlx.runtime import io
else:
    io = LazyModule("mlx.runtime.io")
json = LazyModule("json")

KEPT = 64


class ImportedFunction:
    """A function that was read from a file; it returns a tuple of arrays.

    It records what the exported function recorded, so it can be differentiated, batched and
    compiled like any other.
    """

    def __init__(self, traces: Sequence[Any], constants: list[list[array]]) -> None:
        self._traces, self._constants = traces, constants
        self._recorded: dict[Any, _Recorded] = {}
        for at in range(len(traces)):  # which checks them
            self._record(at, tuple(traces[at]["example"]))

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[array, ...]:
        positional, keywords = array_arguments("import_function::call", args, kwargs)
        for at, trace in enumerate(self._traces):
            given = _placed(trace, positional, keywords)
            if given is None:
                continue
            sizes = _sizes(trace, given)
            if sizes is None:
                continue
            recorded = self._recorded.get((at, sizes)) or self._record(at, sizes)
            if all(a.shape == x.shape for a, x in zip(given, recorded.inputs, strict=True)):
                return recorded([a._node for a in given])
        known = [_signature(t["positional"], t["keywords"], t["inputs"]) for t in self._traces]
        called = [[a.shape, a.dtype.name] for a in (*positional, *keywords.values())]
        raise ValueError(
            "[import_function::call] No imported function found which matches the given "
            f"positional and keyword arguments {_signature(len(positional), [*keywords], called)}; "
            f"there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}."
        )

    def _record(self, at: int, sizes: tuple[int, ...]) -> _Recorded:
        trace, constants = self._traces[at], [c._node for c in self._constants[at]]
        if len(self._recorded) >= KEPT + len(self._traces):
            self._recorded.clear()
        recorded = self._recorded[at, sizes] = _Recorded(trace, sizes, constants)
        return recorded


class _Recorded:
    """A graph of placeholders at certain sizes, ready to be repeated."""

    def __init__(
        self, trace: Mapping[str, Any], sizes: Sequence[int], constants: Sequence[Node]
    ) -> None:
        graph = {key: trace[key] for key in ("inputs", "nodes", "outputs")}
        if sizes:
            graph = evaluated(graph, sizes)
        with Trace("import_function") as opened:
            self.inputs = described_inputs(opened, graph)
            known = rebuilt(graph, self.inputs, constants)
        self._outputs = [known[i] for i in graph["outputs"]]
        self._start = opened.start

    def __call__(self, given: Sequence[Node]) -> tuple[array, ...]:
        stands = dict(zip(self.inputs, given, strict=True))
        return tuple(map(wrap, substitute(self._outputs, stands, self._start)))


def _signature(positional: int, keywords: Sequence[str], types: Sequence[Any]) -> str:
    names = [""] * positional + [f"{name}=" for name in keywords]
    texts = []
    for name, (shape, dtype) in zip(names, types, strict=True):
        sizes = ", ".join("any" if isinstance(n, dict) else str(n) for n in shape)
        texts.append(f"{name}{dtype}[{sizes}]")
    return f"({', '.join(texts)})"


def _placed(
    trace: Mapping[str, Any], positional: list[array], keywords: Mapping[str, array]
) -> list[array] | None:
    """Arguments in a trace's order; names may stand for positions, as in the exported function."""
    rest = trace["names"][len(positional) : trace["positional"]]
    count = len(positional) + len(rest) * all(name in keywords for name in rest)
    named = sorted(keywords.keys() - set(rest))
    if count != trace["positional"] or named != trace["keywords"]:
        return None
    return [*positional, *(keywords[name] for name in (*rest, *named))]


def _sizes(trace: Mapping[str, Any], given: Sequence[array]) -> tuple[int, ...] | None:
    """The free sizes of arguments of a trace's ranks and dtypes, else None."""
    for a, (shape, dtype) in zip(given, trace["inputs"], strict=True):
        if a.dtype.name != dtype or a.ndim != len(shape):
            return None
    sizes = [{given[at].shape[axis] for at, axis in group} for group in trace["free"]]
    return tuple(s.pop() for s in sizes) if all(len(s) == 1 for s in sizes) else None


def import_function(file: str | os.PathLike[str], return_metadata: bool = False) -> Any:
    """The function in a file that :func:`export_function` or :func:`exporter` wrote.

    It is called with arrays of the shapes and dtypes of one of the traces, and returns a tuple
    of arrays.  With ``return_metadata`` the result is a pair of function and text.

    Raises:
        OSError: the file can't be read.
        ValueError: it is damaged or holds no function.
    """
    where = os.fspath(file)
    try:
        with io.reading("import_function", file) as opened:
            values, about = io.read_safetensors(opened)
    except ValueError as error:
        raise ValueError(str(error).replace("[load]", "[import_function]")) from None
    if about.get("format") != FORMAT:
        raise ValueError(f"[import_function] {where} holds no function ({FORMAT}).")
    arrays = {k: wrap(value_node(v.shape, v.dtype, v.buffer)) for k, v in values.items()}
    try:
        traces = json.loads(about["traces"])
        constants = [
            [arrays[f"{i}.{j}"] for j in range(t["constants"])] for i, t in enumerate(traces)
        ]
        function = ImportedFunction(traces, constants)
    except _DAMAGES as error:
        raise ValueError(f"[import_function] {where} is damaged: {error}.") from None
    return (function, about.get("metadata", "")) if return_metadata else function


_DAMAGES = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError)
