"""The nest of a kernel that only copies."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mlx.base.dtype import Dtype
from mlx.compiler.build import Operand, nest_over
from mlx.compiler.nest import Apply, Expression, Literal, Load, Nest
from mlx.compiler.orient import oriented
from mlx.primitives.elementwise import Add
from mlx.primitives.layout import Layout


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
    return oriented(nest_over(operands, (size,), values, stores))


def _flat(layout: Layout, size: int) -> Layout:
    found = layout.reshape((size,))
    assert found is not None
    return found
