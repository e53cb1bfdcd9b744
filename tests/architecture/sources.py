"""The package's own sources as syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
ROOT = REPOSITORY / "src" / "mlx"


@dataclass(frozen=True)
class Import:
    """One imported module (a dotted name), at once or lazily, and where that happens."""

    module: str
    line: int
    inside: bool
    """In the body of a function."""
    for_types: bool
    """Under ``if TYPE_CHECKING``: no import at run time."""


class Source:
    """A file: its dotted name, package (the part behind ``mlx.``), tree and lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        self.module = self.name.removesuffix(".__init__")
        self.package = self.name.split(".")[1]
        text = path.read_text()
        self.lines = text.count("\n")
        self.tree = ast.parse(text)

    def __repr__(self) -> str:
        return str(self.path.relative_to(REPOSITORY))

    def imports(self) -> Iterator[Import]:
        pending: list[tuple[ast.AST, bool, bool]] = [(self.tree, False, False)]
        while pending:
            node, inside, for_types = pending.pop()
            if isinstance(node, ast.Import | ast.ImportFrom):
                for module in _modules(node):
                    yield Import(module, node.lineno, inside, for_types)
            elif module := _loaded_lazily(node):
                yield Import(module, getattr(node, "lineno", 0), inside, for_types)
            inside = inside or isinstance(node, ast.FunctionDef | ast.Lambda)
            checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            body = node.body if isinstance(node, ast.If) else []
            for child in ast.iter_child_nodes(node):
                pending.append((child, inside, for_types or (checked and child in body)))


def _loaded_lazily(node: ast.AST) -> str:
    """The module that ``LazyModule("name")`` stands for."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "LazyModule":
        (name,) = node.args
        assert isinstance(name, ast.Constant), "a lazy module's name must be written out"
        return str(name.value)
    return ""


def _modules(node: ast.Import | ast.ImportFrom) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    assert node.module is not None, "relative import"
    return [f"{node.module}.{alias.name}" for alias in node.names]


@cache
def sources() -> tuple[Source, ...]:
    """Every file of the package, in order of name."""
    return tuple(Source(path) for path in sorted(ROOT.rglob("*.py")))
