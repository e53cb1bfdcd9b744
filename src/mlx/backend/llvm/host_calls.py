"""Host calls of programs on disk, as plain data."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from typing import Any

from mlx.backend.llvm.abi import HostCall, Operand, Pointer

_PRIMITIVES = "mlx.primitives."


def plain(call: HostCall) -> tuple[Any, ...]:
    """A call in numbers, texts and tuples of them, if the fields of its primitive are.
    Raises ValueError for a primitive from elsewhere."""
    cls = type(call.primitive)
    if not cls.__module__.startswith(_PRIMITIVES):
        raise ValueError(f"{cls.__name__} means nothing to another process")
    fields = tuple([getattr(call.primitive, f.name) for f in dataclasses.fields(cls)])
    inputs, outputs = map(_numbers, call.inputs), map(_numbers, call.outputs)
    return cls.__module__, cls.__qualname__, fields, tuple(inputs), tuple(outputs), call.label


def restored(said: tuple[Any, ...]) -> HostCall:
    """The call that ``plain`` made this of.  Raises an ImportError or AttributeError where there
    is no such primitive."""
    module, name, fields, inputs, outputs, label = said
    if not module.startswith(_PRIMITIVES):
        raise ImportError(module)
    primitive = getattr(import_module(module), name)(*fields)
    return HostCall(primitive, list(map(_operand, inputs)), list(map(_operand, outputs)), label)


def _numbers(operand: Operand) -> tuple[Any, ...]:
    pointer = operand.pointer
    return pointer.base, pointer.offset, operand.dtype, operand.shape, operand.strides


def _operand(numbers: tuple[Any, ...]) -> Operand:
    base, offset, *rest = numbers
    return Operand(Pointer(base, offset), *rest)
