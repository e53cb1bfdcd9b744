"""Kernels for the tests of the runtime, written in LLVM IR."""

from __future__ import annotations

import threading
from functools import cache

from mlx.backend.llvm.jit import Library, compile_ir

TEXT = """
; consts: buffer.  bases[buffer][task] += 1, no atomics: two runs of one task would lose one
define void @increment(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
  %buffer = load i64, ptr %consts
  %base_at = getelementptr i64, ptr %bases, i64 %buffer
  %base = load ptr, ptr %base_at
  %place = getelementptr i64, ptr %base, i64 %task
  %old = load i64, ptr %place
  %new = add i64 %old, 1
  store i64 %new, ptr %place
  ret void
}

; consts: first, tasks.  bases[1][0] counts tasks of all commands; the number of this one must
; lie in [first, first + tasks), else bases[1][1] += 1
define void @ordered(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
entry:
  %first = load i64, ptr %consts
  %tasks_at = getelementptr i64, ptr %consts, i64 1
  %tasks = load i64, ptr %tasks_at
  %base_at = getelementptr i64, ptr %bases, i64 1
  %base = load ptr, ptr %base_at
  %number = atomicrmw add ptr %base, i64 1 seq_cst
  %relative = sub i64 %number, %first
  %right = icmp ult i64 %relative, %tasks
  br i1 %right, label %out, label %wrong
wrong:
  %errors = getelementptr i64, ptr %base, i64 1
  %old = atomicrmw add ptr %errors, i64 1 seq_cst
  br label %out
out:
  ret void
}

; consts: code.  status = (code, task, worker)
define void @fail(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
  %code = load i64, ptr %consts
  %status = load ptr, ptr %bases
  store i64 %code, ptr %status
  %one = getelementptr i64, ptr %status, i64 1
  store i64 %task, ptr %one
  %two = getelementptr i64, ptr %status, i64 2
  store i64 %worker, ptr %two
  ret void
}

; consts: turns.  Keeps a thread busy; bases[1][worker] += 1
define void @busy(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
entry:
  %turns = load i64, ptr %consts
  br label %check
check:
  %turn = phi i64 [ 0, %entry ], [ %after, %body ]
  %more = icmp slt i64 %turn, %turns
  br i1 %more, label %body, label %out
body:
  %after = add i64 %turn, 1
  call void asm sideeffect "", "r"(i64 %after)
  br label %check
out:
  %base_at = getelementptr i64, ptr %bases, i64 1
  %base = load ptr, ptr %base_at
  %place = getelementptr i64, ptr %base, i64 %worker
  %old = atomicrmw add ptr %place, i64 1 seq_cst
  ret void
}

; consts: turns.  Two tasks at a time under one worker number: status[0] = 1
define void @exclusive(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
entry:
  %base_at = getelementptr i64, ptr %bases, i64 1
  %base = load ptr, ptr %base_at
  %place = getelementptr i64, ptr %base, i64 %worker
  %before = atomicrmw add ptr %place, i64 1 seq_cst
  %turns = load i64, ptr %consts
  br label %body
body:
  %turn = phi i64 [ 0, %entry ], [ %after, %body ]
  %after = add i64 %turn, 1
  call void asm sideeffect "", "r"(i64 %after)
  %more = icmp slt i64 %after, %turns
  br i1 %more, label %body, label %leave
leave:
  %gone = atomicrmw sub ptr %place, i64 1 seq_cst
  %alone = icmp eq i64 %before, 0
  br i1 %alone, label %out, label %wrong
wrong:
  %status = load ptr, ptr %bases
  store i64 1, ptr %status
  br label %out
out:
  ret void
}

; bases[1][task] = bits of 1/3 * 2^-1022, a subnormal unless flushed to zero
define void @subnormal(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
  %base_at = getelementptr i64, ptr %bases, i64 1
  %base = load ptr, ptr %base_at
  %place = getelementptr double, ptr %base, i64 %task
  %third = load volatile double, ptr %place
  %value = fmul double %third, 0x0010000000000000
  store double %value, ptr %place
  ret void
}

define void @nothing(ptr %consts, ptr %bases, i64 %task, i64 %worker) {
  ret void
}
"""


_building = threading.Lock()


@cache
def _library() -> Library:
    names = ["increment", "ordered", "fail", "busy", "exclusive", "subnormal", "nothing"]
    return compile_ir(TEXT, names)


def library() -> Library:
    """Built once, also where several threads ask first: programs don't keep it alive."""
    with _building:
        return _library()


def kernel(name: str) -> int:
    """Address of a kernel."""
    return library().address(name)
