"""LLVM IR as text: a small builder, much faster than building objects and printing them.

A :class:`Value` is an operand (register or constant) with its LLVM type.  A
:class:`Function` collects the instructions of one function; a :class:`Module` the
functions, constants and declarations of one object.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mlx.backend.llvm.values import (
    Value,
    const,
    element_of,
    is_float,
    lanes_of,
    literal,
    mangle,
    vector,
    with_element,
)


class Loop:
    """An open loop: its index, its carried values and its blocks (see Function.loop)."""

    __slots__ = ("body", "done", "head", "index", "latch_mark", "step", "values")

    index: Value
    step: Value
    values: list[Value]
    head: str
    body: str
    done: str
    latch_mark: int


class Module:
    """The functions and declarations of one object.

    With ``apart``, routines that many kernels share are declared only: they have objects of their
    own, which ``routines`` names.
    """

    def __init__(self, apart: bool = False) -> None:
        self.apart = apart
        self.routines: dict[str, tuple[Sequence[str], Callable[[Function], None]]] = {}
        self.functions: list[Function] = []
        self.declarations: dict[str, str] = {}
        self.globals: dict[str, str] = {}

    def function(
        self, name: str, params: Sequence[str], result: str = "void", internal: bool = False
    ) -> Function:
        function = Function(self, name, params, result, internal)
        self.functions.append(function)
        return function

    def routine(self, name: str, params: Sequence[str], write: Callable[[Function], None]) -> None:
        """A function that is the same in every kernel that names it."""
        if self.apart:
            self.declare(name, "void", params)
            self.routines[name] = params, write
        elif not self.has(name):
            write(self.function(name, params, internal=True))

    def has(self, name: str) -> bool:
        return any(f.name == name for f in self.functions)

    def declare(self, name: str, result: str, params: Sequence[str]) -> None:
        if name not in self.declarations:
            self.declarations[name] = f"declare {result} @{name}({', '.join(params)})"

    def table(self, name: str, element: str, numbers: Sequence[float]) -> Value:
        """A private constant array; returns its address."""
        if name not in self.globals:
            items = ", ".join(f"{element} {literal(element, n)}" for n in numbers)
            self.globals[name] = (
                f"@{name} = private unnamed_addr constant [{len(numbers)} x {element}] "
                f"[{items}], align 64"
            )
        return Value(f"@{name}", "ptr")

    def text(self, attributes: str = "") -> str:
        """The module's IR; ``attributes`` go on every function (target CPU and features)."""
        parts = list(self.globals.values())
        parts += [f.text() for f in self.functions]
        parts += self.declarations.values()
        parts.append(f"attributes #0 = {{ nounwind {attributes} }}")
        return "\n".join(parts) + "\n"


class Function:
    """One function under construction; instructions go to its current block."""

    def __init__(
        self, module: Module, name: str, params: Sequence[str], result: str, internal: bool
    ) -> None:
        self.module = module
        self.name = name
        self.result = result
        self.internal = internal
        self.params = [
            Value(f"%a{i}", t.split(" ")[0] if t[0] != "<" else t) for i, t in enumerate(params)
        ]
        self._signature = ", ".join(f"{t} %a{i}" for i, t in enumerate(params))
        self.lines: list[str] = []
        self.block = "entry"
        self._count = 0
        self._allocas: list[str] = []

    def text(self) -> str:
        linkage = "internal " if self.internal else ""
        inline = " noinline" if self.internal else ""
        head = (
            f"define {linkage}{self.result} @{self.name}({self._signature}){inline} #0 {{\nentry:"
        )
        return "\n".join([head, *self._allocas, *self.lines, "}"])

    # -- instructions ------------------------------------------------------------------

    def emit(self, text: str, type: str) -> Value:
        """Append ``%n = text``; the result has the given type."""
        self._count += 1
        ref = f"%{self.name_prefix}{self._count}"
        self.lines.append(f"  {ref} = {text}")
        return Value(ref, type)

    name_prefix = "v"

    def do(self, text: str) -> None:
        """Append an instruction without a result."""
        self.lines.append("  " + text)

    def _binary(self, op: str, a: Value, b: Value) -> Value:
        return self.emit(f"{op} {a.type} {a.ref}, {b.ref}", a.type)

    def add(self, a: Value, b: Value) -> Value:
        return self._binary("fadd" if is_float(element_of(a.type)) else "add", a, b)

    def sub(self, a: Value, b: Value) -> Value:
        return self._binary("fsub" if is_float(element_of(a.type)) else "sub", a, b)

    def mul(self, a: Value, b: Value) -> Value:
        return self._binary("fmul" if is_float(element_of(a.type)) else "mul", a, b)

    def fdiv(self, a: Value, b: Value) -> Value:
        return self._binary("fdiv", a, b)

    def op(self, name: str, a: Value, b: Value) -> Value:
        """Any two-operand instruction by its LLVM name: sdiv, udiv, shl, lshr, and, or, xor..."""
        return self._binary(name, a, b)

    def neg(self, a: Value) -> Value:
        if is_float(element_of(a.type)):
            return self.emit(f"fneg {a.type} {a.ref}", a.type)
        return self.sub(const(a.type, 0), a)

    def fcmp(self, predicate: str, a: Value, b: Value) -> Value:
        return self.emit(f"fcmp {predicate} {a.type} {a.ref}, {b.ref}", with_element(a.type, "i1"))

    def icmp(self, predicate: str, a: Value, b: Value) -> Value:
        return self.emit(f"icmp {predicate} {a.type} {a.ref}, {b.ref}", with_element(a.type, "i1"))

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        return self.emit(
            f"select {condition.type} {condition.ref}, {a.type} {a.ref}, {b.type} {b.ref}", a.type
        )

    def cast(self, op: str, a: Value, element: str) -> Value:
        """fpext, fptrunc, sext, zext, trunc, sitofp, uitofp, fptosi, bitcast... lane by lane."""
        type = with_element(a.type, element)
        return self.emit(f"{op} {a.type} {a.ref} to {type}", type)

    def bitcast(self, a: Value, type: str) -> Value:
        return self.emit(f"bitcast {a.type} {a.ref} to {type}", type)

    def intrinsic(self, name: str, *args: Value, result: str | None = None) -> Value:
        """Call ``llvm.name`` overloaded on the first argument's type, e.g. ``fma``, ``sqrt``."""
        result = result or args[0].type
        mangled = f"llvm.{name}.{mangle(args[0].type)}"
        self.module.declare(mangled, result, [a.type for a in args])
        listed = ", ".join(f"{a.type} {a.ref}" for a in args)
        return self.emit(f"call {result} @{mangled}({listed})", result)

    def call(self, name: str, result: str, *args: Value) -> Value:
        """Call a function of this module, or one declared with Module.declare."""
        listed = ", ".join(f"{a.type} {a.ref}" for a in args)
        if result == "void":
            self.do(f"call void @{name}({listed})")
            return Value("", "void")
        return self.emit(f"call {result} @{name}({listed})", result)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        return self.intrinsic("fma", a, b, c)

    def sqrt(self, a: Value) -> Value:
        return self.intrinsic("sqrt", a)

    def fabs(self, a: Value) -> Value:
        return self.intrinsic("fabs", a)

    def splat(self, scalar: Value, lanes: int) -> Value:
        """A vector with ``scalar`` in every lane."""
        type = vector(lanes, scalar.type)
        first = self.emit(f"insertelement {type} poison, {scalar.type} {scalar.ref}, i64 0", type)
        return self.emit(
            f"shufflevector {type} {first.ref}, {type} poison, <{lanes} x i32> zeroinitializer",
            type,
        )

    def shuffle(self, a: Value, b: Value | None, indices: Sequence[int]) -> Value:
        """Lanes of a then b, picked by constant indices."""
        other = b.ref if b is not None else "poison"
        picked = ", ".join(f"i32 {i}" for i in indices)
        type = vector(len(indices), element_of(a.type))
        return self.emit(
            f"shufflevector {a.type} {a.ref}, {a.type} {other}, <{len(indices)} x i32> <{picked}>",
            type,
        )

    def extract(self, a: Value, lane: int | Value) -> Value:
        index = lane.ref if isinstance(lane, Value) else lane
        return self.emit(f"extractelement {a.type} {a.ref}, i64 {index}", element_of(a.type))

    def insert(self, a: Value, scalar: Value, lane: int) -> Value:
        return self.emit(
            f"insertelement {a.type} {a.ref}, {scalar.type} {scalar.ref}, i64 {lane}", a.type
        )

    # -- memory ------------------------------------------------------------------------

    def gep(self, base: Value, index: Value, element: str = "i8") -> Value:
        """The address ``base + index * sizeof(element)``."""
        return self.emit(f"getelementptr {element}, ptr {base.ref}, i64 {index.ref}", "ptr")

    def load(self, address: Value, type: str, align: int = 0) -> Value:
        suffix = f", align {align}" if align else ""
        return self.emit(f"load {type}, ptr {address.ref}{suffix}", type)

    def store(
        self, value: Value, address: Value, align: int = 0, nontemporal: bool = False
    ) -> None:
        suffix = f", align {align}" if align else ""
        if nontemporal:
            suffix += ", !nontemporal !0"
            self.module.globals["!0"] = "!0 = !{i32 1}"
        self.do(f"store {value.type} {value.ref}, ptr {address.ref}{suffix}")

    def masked_load(
        self, address: Value, type: str, mask: Value, align: int, other: Value
    ) -> Value:
        name = f"llvm.masked.load.{mangle(type)}.p0"
        self.module.declare(name, type, ["ptr", mask.type, type])
        return self.emit(
            f"call {type} @{name}(ptr align {align} {address.ref}, "
            f"{mask.type} {mask.ref}, {type} {other.ref})",
            type,
        )

    def masked_store(self, value: Value, address: Value, mask: Value, align: int) -> None:
        name = f"llvm.masked.store.{mangle(value.type)}.p0"
        self.module.declare(name, "void", [value.type, "ptr", mask.type])
        self.do(
            f"call void @{name}({value.type} {value.ref}, ptr align {align} {address.ref}, "
            f"{mask.type} {mask.ref})"
        )

    def gather(self, addresses: Value, type: str, mask: Value, align: int) -> Value:
        """Load a lane from each address (a vector of ptr); masked-off lanes are zero."""
        name = f"llvm.masked.gather.{mangle(type)}.v{lanes_of(type)}p0"
        self.module.declare(name, type, [addresses.type, mask.type, type])
        return self.emit(
            f"call {type} @{name}({addresses.type} align {align} {addresses.ref}, "
            f"{mask.type} {mask.ref}, {type} zeroinitializer)",
            type,
        )

    def min(self, a: Value, b: Value) -> Value:
        """The smaller of two signed integers."""
        return self.select(self.icmp("slt", a, b), a, b)

    def max(self, a: Value, b: Value) -> Value:
        """The larger of two signed integers."""
        return self.select(self.icmp("sgt", a, b), a, b)

    def alloca(self, type: str, count: int = 1, align: int = 64) -> Value:
        self._count += 1
        ref = f"%s{self._count}"
        self._allocas.append(f"  {ref} = alloca {type}, i64 {count}, align {align}")
        return Value(ref, "ptr")

    # -- control flow ------------------------------------------------------------------

    def label(self, hint: str) -> str:
        self._count += 1
        return f"{hint}{self._count}"

    def start(self, label: str) -> None:
        """Begin a block; the previous one must have been ended by a branch."""
        self.lines.append(f"{label}:")
        self.block = label

    def branch(self, label: str) -> None:
        self.do(f"br label %{label}")

    def branch_if(self, condition: Value, then: str, otherwise: str) -> None:
        self.do(f"br i1 {condition.ref}, label %{then}, label %{otherwise}")

    def phi(self, type: str, incoming: Sequence[tuple[Value, str]]) -> Value:
        text = ", ".join(f"[ {v.ref}, %{block} ]" for v, block in incoming)
        return self.emit(f"phi {type} {text}", type)

    def where(
        self,
        condition: Value,
        then: Callable[[], object],
        otherwise: Callable[[], object] | None = None,
    ) -> None:
        """Emit code that runs where a condition (i1) holds, and what runs elsewhere."""
        done = self.label("done")
        yes, no = self.label("yes"), self.label("no") if otherwise else done
        self.branch_if(condition, yes, no)
        for label, body in ((yes, then), (no, otherwise)):
            if body is not None:
                self.start(label)
                body()
                self.branch(done)
        self.start(done)

    def either(
        self,
        condition: Value,
        then: Callable[[], Sequence[Value]],
        otherwise: Callable[[], Sequence[Value]],
    ) -> list[Value]:
        """Values made in one way or the other."""
        found: list[tuple[Sequence[Value], str]] = []

        def kept(make: Callable[[], Sequence[Value]]) -> Callable[[], None]:
            return lambda: found.append((make(), self.block))

        self.where(condition, kept(then), kept(otherwise))
        (first, here), (second, there) = found
        return [
            self.phi(a.type, [(a, here), (b, there)]) for a, b in zip(first, second, strict=True)
        ]

    def changed(
        self, condition: Value, values: Sequence[Value], change: Callable[[], Sequence[Value]]
    ) -> list[Value]:
        """The values, or where a condition holds those that ``change`` makes of them."""
        before, yes, done = self.block, self.label("yes"), self.label("done")
        self.branch_if(condition, yes, done)
        self.start(yes)
        made = change()
        after = self.block
        self.branch(done)
        self.start(done)
        pairs = zip(values, made, strict=True)
        return [a if a is b else self.phi(a.type, [(a, before), (b, after)]) for a, b in pairs]

    def ret(self, value: Value | None = None) -> None:
        self.do("ret void" if value is None else f"ret {value.type} {value.ref}")

    def loop(self, start: Value, stop: Value, step: Value, carried: Sequence[Value] = ()) -> Loop:
        """Open ``for index in start..stop by step`` (signed); zero iterations are possible.

        The loop's ``values`` are the carried values inside; close it with ``end_loop``,
        which takes their next values and returns their final ones.
        """
        loop = Loop()
        before = self.block
        loop.head, loop.body, loop.done = self.label("head"), self.label("body"), self.label("done")
        self.branch(loop.head)
        self.start(loop.head)
        loop.latch_mark = len(self.lines)
        loop.step = step
        loop.index = self.emit(f"phi {start.type} [ {start.ref}, %{before} ], @LATCH@", start.type)
        loop.values = [
            self.emit(f"phi {v.type} [ {v.ref}, %{before} ], @LATCH@", v.type) for v in carried
        ]
        more = self.icmp("slt", loop.index, stop)
        self.branch_if(more, loop.body, loop.done)
        self.start(loop.body)
        return loop

    def end_loop(self, loop: Loop, next_values: Sequence[Value] = ()) -> list[Value]:
        following = self.emit(
            f"add nsw {loop.index.type} {loop.index.ref}, {loop.step.ref}", loop.index.type
        )
        for offset, value in enumerate([following, *next_values]):
            at = loop.latch_mark + offset
            self.lines[at] = self.lines[at].replace("@LATCH@", f"[ {value.ref}, %{self.block} ]")
        self.branch(loop.head)
        self.start(loop.done)
        return loop.values
