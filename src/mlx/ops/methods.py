"""Operators and methods of ``array``: every one is the operation of the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mlx.array import array
from mlx.ops import arithmetic, complex, elementary, joining, logic, products, reductions, scans
from mlx.ops import shape as shapes
from mlx.ops.bits import view
from mlx.ops.operands import Operand, is_operand

Binary = Callable[[Any, Any], array]

_OPERATORS: dict[str, Binary] = {
    "add": arithmetic._add, "sub": arithmetic._subtract, "mul": arithmetic._multiply,
    "truediv": arithmetic._divide, "div": arithmetic._divide,
    "floordiv": arithmetic._floor_divide, "mod": arithmetic._remainder,
    "pow": arithmetic.power, "and": logic._bitwise_and, "or": logic._bitwise_or,
    "xor": logic._bitwise_xor, "lshift": logic._left_shift, "rshift": logic._right_shift,
}  # fmt: skip
_COMPARISONS: dict[str, Binary] = {
    "lt": logic._less, "le": logic._less_equal, "gt": logic._greater,
    "ge": logic._greater_equal,
}  # fmt: skip
_REFLECTED = ("add", "sub", "mul", "truediv", "div", "floordiv", "mod", "pow")
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    f.__name__: f
    for f in (
        arithmetic.abs, arithmetic.reciprocal, arithmetic.round, arithmetic.square,
        elementary.cos, elementary.exp, elementary.log, elementary.log10, elementary.log1p,
        elementary.log2, elementary.rsqrt, elementary.sin, elementary.sqrt,
        joining.diag, joining.split,
        reductions.all, reductions.any, reductions.argmax, reductions.argmin,
        reductions.logsumexp, reductions.max, reductions.mean, reductions.min,
        reductions.prod, reductions.std, reductions.sum, reductions.var,
        scans.cummax, scans.cummin, scans.cumprod, scans.cumsum, scans.logcumsumexp,
        shapes.astype, shapes.diagonal, shapes.flatten, shapes.moveaxis, shapes.squeeze,
        shapes.swapaxes, view,
    )
} | {"conj": complex.conjugate}  # fmt: skip


def _reflected(operation: Binary) -> Binary:
    def method(self: array, other: Operand) -> array:
        return operation(other, self)

    return method


def _in_place(operation: Binary) -> Binary:
    """The handle is bound to the result; others that share the node keep the old value."""

    def method(self: array, other: Operand) -> array:
        self._node = operation(self, other)._node
        return self

    return method


_divide_in_place = _in_place(arithmetic._divide)


def _divided_in_place(self: array, other: Operand) -> array:
    if not self.dtype.is_inexact:
        raise ValueError(
            f"[divide] Dividing in place would turn {self.dtype.name} into a floating-point "
            "dtype: write a = a / b, or a //= b."
        )
    return _divide_in_place(self, other)


def _equality(operation: Binary, otherwise: bool) -> Callable[[Any, Any], Any]:
    """== and != are plain booleans against what is no array or number."""

    def method(self: array, other: Operand) -> Any:
        if other is not None and not is_operand(other):
            return otherwise
        return operation(self, other)

    return method


def _transposed(self: array, *axes: Any, stream: Any = None) -> array:
    """The axes in another order, by default reversed; they may be one list."""
    if not axes:
        return shapes.transpose(self)
    return shapes.transpose(self, axes[0] if not isinstance(axes[0], int) else axes)


def _reshaped(self: array, *shape: Any, stream: Any = None) -> array:
    """The elements in another shape: sizes, or one list of them."""
    if len(shape) == 1 and not isinstance(shape[0], int):
        return shapes.reshape(self, shape[0])
    return shapes.reshape(self, shape)


for _function, _name in ((_transposed, "transpose"), (_reshaped, "reshape")):
    _function.__name__, _function.__qualname__ = _name, f"array.{_name}"  # as messages say it


def install() -> None:
    """Give ``array`` its operators and methods."""
    special: dict[str, Any] = {name: f for name, f in _OPERATORS.items()} | _COMPARISONS
    special |= {"r" + name: _reflected(_OPERATORS[name]) for name in _REFLECTED}
    special |= {"i" + name: _in_place(f) for name, f in _OPERATORS.items() if name != "div"}
    special["itruediv"] = _divided_in_place
    special |= {"matmul": products.matmul, "imatmul": _in_place(products.matmul)}
    special |= {"eq": _equality(logic._equal, False), "ne": _equality(logic._not_equal, True)}
    special |= {
        "neg": arithmetic._negative,
        "abs": arithmetic._abs,
        "invert": logic._bitwise_invert,
    }
    special |= {"pos": arithmetic.positive, "invert": logic._bitwise_invert}
    properties = {
        "T": property(shapes.transpose, doc="The axes in reverse order."),
        "mT": property(shapes.matrix_transpose, doc="The last two axes exchanged."),
        "real": property(complex.real, doc="The real part."),
        "imag": property(complex.imag, doc="The imaginary part."),
    }
    special = {f"__{name}__": function for name, function in special.items()}
    methods = _FUNCTIONS | {"transpose": _transposed, "reshape": _reshaped}
    for name, attribute in (special | methods | properties).items():
        setattr(array, name, attribute)


install()
