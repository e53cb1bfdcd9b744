"""Who may import whom: the sources against the layer table of docs/architecture.md."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest

from tests.architecture.sources import REPOSITORY, ROOT, Source, sources

LONGEST, LONGEST_FUNCTION = 400, 40
LONG_WITH_REASON = {"mlx.core.__init__"}  # it lists the public names, and does nothing else
LAZY = {"llvmlite": "mlx.backend.llvm.lazy", "scipy": "mlx.base.lazy"}
ROW = re.compile(r"^\| `(\w+)` \|([^|]*)\|")

each_source = pytest.mark.parametrize("source", sources(), ids=repr)


@cache
def layers() -> dict[str, set[str]]:
    """For each package those it may import, as the documentation has it."""
    text = (REPOSITORY / "docs" / "architecture.md").read_text()
    rows = (ROW.match(line) for line in text.splitlines())
    return {row[1]: set(re.findall(r"`(\w+)`", row[2])) for row in rows if row}


@cache
def modules() -> dict[str, Source]:
    return {source.module: source for source in sources()}


def test_table_names_the_packages() -> None:
    assert set(layers()) == {source.package for source in sources()}
    assert set().union(*layers().values()) <= set(layers())


def test_table_has_no_cycle() -> None:
    assert not _cycle({package: sorted(allowed) for package, allowed in layers().items()})


@each_source
def test_imports_are_allowed(source: Source) -> None:
    allowed = layers()[source.package] | {source.package}
    for found in source.imports():
        parts = found.module.split(".")
        if parts[0] == "mlx" and not found.for_types:
            assert parts[1] in allowed, (
                f"{source}:{found.line} imports {found.module}; by docs/architecture.md "
                f"{source.package} may import {sorted(allowed)}"
            )


@each_source
def test_no_import_inside_a_function(source: Source) -> None:
    assert not [found for found in source.imports() if found.inside]


@each_source
def test_slow_packages_load_on_first_use(source: Source) -> None:
    """llvmlite and SciPy are named in one file each, which imports them when asked to."""
    assert not [f for f in source.imports() if f.module.split(".")[0] in LAZY]
    for package, home in LAZY.items():
        named = f'import_module("{package}' in source.path.read_text()
        named |= f'import_module(f"{package}' in source.path.read_text()
        assert named == (source.name == home)


@each_source
def test_files_are_short(source: Source) -> None:
    assert source.lines <= LONGEST or source.name in LONG_WITH_REASON


@each_source
def test_functions_are_short(source: Source) -> None:
    """Docstrings don't count."""
    lengths = {
        node.name: node.body[-1].end_lineno - _code(node)[0].lineno + 1
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef) and _code(node)
    }
    assert {name: n for name, n in lengths.items() if n > LONGEST_FUNCTION} == {}


def _code(function: ast.FunctionDef) -> list[ast.stmt]:
    return function.body[1:] if ast.get_docstring(function) else function.body


def test_no_cycle_between_modules() -> None:
    graph: dict[str, list[str]] = {}
    for source in sources():
        found = {_module(i.module) for i in source.imports() if not i.for_types}
        graph[source.module] = sorted(m for m in found if m and m != source.module)
    assert not _cycle(graph)


def _module(name: str) -> str | None:
    """The module of ours that an imported name is, or is in."""
    for candidate in (name, name.rpartition(".")[0]):
        if candidate in modules():
            return candidate
    return None


def _cycle(graph: dict[str, list[str]]) -> list[str]:
    """Nodes that depend on each other in a circle; none if there is no circle."""
    waiting = {node: set(needs) for node, needs in graph.items()}
    while ready := [node for node, needs in waiting.items() if not needs]:
        for node in ready:
            del waiting[node]
        for needs in waiting.values():
            needs.difference_update(ready)
    return sorted(waiting)


def test_every_folder_is_a_package() -> None:
    """Each folder but the root, which is a namespace, says in its __init__ what it is."""
    folders = {source.path.parent for source in sources()} - {ROOT}
    assert [f for f in sorted(folders) if not (f / "__init__.py").exists()] == []


@each_source
def test_says_what_it_is(source: Source) -> None:
    first = source.tree.body[0] if source.tree.body else None
    value = getattr(first, "value", None)
    assert isinstance(getattr(value, "value", None), str), "no docstring"
