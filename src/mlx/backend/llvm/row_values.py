"""What the kernel of rows has one of, for all rows or for each: the same in all lanes."""

from __future__ import annotations

from mlx.backend.llvm import memory
from mlx.backend.llvm.expressions import ROW, compute, operands
from mlx.backend.llvm.frame import Frame
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.positions import positions
from mlx.backend.llvm.registers import Lane
from mlx.backend.llvm.values import Value
from mlx.compiler.nest import Argument, Expression, Index, Literal, Load, Reduce

FEW = 4
"""Lanes in which what a row has one of is computed: short rows wait for that."""


class RowValues(Frame):
    """Emission of these values, and of positions, which are such values in part."""

    def _fill(self, space: int, level: int) -> None:
        """Compute the const or row values that are possible after ``level`` passes."""
        for v, expression in enumerate(self.s.values):
            ready = self.s.spaces[v] <= space and self.s.levels[v] <= level
            if ready and v not in self.fixed and not isinstance(expression, Reduce):
                self.fixed[v] = self._fixed(v, expression)

    def _fixed(self, v: int, expression: Expression) -> Lane:
        e = self.e
        if isinstance(expression, Literal):
            return compute(e, expression, self.fixed)
        if isinstance(expression, Argument):
            return self._argument(v, expression)
        if isinstance(expression, Load):
            at = self.pointers if self.s.spaces[v] == ROW else self.bases
            return memory.load_splat(e, at[expression.access], expression.dtype)
        if isinstance(expression, Index):
            at = self.pointers if self.s.spaces[v] == ROW else self.bases
            return self._index(at[expression.access], None, expression)
        return self._once(expression)

    def _once(self, expression: Expression) -> Lane:
        """A value that is the same in all lanes, from few of them."""
        f, narrow, known = self.f, LaneEmitter(self.f, FEW), dict[int, Lane]()
        for o in operands(expression):
            lane = self.fixed[o]
            known[o] = Lane(lane.dtype, *[f.shuffle(p, None, range(FEW)) for p in lane.parts])
        lane = compute(narrow, expression, known)
        parts = [f.splat(f.extract(p, 0), self.spec.lanes) for p in lane.parts]
        return Lane(lane.dtype, *parts)

    def _argument(self, v: int, expression: Argument) -> Lane:
        slot = self.spec.argument_slot + expression.position
        address = self.f.gep(self.k.bases, self.k.const(slot), "i64")
        return memory.load_splat(self.e, address, expression.dtype)

    def _index(self, pointer: Value, j: Value | None, expression: Index) -> Lane:
        """An index access has no buffer: its base is 0, so the 'address' is the position."""
        f, access = self.f, expression.access
        at = f.emit(f"ptrtoint ptr {pointer.ref} to i64", "i64")
        if j is None:
            return positions(self.e, at, None, expression.dtype)
        at = f.add(at, f.mul(j, self._stride(access, self.s.depth)))
        return positions(self.e, at, self.steps[expression], expression.dtype)
