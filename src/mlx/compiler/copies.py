"""The nest of a kernel that only copies."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlx.base.dtype import Dtype
from mlx.compiler.blocks import makes_one
from mlx.compiler.build import Operand, nest_over
from mlx.compiler.nest import Apply, Expression, Literal, Load, Nest
from mlx.compiler.orient import oriented
from mlx.compiler.steps import MoveStep, NestStep, Step
from mlx.graph.node import Node, Shape
from mlx.primitives.elementwise import Add
from mlx.primitives.layout import Layout, contiguous, strided

VAST, LONG = 1 << 24, 3072
"""Bytes of a result, and of runs in it."""


def copy_nest(
    sources: Sequence[Operand | None],
    targets: Sequence[Layout],
    buffer: int,
    dtype: Dtype,
    adds: bool,
) -> Nest:
    """Sources (None: zeros) of one size written to layouts of a buffer; or the one source added to
    what is there."""
    size = prod(targets[0].shape)
    operands: list[Operand] = []
    values: list[Expression] = []
    stores: list[tuple[int, int]] = []
    for source, target in zip(sources, targets, strict=True):
        stores.append((len(values), len(operands)))
        operands.append(Operand(buffer, _flat(target, size), dtype, None))
        if source is None:
            values.append(Literal.of(0, dtype))
            continue
        values.append(Load(len(operands), source.dtype))
        operands.append(source)
    if adds:
        values += [Load(len(operands), dtype), Apply(Add(), (1, 0), dtype)]
        operands.append(operands[0])
        stores = [(2, 0)]
    return nest_over(operands, (size,), values, stores)


def copy_steps(nests: Sequence[Nest], node: Node) -> list[Step]:
    """The kernels of a join's copies: one where they are runs."""
    label = node.primitive.name
    if makes_one(nests) and are_apart(node):
        return [MoveStep([*nests], label)]
    return [NestStep(oriented(nest), label) for nest in nests]


def are_apart(node: Node) -> bool:
    """Whether no two copies of which a join is made write to one place."""
    primitive = node.primitive
    if primitive.name == "Concatenate":
        return True
    return all(step == 1 for step in primitive.steps) and not _is_filled_first(node)


def _is_filled_first(node: Node) -> bool:
    """Whether an Embed is better made of zeros everywhere, around the caches, and a copy: of
    short runs in much memory, for gaps between these share lines with them."""
    (x,), run = node.inputs, node.dtype.size
    if node.size * run < VAST:
        return False
    for n, whole in zip(reversed(x.shape), reversed(node.shape), strict=True):
        run *= n
        if n != whole:
            break
    return bool(run < LONG)


def around(node: Node) -> list[Layout]:
    """What an Embed leaves zero, as runs that don't overlap: before the first element of its
    operand, behind the last one, and between neighbours along each axis."""
    (x,), primitive = node.inputs, node.primitive
    whole = contiguous(node.shape)
    if not are_apart(node) or not x.size:
        return [whole]
    strides = whole.strides()
    assert strides is not None
    highs = [m - n - low for m, n, low in zip(node.shape, x.shape, primitive.starts, strict=True)]
    ahead = [low * s for low, s in zip(primitive.starts, strides, strict=True)]
    behind = [high * s for high, s in zip(highs, strides, strict=True)]
    lasts = [(n - 1) * s for n, s in zip(x.shape, strides, strict=True)]
    found: list[tuple[Shape, Shape, int]] = [
        ((sum(ahead),), (1,), 0),
        ((sum(behind),), (1,), node.size - sum(behind)),
    ]
    for axis in range(x.ndim - 1):
        gap = sum(ahead[axis + 1 :]) + sum(behind[axis + 1 :])
        shape = (*x.shape[:axis], x.shape[axis] - 1, gap)
        start = sum(ahead) + sum(lasts[axis + 1 :]) + 1
        found.append((shape, (*strides[: axis + 1], 1), start))
    return [strided(*layout) for layout in found if 0 not in layout[0]]


def _flat(layout: Layout, size: int) -> Layout:
    found = layout.reshape((size,))
    assert found is not None
    return found
