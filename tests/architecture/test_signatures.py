"""The declarations that type checkers read agree with what is installed on ``array``."""

import ast
import inspect
from pathlib import Path

import pytest

import mlx.core as mx
from mlx.array import ArrayAt, handle

STUB = ast.parse(Path(handle.__file__).with_name("signatures.pyi").read_text())
CLASSES = {c.name: c.body for c in STUB.body if isinstance(c, ast.ClassDef)}
DECLARED = [
    (cls, function)
    for cls, name in ((mx.array, "Installed"), (ArrayAt, "InstalledAt"))
    for function in CLASSES[name]
    if isinstance(function, ast.FunctionDef)
]


def _parameters(function: ast.FunctionDef) -> list[tuple[str, str]]:
    """Names and kinds, without the first and without whether a name is needed."""
    a = function.args
    rest = [("*", a.vararg.arg)] if a.vararg else []
    return [("", p.arg) for p in a.args[1:]] + rest + [("k", p.arg) for p in a.kwonlyargs]


def _installed(function: object) -> list[tuple[str, str]]:
    kinds = {"VAR_POSITIONAL": "*", "KEYWORD_ONLY": "k"}
    found = inspect.signature(function).parameters.values()
    return [(kinds.get(p.kind.name, ""), p.name) for p in list(found)[1:]]


@pytest.mark.parametrize("cls, declared", DECLARED, ids=[f.name for _, f in DECLARED])
def test_declared_is_installed(cls: type, declared: ast.FunctionDef) -> None:
    installed = vars(cls)[declared.name]
    if isinstance(installed, property):
        assert [d.id for d in declared.decorator_list if isinstance(d, ast.Name)] == ["property"]
    elif declared.name.startswith("__"):
        needed = [p for k, p in _installed(installed) if k == ""]
        assert len(needed) == len(_parameters(declared))
    else:
        assert _installed(installed) == _parameters(declared)


def test_installed_is_declared() -> None:
    source = ast.parse(Path(handle.__file__).read_text())
    written = {
        f.name
        for cls in source.body
        if isinstance(cls, ast.ClassDef) and cls.name == "array"
        for f in cls.body
        if isinstance(f, ast.FunctionDef)
    }
    declared = {f.name for cls, f in DECLARED if cls is mx.array}
    functions = {
        name for name, f in vars(mx.array).items() if inspect.isfunction(f) or type(f) is property
    }
    assert functions - written == declared
