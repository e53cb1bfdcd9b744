"""The graph in the DOT language."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

import mlx.core as mx
from mlx.api.export import export_to_dot


def test_graph(tmp_path: Path) -> None:
    x = mx.array([1.0, 2.0])
    y = mx.exp(x) * x
    text = io.StringIO()
    export_to_dot(text, y, x=x, out=y)
    lines = text.getvalue().splitlines()
    assert lines[0] == "digraph {" and lines[-1] == "}"
    assert '{ rank=source; "x"; }' in lines and '{ rank=sink; "out"; }' in lines
    assert sum('label ="Exp"' in line for line in lines) == 1
    path = tmp_path / "graph.dot"
    export_to_dot(str(path), y, x=x, out=y)
    assert path.read_text() == text.getvalue()


def test_evaluated_arrays_are_sources() -> None:
    y = mx.array([1.0]) + 1
    mx.eval(y)
    text = io.StringIO()
    export_to_dot(text, y)
    assert text.getvalue() == 'digraph {\n{ rank=source; "A"; }\n}\n'
    with pytest.raises(ValueError, match="export_to_dot"):
        export_to_dot(text)
