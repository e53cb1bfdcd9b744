"""export_to_dot: the recorded graph as a picture."""

from __future__ import annotations

import itertools
from typing import Any, TextIO

from mlx.array import array
from mlx.base import tree
from mlx.graph.node import Node, ancestors
from mlx.primitives.base import Pick
from mlx.runtime.segments import expand


def export_to_dot(file: str | TextIO, *args: Any, **kwargs: Any) -> None:
    """Write the graph of unevaluated arrays in the DOT language of Graphviz.

    Args:
        file: a path, or an object with ``write``.
        args: the arrays, or trees of arrays, whose graph is wanted.
        kwargs: arrays by the name that the picture shall give them; so for inputs, too.

    Raises:
        ValueError: there are no arrays.

    >>> import io, mlx.core as mx
    >>> text = io.StringIO()
    >>> mx.export_to_dot(text, y=mx.array(1.0) + mx.array(2.0))
    >>> "Add" in text.getvalue()
    True
    """
    roots = [leaf._node for leaf in tree.leaves((args, kwargs)) if isinstance(leaf, array)]
    if not roots:
        raise ValueError("[export_to_dot] No arrays were given.")
    expand(roots)
    names = {a._node: name for name, a in kwargs.items() if isinstance(a, array)}
    text = "digraph {\n" + "\n".join(_lines(roots, names)) + "\n}\n"
    if hasattr(file, "write"):
        file.write(text)
        return
    with open(file, "w", encoding="utf-8") as stream:
        stream.write(text)


def _lines(roots: list[Node], names: dict[Node, str]) -> list[str]:
    """Arrays by name, operations as rectangles by serial."""
    letters = (
        "".join(p) for n in itertools.count(1) for p in itertools.product(_ALPHABET, repeat=n)
    )
    free = (name for name in letters if name not in names.values())
    results, out = set(roots), []
    for node in ancestors(roots):
        several = node.dtype is None
        name = str(node.serial) if several else names.setdefault(node, "") or next(free)
        names[node] = name
        if node.primitive is None or node.data is not None:
            out.append(f'{{ rank=source; "{name}"; }}')
            continue
        if type(node.primitive) is Pick:
            out.append(f'{node.inputs[0].serial} -> "{name}"')
            continue
        out.append(f'{{ {node.serial} [label ="{node.primitive.name}", shape=rectangle]; }}')
        out += [f'"{names[source]}" -> {node.serial}' for source in node.inputs]
        if not several:
            rank = "rank=sink; " if node in results else ""
            out.append(f'{{ {rank}"{name}"; }}\n{node.serial} -> "{name}"')
    return out


_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
