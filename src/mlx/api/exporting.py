"""Functions to files: a recorded graph with its constants, without Python.

The format is a safetensors file.  Its arrays, named "trace.number", are the constants of the
graphs.  Its metadata has ``format`` ("mlx-jit function 1"), the user's own text as ``metadata``,
and ``traces``: JSON, a list with one graph (see ``portable``) for each kind of call.  Nothing
in it is ever unpickled or run as Python, and every graph is checked before it is recorded.
"""

from __future__ import annotations

import inspect
import itertools
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mlx.api.operands import ArrayArguments, array_arguments, check_callable
from mlx.api.portable import FORMAT, described_inputs, portable, rebuilt
from mlx.api.sizes import Group, Unrelated, parametrize
from mlx.array import array, wrap
from mlx.array.values import numpy_of
from mlx.base.lazy import LazyModule
from mlx.graph.node import Node
from mlx.graph.trace import Trace, placeholder
from mlx.ops import random

if TYPE_CHECKING:
    from mlx.runtime import io
else:
    io = LazyModule("mlx.runtime.io")
json = LazyModule("json")
pathlib = LazyModule("pathlib")


class _Traced:
    """A function's graph at certain shapes, and what else a file keeps of it."""

    def __init__(self, fun: Callable[..., Any], call: ArrayArguments, shapeless: bool) -> None:
        self.fun, self.keywords, self.count = fun, list(call[1]), len(call[0])
        given = [*call[0], *call[1].values()]
        self.dtypes = [a.dtype for a in given]
        shapes = [a.shape for a in given]
        keys = list(random.state)
        self.shapes = shapes
        self.graph, self.constants = self._trace(shapes)
        self.groups: list[Group] = []
        if shapeless:
            later = list(random.state)
            try:
                self.graph, self.groups = parametrize(partial(self._again, keys), shapes)
            except Unrelated as error:
                raise ValueError(
                    f"[export_function] {_named(fun)} has no shapeless form: in its graph {error}. "
                    "Export one trace for each shape with mx.exporter instead."
                ) from None
            finally:
                random.state[:] = later

    def _again(self, keys: list[Any], shapes: Sequence[tuple[int, ...]]) -> dict[str, Any]:
        """The graph at other shapes, which must have the same constants."""
        random.state[:] = keys
        graph, constants = self._trace(shapes)
        if len(constants) != len(self.constants) or not all(map(_equal, constants, self.constants)):
            raise Unrelated("arrays made while it ran depend on sizes")
        return graph

    def _trace(self, shapes: Sequence[tuple[int, ...]]) -> tuple[dict[str, Any], list[Node]]:
        with Trace("export_function") as opened:
            stands = [placeholder(opened, s, d) for s, d in zip(shapes, self.dtypes, strict=True)]
            handles = [wrap(node) for node in stands]
            named = dict(zip(self.keywords, handles[self.count :], strict=True))
            result = self.fun(*handles[: self.count], **named)
            found = [result] if isinstance(result, array) else result
            if not isinstance(found, (list, tuple)) or not all(isinstance(r, array) for r in found):
                raise ValueError(
                    "[export_function] Outputs can be either a single array, a tuple, or a list of "
                    f"arrays, but {_named(self.fun)} returned {type(result).__name__}."
                )
            return portable(stands, [r._node for r in found], opened.start)

    @property
    def signature(self) -> Any:
        sizes = [list(s) for s in self.shapes]
        for group in self.groups:
            for at, axis in group:
                sizes[at][axis] = None  # type: ignore[call-overload]
        return self.count, self.keywords, self.dtypes, sizes

    def described(self) -> dict[str, Any]:
        """What the file's JSON says."""
        about = {"positional": self.count, "keywords": self.keywords, "free": self.groups}
        about["names"] = _names(self.fun)[: self.count]
        about["example"] = [self.shapes[g[0][0]][g[0][1]] for g in self.groups]
        return about | self.graph


def _names(fun: Callable[..., Any]) -> list[str]:
    """Parameters that may be given by position and by name."""
    try:
        found = inspect.signature(fun).parameters.values()
    except ValueError:  # some built-in functions have none
        return []
    return [p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]


def _equal(a: Node, b: Node) -> bool:
    """Whether two constants are the same bytes."""
    if a is b:
        return True
    if a.shape != b.shape or a.dtype is not b.dtype:
        return False
    return numpy_of(a).tobytes() == numpy_of(b).tobytes()


def _named(fun: Any) -> str:
    return getattr(fun, "__name__", type(fun).__name__)


class FunctionExporter:
    """Writes traces of a function to one file, see :func:`exporter`."""

    def __init__(self, file: Any, fun: Any, shapeless: bool, metadata: str | None) -> None:
        check_callable("export_function", fun)
        if metadata is not None and not isinstance(metadata, str):
            raise TypeError(
                f"[export_function] metadata must be text, got {type(metadata).__name__}."
            )
        self._file, self._fun, self._shapeless = file, fun, shapeless
        self._metadata = metadata
        self._traces: list[_Traced] = []
        self._is_open = True

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        """Trace the function for arguments of these shapes and dtypes.

        Raises RuntimeError after :meth:`close` and for arguments that have a trace.
        """
        if not self._is_open:
            raise RuntimeError("[export_function] Attempting to write after exporting is closed.")
        traced = _Traced(
            self._fun, array_arguments("export_function", args, kwargs), self._shapeless
        )
        if any(traced.signature == t.signature for t in self._traces):
            raise RuntimeError(
                "[export_function] Attempting to export a function twice with the same signature "
                "is not allowed."
            )
        self._traces.append(traced)

    def close(self) -> None:
        """Write the file.  Further calls of it do nothing."""
        if not self._is_open:
            return
        self._is_open = False
        arrays = {
            f"{i}.{j}": numpy_of(node)
            for i, traced in enumerate(self._traces)
            for j, node in enumerate(traced.constants)
        }
        about = {"format": FORMAT, "metadata": self._metadata or ""}
        about["traces"] = json.dumps([t.described() for t in self._traces], separators=(",", ":"))
        suffix = pathlib.Path(os.fspath(self._file)).suffix
        with io.writing("export_function", self._file, suffix) as opened:
            io.write_safetensors(opened, arrays, about)

    def __enter__(self) -> FunctionExporter:
        return self

    def __exit__(self, exc_type: Any = None, exc_value: Any = None, traceback: Any = None) -> None:
        if exc_type is None:
            self.close()


def exporter(
    file: str | os.PathLike[str],
    fun: Callable[..., Any],
    *,
    shapeless: bool = False,
    metadata: str | None = None,
) -> FunctionExporter:
    """A context manager that exports several traces of a function to one file.

    Call it with example arguments, once for each kind of call that the imported function shall
    accept; the file is written at the end, unless an exception left the block.

    >>> import tempfile, mlx.core as mx
    >>> path = tempfile.mkdtemp() + "/total.mlxfn"
    >>> with mx.exporter(path, lambda *arrays: sum(arrays)) as export:
    ...     export(mx.array(1.0))
    ...     export(mx.array(1.0), mx.array(2.0))
    >>> mx.import_function(path)(mx.array(3.0), mx.array(4.0))
    (array(7, dtype=float32),)
    """
    return FunctionExporter(file, fun, shapeless, metadata)


def export_function(
    file_or_callback: str | os.PathLike[str] | Callable[[dict[str, Any]], Any],
    fun: Callable[..., Any],
    *args: Any,
    shapeless: bool = False,
    metadata: str | None = None,
    **kwargs: Any,
) -> None:
    """Write what ``fun`` records for these example arguments to a file.

    Only shapes and dtypes of the examples matter; arrays that ``fun`` captures are constants.
    The file is a safetensors file that holds the graph as JSON, and no Python.

    Args:
        file_or_callback: where to write; or a function, called with a dictionary for the
            inputs, keyword inputs, outputs, constants and each operation, that gets it instead.
        fun: takes arrays, returns an array or a list or tuple of arrays.
        args, kwargs: example arrays, or one tuple and/or one dictionary of them.
        shapeless: also accept other sizes, as far as ``fun`` does (it is called at several).
        metadata: text for who imports it.

    Raises:
        ValueError: arguments or results are no arrays, or with ``shapeless`` a number in the
            graph follows the sizes in no simple way.

    >>> import tempfile, mlx.core as mx
    >>> path = tempfile.mkdtemp() + "/function.mlxfn"
    >>> mx.export_function(path, lambda x, y: mx.exp(x) + y, mx.array(0.0), y=mx.array(0.0))
    >>> mx.import_function(path)(mx.array(0.0), y=mx.array(2.0))
    (array(3, dtype=float32),)
    """
    if callable(file_or_callback):
        check_callable("export_function", fun)
        traced = _Traced(fun, array_arguments("export_function", args, kwargs), shapeless=False)
        _tell(file_or_callback, traced)
        return
    writer = FunctionExporter(file_or_callback, fun, shapeless, metadata)
    writer(*args, **kwargs)
    writer.close()


def _tell(callback: Callable[[dict[str, Any]], Any], traced: _Traced) -> None:
    graph = traced.graph
    with Trace("export_function") as opened:
        stands = described_inputs(opened, graph)
        known = rebuilt(graph, stands, traced.constants)
    count = len(stands)
    names = ("".join(p) for n in itertools.count(1) for p in itertools.product(_LETTERS, repeat=n))
    described = [(name, x.shape, x.dtype) for name, x in zip(names, known, strict=False)]
    callback({"type": "inputs", "inputs": described[:count]})
    named = zip(traced.keywords, described[traced.count : count], strict=True)
    callback({"type": "keyword_inputs", "keywords": [(k, d[0]) for k, d in named]})
    callback({"type": "outputs", "outputs": [described[i] for i in graph["outputs"]]})
    values = zip(described[count:], traced.constants, strict=False)
    callback({"type": "constants", "constants": [(d[0], wrap(node)) for d, node in values]})
    first = count + len(traced.constants)
    for at, (name, fields, operands, _) in enumerate(graph["nodes"], first):
        callback(
            {
                "type": "primitive",
                "name": name,
                "arguments": fields,
                "inputs": [described[i] for i in operands],
                "outputs": [described[at]],
            }
        )


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
