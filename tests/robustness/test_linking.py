"""Loading machine code into an awkward address space: it works, or raises; it never aborts."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.processes import output_of

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="arranges mappings as on Linux")

PRELUDE = """
import ctypes, sys
from mlx.backend.llvm import jit
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
NONE, READ, WRITE, PRIVATE, RESERVE = 0, 1, 2, 0x22, 0x4022
def mapped(size, access):
    return libc.mmap(None, size, access, RESERVE, -1, 0)
TEXT = '''
@numbers = private unnamed_addr constant [4 x i64] [i64 1, i64 2, i64 3, i64 4]
@bias = internal global i64 5
define i64 @kernel(i64 %x) {
  %p = getelementptr [4 x i64], ptr @numbers, i64 0, i64 %x
  %v = load i64, ptr %p
  %b = load volatile i64, ptr @bias
  %sum = add i64 %v, %b
  ret i64 %sum
}
'''
image = jit.emit_object(TEXT)
def values(library):
    f = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("kernel"))
    return [f(i) for i in range(4)]
assert values(jit.link(image, ["kernel"])) == [6, 7, 8, 9]
"""

APART = """
step = 3 << 30
base = mapped(12 * step, NONE)
for _ in range(100_000):
    if mapped(4096, READ) < base:  # no hole is left above
        break
for i in range(1, 12):
    libc.munmap(base + i * step, 4096)
kept = [jit.link(image, ["kernel"]) for _ in range(6)]
print(*{str(values(library)) for library in kept})
"""

NO_MAPPINGS = """
held = []
with open("/proc/sys/vm/max_map_count") as file:
    most = int(file.read())
if most > 1 << 18:
    sys.exit(print("untested"))
for _ in range(most):
    block = libc.mmap(None, 8192, READ | WRITE, PRIVATE, -1, 0)
    if block in (None, 2**64 - 1) or libc.mprotect(block, 4096, READ):
        break
    held.append(block)
refused = ""
while True:  # one mapping fewer each time
    try:
        library = jit.link(image, ["kernel"])
        break
    except MemoryError as error:
        refused = str(error)
        libc.munmap(held.pop(), 4096)
for block in held:
    libc.munmap(block, 8192)
print("vm.max_map_count" in refused)
print(values(library))
"""

LITTLE_SPACE = """
import resource
import mlx.core as mx
mx.eval(mx.ones(3) + 1)
before = resource.getrlimit(resource.RLIMIT_AS)
with open("/proc/self/statm") as file:
    used = int(file.read().split()[0]) * resource.getpagesize()
refused = 0
for spare in range(0, 160, 4):
    resource.setrlimit(resource.RLIMIT_AS, (used + (spare << 20), before[1]))
    try:
        mx.eval(mx.sin(mx.ones(3)) * spare + mx.ones(spare + 1)[:1].astype(mx.float16))
        mx.eval(mx.sort(mx.ones((spare + 2, 3)), axis=0) @ mx.ones((3, 2)))
    except MemoryError:
        refused += 1
resource.setrlimit(resource.RLIMIT_AS, before)
print(refused > 0, (mx.cos(mx.zeros(3)) + 1).tolist())
"""


def test_holes_that_lie_far_apart() -> None:
    """A section in each would be out of reach of 32-bit offsets."""
    assert output_of(PRELUDE + APART).strip() == "[6, 7, 8, 9]"


def test_without_mappings_left() -> None:
    printed = output_of(PRELUDE + NO_MAPPINGS).splitlines()
    if printed != ["untested"]:
        assert printed == ["True", "[6, 7, 8, 9]"]


def test_little_address_space(tmp_path: Path) -> None:
    printed = output_of(LITTLE_SPACE, MLX_CACHE_DIR=str(tmp_path))
    assert printed.strip() == "True [2.0, 2.0, 2.0]"
