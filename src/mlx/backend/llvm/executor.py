"""The native executor as LLVM IR: it walks a program's table of commands."""

from __future__ import annotations

SYMBOLS = ["run_inline"]


def executor_ir() -> str:
    """The IR text of the executor."""
    return """
%Command = type { ptr, ptr, i64, i64 }

define i64 @run_inline(ptr %table, i64 %count, ptr %bases) {
entry:
  %own = alloca [4 x i64], align 64
  %given = load i64, ptr %bases
  %none = icmp eq i64 %given, 0
  %pointer = inttoptr i64 %given to ptr
  %status = select i1 %none, ptr %own, ptr %pointer
  store ptr %status, ptr %bases
  store <4 x i64> zeroinitializer, ptr %status, align 8
  br label %next
next:
  %index = phi i64 [ 0, %entry ], [ %after, %finished ]
  %more = icmp slt i64 %index, %count
  br i1 %more, label %begin, label %done
begin:
  %command = getelementptr %Command, ptr %table, i64 %index
  %consts_at = getelementptr %Command, ptr %command, i64 0, i32 1
  %tasks_at = getelementptr %Command, ptr %command, i64 0, i32 2
  %kernel = load ptr, ptr %command
  %consts = load ptr, ptr %consts_at
  %tasks = load i64, ptr %tasks_at
  br label %check
check:
  %task = phi i64 [ 0, %begin ], [ %task_after, %body ]
  %left = icmp slt i64 %task, %tasks
  br i1 %left, label %body, label %finished
body:
  call void %kernel(ptr %consts, ptr %bases, i64 %task, i64 0)
  %task_after = add i64 %task, 1
  br label %check
finished:
  %after = add i64 %index, 1
  %code = load i64, ptr %status
  %ok = icmp eq i64 %code, 0
  br i1 %ok, label %next, label %done
done:
  %result = load i64, ptr %status
  store i64 %given, ptr %bases
  ret i64 %result
}
"""
