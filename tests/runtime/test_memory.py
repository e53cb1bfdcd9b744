"""The memory pool: blocks, reuse, limits, counters."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
import weakref

import numpy as np
import pytest

from mlx.runtime import memory, regions
from mlx.runtime.memory import allocate

SIZES = (0, 1, 63, 64, 65, 1000, 1024, 1025, 4097, 100_000, (1 << 20) - 1, 1 << 20, 5_000_000)


@pytest.fixture(autouse=True)
def limits():
    """Limits as they were, nothing cached from other tests."""
    gc.collect()
    memory.clear_cache()
    limit, cache_limit = memory.get_memory_limit(), memory.set_cache_limit(1 << 40)
    memory.set_cache_limit(cache_limit)
    yield
    memory.set_memory_limit(limit)
    memory.set_cache_limit(cache_limit)


def test_size_classes_waste_at_most_an_eighth():
    previous = -1
    for nbytes in [*range(0, 70_000), *(3**k for k in range(11, 40)), (1 << 63)]:
        index = regions.size_class(nbytes)
        capacity = regions.class_bytes(index)
        assert capacity >= nbytes and capacity % 64 == 0
        assert capacity <= max(nbytes * 9 / 8, nbytes + 63, 64)
        if nbytes < 70_000:
            assert index in (previous, previous + 1)
            previous = index
        if index > 1:
            assert regions.class_bytes(index - 1) < nbytes


@pytest.mark.parametrize("nbytes", SIZES)
def test_blocks_are_aligned_writable_and_apart(nbytes):
    blocks = [allocate(nbytes) for _ in range(5)]
    for number, block in enumerate(blocks):
        assert block.nbytes == nbytes
        assert block.address % (2 << 20 if nbytes >= 1 << 20 else 64) == 0
        memory.as_bytes(block)[:] = number
    for number, block in enumerate(blocks):
        assert (memory.as_bytes(block) == number).all()


@pytest.mark.parametrize("nbytes", SIZES)
def test_a_freed_block_is_used_again(nbytes):
    block = allocate(nbytes)
    address = block.address
    del block
    assert allocate(nbytes).address == address


def test_a_large_cached_block_serves_slightly_smaller_requests():
    block = allocate(10 << 20)
    address = block.address
    del block
    slightly, much = allocate(9 << 20), allocate(5 << 20)
    assert slightly.address == address
    assert not address <= much.address < address + (10 << 20)


@pytest.mark.parametrize("nbytes", [100, 3000, 3 << 20])
def test_counters(nbytes):
    active = memory.get_active_memory()
    memory.reset_peak_memory()
    first, second = allocate(nbytes), allocate(nbytes)
    grown = memory.get_active_memory() - active
    assert 2 * nbytes <= grown <= 2 * (nbytes * 9 // 8 + 63)
    assert memory.get_cache_memory() == 0
    del first
    assert memory.get_active_memory() - active == grown // 2
    assert memory.get_peak_memory() - active == grown
    assert memory.get_cache_memory() == grown // 2
    memory.reset_peak_memory()
    assert memory.get_peak_memory() == memory.get_active_memory()
    memory.clear_cache()
    assert memory.get_cache_memory() == 0
    del second
    assert memory.get_active_memory() == active


@pytest.mark.parametrize("nbytes", [100, 3 << 20])
def test_cache_limit(nbytes):
    memory.set_cache_limit(0)
    block = allocate(nbytes)
    del block
    assert memory.get_cache_memory() == 0
    memory.set_cache_limit(1 << 30)
    block = allocate(nbytes)
    del block
    assert memory.get_cache_memory() >= nbytes
    assert memory.set_cache_limit(0) == 1 << 30
    assert memory.get_cache_memory() == 0


def test_memory_limit():
    kept = allocate(3 << 20)
    cached = allocate(3 << 20)
    del cached
    previous = memory.get_memory_limit()
    assert memory.set_memory_limit(memory.get_active_memory() + (1 << 20)) == previous
    for _ in range(2):
        with pytest.raises(MemoryError) as caught:  # though a block of the size is cached
            allocate(3 << 20)
        for number in (3 << 20, memory.get_active_memory(), memory.get_memory_limit()):
            assert str(number) in str(caught.value)
    assert allocate(1000).nbytes == 1000
    memory.set_memory_limit(previous)
    assert allocate(3 << 20).nbytes == kept.nbytes


@pytest.mark.parametrize("nbytes", [1 << 55, 1 << 63, 1 << 70, 1 << 200])
def test_absurd_sizes(nbytes):
    for limit in (memory.get_memory_limit(), 1 << 300):
        memory.set_memory_limit(limit)
        with pytest.raises(MemoryError, match="allocate"):
            allocate(nbytes)


@pytest.mark.parametrize("name", ["set_memory_limit", "set_cache_limit", "set_wired_limit"])
def test_bad_limits(name):
    with pytest.raises(ValueError, match=name):
        getattr(memory, name)(-1)
    for limit in (1.5, "1", None, True):
        with pytest.raises(TypeError, match=name):
            getattr(memory, name)(limit)


def test_wired_limit_is_remembered():
    before = memory.set_wired_limit(123)
    assert memory.set_wired_limit(before) == 123


def test_a_view_keeps_its_block():
    block = allocate(1000)
    reference = weakref.ref(block)
    view = memory.as_bytes(block, 8, 16).view(np.int64)[1:]
    assert view.ctypes.data == block.address + 16
    del block
    assert reference() is not None
    del view
    assert reference() is None


def test_foreign_memory_keeps_its_owner_and_is_not_counted():
    owner = np.arange(100)
    reference = weakref.ref(owner)
    active, cached = memory.get_active_memory(), memory.get_cache_memory()
    storage = memory.wrap(owner, owner.ctypes.data, owner.nbytes)
    del owner
    assert memory.as_bytes(storage).view(int)[42] == 42
    del storage
    assert reference() is None
    assert (active, cached) == (memory.get_active_memory(), memory.get_cache_memory())


def test_clear_cache_joins_neighbours():
    blocks = [allocate(1 << 19) for _ in range(256)]  # some regions have nothing else in them
    mapped = len(regions._mappings)
    blocks.clear()
    memory.clear_cache()
    assert len(regions._mappings) < mapped  # a region that is wholly free is unmapped
    held = [allocate(600 << 10), allocate(64)]
    assert held[0].address != held[1].address


def test_clear_cache_keeps_what_is_in_use():
    blocks = [allocate(900_000) for _ in range(64)]
    for i, block in enumerate(blocks):
        memory.as_bytes(block)[:] = i + 1
    kept = {i: blocks[i] for i in range(0, 64, 9)}  # free huge pages lie between these
    blocks.clear()
    del block
    memory.clear_cache()
    assert all((memory.as_bytes(block) == i + 1).all() for i, block in kept.items())
    again = [allocate(900_000) for _ in range(64)]
    for other in again:
        memory.as_bytes(other)[:] = 255
    assert all((memory.as_bytes(block) == i + 1).all() for i, block in kept.items())


def test_changing_sizes_do_not_pile_up():
    memory.reset_peak_memory()  # the pool remembers the highest peak all the same
    peak = memory._counters.mapped_peak
    for size in range(20 << 20, 300 << 20, 7 << 20):
        block = allocate(size)  # never touched: costs no memory
        del block
    allowed = (peak + (350 << 20)) * 9 // 8 + (16 << 20)
    assert memory.get_cache_memory() + memory.get_active_memory() <= allowed


@pytest.mark.parametrize("cache_limit", [0, 1 << 40])
def test_changing_small_sizes_do_not_pile_up(monkeypatch, cache_limit):
    memory.set_cache_limit(cache_limit)
    memory.clear_cache()
    memory.reset_peak_memory()
    monkeypatch.setattr(memory._counters, "mapped_peak", 0)
    mapped, used = len(regions._mappings), 32 << 20
    for size in range(40 << 10, 700 << 10, 30 << 10):
        blocks = [allocate(size) for _ in range(used // size)]
        blocks.clear()
    allowed = (memory.get_active_memory() + used) * 5 // 4 + (32 << 20)
    assert (len(regions._mappings) - mapped) * (16 << 20) <= allowed


def test_arrays_in_cycles_do_not_pile_up():
    """Few objects, much memory: Python's collector alone would wait for thousands of them."""
    gc.collect()
    active = memory.get_active_memory()
    memory.reset_peak_memory()
    for _ in range(200):
        cycle = [allocate(8 << 20)]  # never touched: costs no memory
        cycle.append(cycle)
    del cycle
    assert memory.get_peak_memory() <= active * 3 // 2 + (300 << 20)
    gc.collect()


def test_random_use_by_several_threads():
    """Blocks in use never overlap; the counters come out even."""
    active = memory.get_active_memory()
    errors = []

    def work(seed):
        rng = random.Random(seed)
        held = {}
        for step in range(3000):
            key = rng.randrange(30)
            if key in held:
                view, mark = held.pop(key)
                if not (view == mark).all():
                    errors.append((seed, step))
            else:
                mark = rng.randrange(256)
                view = memory.as_bytes(allocate(rng.choice((10, 100, 5000, 20_000))))
                view[:] = mark
                cycle = [view]  # freed by the garbage collector, whenever it comes
                cycle.append(cycle)
                held[key] = (view, mark)
            if step % 500 == seed:
                memory.clear_cache()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    gc.collect()
    assert errors == []
    assert memory.get_active_memory() == active


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_when_the_system_has_no_memory():
    code = """
import resource
from mlx.runtime import memory, regions
resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))
try:
    memory.allocate(4 << 30)
except MemoryError as error:
    print("first", "[allocate]" in str(error))
held = []
for size in (300 << 20, 500 << 20, 900 << 20):  # together too much, unless the cache is dropped
    block = memory.allocate(size)
    del block
block = memory.allocate(1300 << 20)
print("second", block.nbytes >> 20)
"""
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.split("\n")[:2] == ["first True", "second 1300"], result.stderr
