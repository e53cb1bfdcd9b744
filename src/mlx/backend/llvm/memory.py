"""Loads and stores of lanes: unit stride, one element for all lanes, or any stride; masked."""

from __future__ import annotations

from collections.abc import Callable

from mlx.backend.llvm.ir import Function
from mlx.backend.llvm.lanes import LaneEmitter
from mlx.backend.llvm.registers import MEMORY, Lane
from mlx.backend.llvm.values import Value, const, element_of, i64, lane_consts, lanes_of, vector
from mlx.base.dtype import Dtype


def full_mask(lanes: int) -> Value:
    return const(vector(lanes, "i1"), 1)


def below(f: Function, count: Value, lanes: int) -> Value:
    """The mask of the first ``count`` (i64) lanes."""
    narrow = f.emit(f"trunc i64 {count.ref} to i32", "i32")
    ramp = lane_consts(vector(lanes, "i32"), range(lanes))
    return f.icmp("slt", ramp, f.splat(narrow, lanes))


def _doubled(f: Function, mask: Value, lanes: int) -> Value:
    """Each lane of a mask twice, for interleaved complex numbers."""
    return f.shuffle(mask, None, [i // 2 for i in range(2 * lanes)])


def prefetch(f: Function, address: Value, level: int = 3) -> None:
    """Ask for the cache line of an address that need not be valid (3: nearest, 2: second cache)."""
    f.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
    f.do(f"call void @llvm.prefetch.p0(ptr {address.ref}, i32 0, i32 {level}, i32 1)")


def load_unit(e: LaneEmitter, address: Value, dtype: Dtype, mask: Value | None) -> Lane:
    """Consecutive elements; masked-off lanes are zero and not touched."""
    f = e.f
    count = e.lanes * (2 if dtype.is_complex else 1)
    element = MEMORY[dtype.name]
    type = vector(count, element)
    align = dtype.size // (2 if dtype.is_complex else 1)
    if mask is None:
        return e.from_memory(f.load(address, type, align), dtype)
    if dtype.is_complex:
        mask = _doubled(f, mask, e.lanes)
    if element == "half":
        raw = f.masked_load(
            address, vector(count, "i16"), mask, align, const(vector(count, "i16"), 0)
        )
        return e.from_memory(raw, dtype)
    return e.from_memory(f.masked_load(address, type, mask, align, const(type, 0)), dtype)


def store_unit(
    e: LaneEmitter,
    x: Lane,
    address: Value,
    mask: Value | None,
    nontemporal: bool = False,
    near: Value | None = None,
) -> None:
    """Consecutive elements; masked-off lanes are not touched.

    ``near`` (i1) says at run time that the lines were just read, so that they stay in cache.
    """
    f = e.f
    raw = e.to_memory(x)
    align = x.dtype.size // (2 if x.dtype.is_complex else 1)
    if mask is None and nontemporal and near is not None:
        _store_near(f, raw, address, align, near)
        return
    if mask is None:
        f.store(raw, address, 64 if nontemporal else align, nontemporal)
        return
    if x.dtype.is_complex:
        mask = _doubled(f, mask, e.lanes)
    if element_of(raw.type) == "half":
        raw = f.cast("bitcast", raw, "i16")
    f.masked_store(raw, address, mask, align)


def _store_near(f: Function, raw: Value, address: Value, align: int, near: Value) -> None:
    """An ordinary store where ``near`` holds, elsewhere one around the caches."""
    f.where(
        near,
        lambda: f.store(raw, address, align),
        lambda: f.store(raw, address, 64, nontemporal=True),
    )


def load_splat(e: LaneEmitter, address: Value, dtype: Dtype) -> Lane:
    """One element in all lanes."""
    f = e.f
    element = MEMORY[dtype.name]
    if dtype.is_complex:
        re = f.splat(f.load(address, "float", 4), e.lanes)
        return Lane(dtype, re, f.splat(f.load(f.gep(address, i64(4)), "float", 4), e.lanes))
    return e.from_memory(f.splat(f.load(address, element, dtype.size), e.lanes), dtype)


def store_first(e: LaneEmitter, x: Lane, address: Value) -> None:
    """The first lane to one element."""
    f = e.f
    narrow = LaneEmitter(f, 2)
    parts = [f.shuffle(p, None, [0, 1]) for p in x.parts]
    raw = narrow.to_memory(Lane(x.dtype, *parts))
    if x.dtype.is_complex:
        f.store(f.shuffle(raw, None, [0, 1]), address, 4)
        return
    f.store(f.extract(raw, 0), address, x.dtype.size)


def word(dtype: Dtype) -> str:
    """An integer as large as an element: gathers and scatters move bits."""
    return f"i{8 * dtype.size}"


def load_strided(e: LaneEmitter, addresses: Value, dtype: Dtype) -> Lane:
    """An element from each address; every address must be readable."""
    f = e.f
    type = vector(e.lanes, word(dtype))
    raw = f.gather(addresses, type, full_mask(e.lanes), dtype.size)
    return e.from_memory(as_memory(f, raw, dtype, e.lanes), dtype)


def as_memory(f: Function, raw: Value, dtype: Dtype, lanes: int) -> Value:
    count = lanes * (2 if dtype.is_complex else 1)
    type = vector(count, MEMORY[dtype.name])
    return raw if raw.type == type else f.bitcast(raw, type)


def store_strided(e: LaneEmitter, x: Lane, addresses: Value, mask: Value | None) -> None:
    """An element to each address."""
    f = e.f
    raw = f.bitcast(e.to_memory(x), vector(e.lanes, word(x.dtype)))
    mask = mask or full_mask(e.lanes)
    element = element_of(raw.type)
    name = f"llvm.masked.scatter.v{e.lanes}{element}.v{e.lanes}p0"
    f.module.declare(name, "void", [raw.type, addresses.type, mask.type])
    f.do(
        f"call void @{name}({raw.type} {raw.ref}, "
        f"{addresses.type} align {x.dtype.size} {addresses.ref}, {mask.type} {mask.ref})"
    )


def strided_addresses(
    f: Function, base: Value, index: Value, stride: Value, lanes: int, last: Value | None
) -> Value:
    """``base + (index + lane) * stride`` for each lane; indices beyond ``last`` are clamped."""
    ramp = lane_consts(vector(lanes, "i64"), range(lanes))
    indices = f.add(f.splat(index, lanes), ramp)
    if last is not None:
        limit = f.splat(last, lanes)
        indices = f.select(f.icmp("slt", indices, limit), indices, limit)
    return moved(f, base, f.mul(indices, f.splat(stride, lanes)))


def moved(f: Function, base: Value, offsets: Value) -> Value:
    """Addresses at offsets in bytes."""
    type = vector(lanes_of(offsets.type), "ptr")
    return f.emit(f"getelementptr i8, ptr {base.ref}, {offsets.type} {offsets.ref}", type)


def moved_each(f: Function, addresses: Value, offsets: Value) -> Value:
    """Addresses moved by bytes, the same for all or one a lane."""
    return f.emit(
        f"getelementptr i8, {addresses.type} {addresses.ref}, {offsets.type} {offsets.ref}",
        addresses.type,
    )


def each_vector(e: LaneEmitter, count: Value, body: Callable[[Value, Value | None], None]) -> None:
    """Emit ``body(first, mask)`` for all of ``count`` elements, the last ones masked."""
    f, lanes = e.f, e.lanes
    whole = f.op("and", count, i64(-lanes))
    for begin, end in ((i64(0), whole), (whole, count)):
        loop = f.loop(begin, end, i64(lanes))
        mask = below(f, f.sub(count, loop.index), lanes) if begin is whole else None
        body(loop.index, mask)
        f.end_loop(loop)
