"""What the executor needs of a processor, as LLVM IR: arithmetic mode and spin-wait hint.

The mode of all kernels is rounding to nearest, subnormals kept, exceptions masked.
"""

from __future__ import annotations

_X86 = """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)
declare void @llvm.x86.sse2.pause()

define internal i64 @enter_arithmetic() {
  %old = alloca i32
  %plain = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %old)
  store i32 8064, ptr %plain
  call void @llvm.x86.sse.ldmxcsr(ptr %plain)
  %value = load i32, ptr %old
  %result = zext i32 %value to i64
  ret i64 %result
}

define internal void @leave_arithmetic(i64 %environment) {
  %old = alloca i32
  %value = trunc i64 %environment to i32
  store i32 %value, ptr %old
  call void @llvm.x86.sse.ldmxcsr(ptr %old)
  ret void
}

define internal void @relax() {
  call void @llvm.x86.sse2.pause()
  ret void
}
"""

_ARM = """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)
declare void @llvm.aarch64.hint(i32)

define internal i64 @enter_arithmetic() {
  %old = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 0)
  ret i64 %old
}

define internal void @leave_arithmetic(i64 %environment) {
  call void @llvm.aarch64.set.fpcr(i64 %environment)
  ret void
}

define internal void @relax() {
  call void @llvm.aarch64.hint(i32 1)
  ret void
}
"""

_OTHER = """
define internal i64 @enter_arithmetic() {
  ret i64 0
}

define internal void @leave_arithmetic(i64 %environment) {
  ret void
}

define internal void @relax() {
  ret void
}
"""

_VARIANTS = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


def processor_ir(processor: str) -> str:
    """The variant for a processor (as in a triple)."""
    return _VARIANTS.get(processor.lower(), _OTHER)
