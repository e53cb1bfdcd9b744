"""What a function can reach: the arrays it captures, and the containers it may change."""

from __future__ import annotations

import collections
import dis
import functools
import sys
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from mlx.array import array
from mlx.base.dtype import Dtype

_SCALARS = frozenset({bool, int, float, complex, str, bytes, type(None), Dtype})
_SEQUENCES = (list, tuple, collections.deque)
_PARTS: dict[type, Callable[[Any], tuple[Any, ...]]] = {
    types.MethodType: lambda method: (method.__func__, method.__self__),
    functools.partial: lambda partial: (partial.func, partial.args, partial.keywords),
    staticmethod: lambda method: (method.__func__,),
    classmethod: lambda method: (method.__func__,),
    property: lambda attribute: (attribute.fget,),
}
_LONG = 1000
_EMPTY = object()


class Name:
    """A global variable that a function names, as a container of one value."""

    __slots__ = ("namespace", "key")

    def __init__(self, namespace: dict[str, Any], key: str) -> None:
        self.namespace = namespace
        self.key = key


class Reach:
    """One scan.

    Attributes:
        key: equal keys mean that nothing but the values of arrays can differ.
        handles: the arrays found, each once.
        containers: what holds them or other values: dictionaries, lists, cells, names; the
            same place has the same index in scans of equal keys.
        pinned: objects that the key knows by ``id``.
    """

    def __init__(self, roots: Iterable[Any]) -> None:
        self.handles: list[array] = []
        self.containers: list[Any] = []
        self.pinned: list[Any] = []
        self._tokens: list[Any] = []
        self._seen: dict[int, int] = {}
        self._nodes: dict[Any, int] = {}
        self._stack: list[Any] = list(roots)
        self._walk()
        self.key = tuple(self._tokens)

    def _walk(self) -> None:
        """Visit what is pending; the frequent kinds here, the rest in methods."""
        tokens, seen, nodes, stack = self._tokens, self._seen, self._nodes, self._stack
        handles = self.handles
        while stack:
            value = stack.pop()
            kind = type(value)
            if kind in _SCALARS:
                tokens += (kind, value)
                continue
            new = len(seen)
            at = seen.setdefault(id(value), new)
            tokens.append(at)
            if at != new:
                continue
            if kind is array:
                node = value._node
                handles.append(value)
                tokens += (node.shape, node.dtype.index, nodes.setdefault(node, len(nodes)))
            elif isinstance(value, dict):
                self._dictionary(value)
            elif isinstance(value, _SEQUENCES):
                self._sequence(value)
            else:
                self._object(value, kind)

    def _dictionary(self, value: dict) -> None:
        self._tokens += (type(value), len(value))
        if len(value) > _LONG and set(map(type, value.values())) <= _SCALARS:
            self._pin(value)
            return
        self.containers.append(value)
        self._tokens += value
        self._stack += value.values()
        if type(value) is not dict:
            self._attributes(value)

    def _sequence(self, value: Any) -> None:
        self._tokens += (type(value), len(value))
        if len(value) > _LONG and set(map(type, value)) <= _SCALARS:
            self._pin(value)
            return
        if not isinstance(value, tuple):
            self.containers.append(value)
        self._stack += value

    def _object(self, value: Any, kind: type) -> None:
        if kind is types.CellType:
            self._cell(value)
        elif kind is types.FunctionType:
            self._function(value)
        elif kind in _PARTS:
            self._stack += _PARTS[kind](value)
        elif isinstance(value, type):
            self._pin(value)
            self._class(value)
        elif isinstance(value, (set, frozenset)):
            self._tokens.append(frozenset(value))
        elif kind in (slice, range):
            self._tokens.append(repr(value))
        else:
            self._pin(value)
            if not _is_foreign(kind.__module__):
                self._attributes(value)
                self._stack.append(kind)

    def _pin(self, value: Any) -> None:
        self._tokens.append(id(value))
        self.pinned.append(value)

    def _cell(self, value: types.CellType) -> None:
        self.containers.append(value)
        try:
            self._stack.append(value.cell_contents)
        except ValueError:
            self._tokens.append("empty")

    def _attributes(self, value: Any) -> None:
        attributes = getattr(value, "__dict__", None)
        if attributes:
            self._stack.append(attributes)
        for name in _slots(type(value)):  # type: ignore[arg-type] # types are hashable
            self._stack.append(getattr(value, name, None))

    def _class(self, value: type) -> None:
        if _is_foreign(value.__module__) or _is_ours(value.__module__):
            return
        for name, member in vars(value).items():
            if not name.startswith("__") or name in ("__call__", "__init__"):
                self._stack.append(member)
        self._stack += value.__bases__

    def _function(self, value: types.FunctionType) -> None:
        code = value.__code__
        self._pin(code)
        self._stack += value.__closure__ or ()
        self._stack += (value.__defaults__, value.__kwdefaults__)
        if value.__dict__:
            self._stack.append(value.__dict__)
        namespace = value.__globals__
        if not _is_ours(namespace.get("__name__")) and _knows_arrays(namespace):
            self._globals(code, namespace)

    def _globals(self, code: types.CodeType, namespace: dict[str, Any]) -> None:
        names, attributes = _names(code)
        for name in names:
            found = namespace.get(name, _EMPTY)
            if isinstance(found, types.ModuleType):
                if _knows_arrays(vars(found)) and not _is_ours(found.__name__):
                    for key in attributes:
                        if key in vars(found):
                            self._name(vars(found), key)
            elif found is not _EMPTY:
                self._name(namespace, name)

    def _name(self, namespace: dict[str, Any], key: str) -> None:
        self.containers.append(Name(namespace, key))
        found = namespace[key]
        if not isinstance(found, types.ModuleType):
            self._stack.append(found)


@functools.lru_cache(maxsize=4096)
def _slots(kind: type) -> tuple[str, ...]:
    """The attributes that instances keep outside ``__dict__``."""
    found: list[str] = []
    for base in kind.__mro__:
        names = base.__dict__.get("__slots__", ())
        found += (names,) if isinstance(names, str) else names
    return tuple(name for name in found if not name.startswith("__"))


@functools.lru_cache(maxsize=4096)
def _is_foreign(module: str) -> bool:
    """Whether instances of a module's classes are taken as they are: those of the standard
    library, and of installed packages that don't use mlx (a tokenizer may hold millions)."""
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root in ("numpy", "ml_dtypes"):
        return root != "__main__"
    found = sys.modules.get(module)
    installed = "site-packages" in (getattr(found, "__file__", None) or "")
    return found is not None and installed and not _knows_arrays(vars(found))


@functools.lru_cache(maxsize=4096)
def _is_ours(module: str | None) -> bool:
    return module is not None and (module == "mlx" or module.startswith("mlx."))


_array_modules: dict[str, bool] = {}


def _knows_arrays(namespace: dict[str, Any]) -> bool:
    """Whether a module holds arrays, or imports mlx: only functions there are followed."""
    name = namespace.get("__name__", "")
    known = _array_modules.get(name)
    if known is None or not known:
        known = any(_of_mlx(value) for value in list(namespace.values()))
        _array_modules[name] = known
    return known


def _of_mlx(value: Any) -> bool:
    if isinstance(value, (types.ModuleType, types.FunctionType, type)):
        name = value.__name__ if isinstance(value, types.ModuleType) else value.__module__
        return _is_ours(name)
    return type(value) is array


@functools.lru_cache(maxsize=4096)
def _names(code: types.CodeType) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Global names and attribute names in a code object and those nested in it."""
    names: dict[str, None] = {}
    attributes: dict[str, None] = {}
    for inner in _codes(code):
        for instruction in dis.get_instructions(inner):
            if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME", "STORE_GLOBAL"):
                names[instruction.argval] = None
            elif instruction.opname in ("LOAD_ATTR", "LOAD_METHOD"):
                attributes[instruction.argval] = None
    return tuple(names), tuple(attributes)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    pending = [code]
    while pending:
        code = pending.pop()
        yield code
        pending += [c for c in code.co_consts if isinstance(c, types.CodeType)]
