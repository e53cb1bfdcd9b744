"""The native executor as LLVM IR: a queue of programs, and threads that work on it together.

Programs stand in a ring and run strictly in order, one at a time.  The thread that holds the
role ``@active`` (the *advancer*) walks a program's table.  It runs a command of one task
itself; one of several tasks it publishes in ``@current`` and then takes tasks like everyone
else.  Whoever finishes the last task of a command becomes the advancer.  So nobody waits for a
thread that has no task, and any single thread can finish alone.

``claim`` is an epoch (high half, one for each published command) and the number of tasks not
yet taken (low half).  A thread reads the claim, then the command, then takes a task by
compare-and-swap: success proves that the epoch, and so the command it read, is still current,
because a command with an unfinished task is not replaced.  Nothing of a program is read
without such a task or the role, so its memory may go as soon as it is complete.

Threads 1, 2, ... are workers.  Number 0 is the *seat*: the calling thread takes it, or for
submitted programs nobody waits for yet, the resident thread 0.  Who finds no work spins
briefly, then parks: it adds itself to ``@parked``, looks once more, and sleeps on ``@events``.
Who makes work changes state first and looks at ``@parked`` after; all of it is sequentially
consistent, so one of the two sees the other.
"""

from __future__ import annotations

from string import Template

from mlx.backend.llvm import parking
from mlx.backend.llvm.executor_processor import processor_ir
from mlx.backend.llvm.executor_queue import SIGNALS, WORK
from mlx.backend.llvm.executor_threads import SERVE

RING = 256
BUSY = -(1 << 63)
CALL = 1024
"""Words of ``@call``: a program's table and count, its status block and its bases."""
BASES = 6
"""Where in it the bases begin."""
FOREVER = -1  # as a target: the largest unsigned number
SYMBOLS = (
    "run",
    "run_inline",
    "run_call",
    "share_call",
    "call",
    "submit",
    "serve",
    "acquire",
    "release",
    "configure",
    "reset",
    "spin",
    "completed",
    "tail",
    "system",
)

_CONSTANTS = {
    "RING": str(RING),
    "LAST": str(RING - 1),
    "BUSY": str(BUSY),
    "CALL": str(CALL),
    "CALL_COUNT": f"getelementptr ([{CALL} x i64], ptr @call, i64 0, i64 1)",
    "CALL_STATUS": f"getelementptr ([{CALL} x i64], ptr @call, i64 0, i64 2)",
    "CALL_BASES": f"getelementptr ([{CALL} x i64], ptr @call, i64 0, i64 {BASES})",
    "LOW": str((1 << 32) - 1),
    "EPOCH": str(1 << 32),
    # counts of parked threads by kind, 16 bits each
    "WORK_UNIT": "1",
    "DONE_UNIT": str(1 << 16),
    "DRIVE_UNIT": str(1 << 32),
    "BOTH_UNITS": str(1 + (1 << 16)),
    "WORK": str(0xFFFF),
    "DONE": str(0xFFFF << 16),
    "START": str(0xFFFF + (0xFFFF << 32)),
    "ALL": str((1 << 48) - 1),
    "MANY": str((1 << 31) - 1),
    "KERNEL": "getelementptr (%Current, ptr @current, i64 0, i32 1)",
    "CONSTS": "getelementptr (%Current, ptr @current, i64 0, i32 2)",
    "BASES": "getelementptr (%Current, ptr @current, i64 0, i32 3)",
    "TASKS": "getelementptr (%Current, ptr @current, i64 0, i32 4)",
    "FINISHED": "getelementptr (%Current, ptr @current, i64 0, i32 5)",
    "PROGRAM_END": "getelementptr (%Program, ptr @program, i64 0, i32 1)",
    "PROGRAM_BASES": "getelementptr (%Program, ptr @program, i64 0, i32 2)",
    "PROGRAM_STATUS": "getelementptr (%Program, ptr @program, i64 0, i32 3)",
}

_STATE = """
%Command = type { ptr, ptr, i64, i64 }
%Slot = type { i64, ptr, i64, ptr, [4 x i64] }
%Current = type { i64, ptr, ptr, ptr, i64, i64 }
%Program = type { ptr, ptr, ptr, ptr }

@current = internal global %Current zeroinitializer, align 128
@program = internal global %Program zeroinitializer, align 128
@active = internal global i64 0, align 128
@tail = dso_local global i64 0, align 128
@completed = dso_local global i64 0, align 128
@events = internal global i32 0, align 128
@parked = internal global i64 0, align 128
@seat = internal global i64 0, align 128
@threads = internal global i64 1, align 128
@spins = internal global i64 0, align 8
@system = dso_local global [4 x ptr] zeroinitializer, align 8
@call = dso_local global [$CALL x i64] zeroinitializer, align 128
@ring = internal global [$RING x %Slot] zeroinitializer, align 128
"""


_ENTRY = """
define i64 @run(ptr %table, i64 %count, ptr %bases) {
entry:
  %own = alloca [4 x i64], align 64
  %given = load i64, ptr %bases
  %status = call ptr @prepare(ptr %bases, ptr %own)
  br label %try
try:
  %number = call i64 @enqueue(ptr %table, i64 %count, ptr %bases)
  %full = icmp slt i64 %number, 0
  br i1 %full, label %drain, label %wait
drain:
  %oldest = sub i64 0, %number
  call void @serve(i64 0, i64 %oldest)
  br label %try
wait:
  call void @serve(i64 0, i64 %number)
  %result = load i64, ptr %status
  store i64 %given, ptr %bases
  ret i64 %result
}

; The whole program on this thread, if nothing else is queued or running; else BUSY.
define i64 @run_inline(ptr %table, i64 %count, ptr %bases) {
entry:
  %own = alloca [4 x i64], align 64
  %free = call i1 @acquire()
  br i1 %free, label %begin, label %busy
busy:
  ret i64 $BUSY
begin:
  %environment = call i64 @enter_arithmetic()
  %given = load i64, ptr %bases
  %status = call ptr @prepare(ptr %bases, ptr %own)
  br label %next
next:
  %index = phi i64 [ 0, %begin ], [ %after, %fetch ]
  %more = icmp slt i64 %index, %count
  %code = load i64, ptr %status
  %ok = icmp eq i64 %code, 0
  %go = and i1 %more, %ok
  br i1 %go, label %fetch, label %done
fetch:
  %command = getelementptr %Command, ptr %table, i64 %index
  %consts_at = getelementptr %Command, ptr %command, i64 0, i32 1
  %tasks_at = getelementptr %Command, ptr %command, i64 0, i32 2
  %kernel = load ptr, ptr %command
  %consts = load ptr, ptr %consts_at
  %tasks = load i64, ptr %tasks_at
  call void @all_tasks(ptr %kernel, ptr %consts, ptr %bases, i64 %tasks, i64 0)
  %after = add i64 %index, 1
  br label %next
done:
  store i64 %given, ptr %bases
  call void @leave_arithmetic(i64 %environment)
  call void @release()
  ret i64 %code
}

; What the caller, who holds the lock of planning, has laid into @call, which is taken from
; there, on this thread; BUSY too if somebody else, in between, has had that taken.
define i64 @run_call() {
  %code = call i64 @take_call(ptr @run_inline)
  ret i64 %code
}

; The same by the team, after what is queued.
define i64 @share_call() {
  %code = call i64 @take_call(ptr @run)
  ret i64 %code
}

define internal i64 @take_call(ptr %runs) {
entry:
  %table = load ptr, ptr @call
  store ptr null, ptr @call
  store ptr $CALL_STATUS, ptr $CALL_BASES
  %taken = icmp eq ptr %table, null
  br i1 %taken, label %none, label %some
none:
  ret i64 $BUSY
some:
  %count = load i64, ptr $CALL_COUNT
  %code = call i64 %runs(ptr %table, i64 %count, ptr $CALL_BASES)
  ret i64 %code
}

; Queue a program; its number goes to %ticket.  If the queue is full: as for enqueue.
define i64 @submit(ptr %table, i64 %count, ptr %bases, ptr %ticket) {
entry:
  %status = call ptr @prepare(ptr %bases, ptr null)
  %number = call i64 @enqueue(ptr %table, i64 %count, ptr %bases)
  %full = icmp slt i64 %number, 0
  br i1 %full, label %out, label %signal
signal:
  store i64 %number, ptr %ticket
  call void @wake(i64 $START, i32 1)
  br label %out
out:
  ret i64 %number
}

; A clean status block, %own where the caller brought none.
define internal ptr @prepare(ptr %bases, ptr %own) {
  %given = load ptr, ptr %bases
  %none = icmp eq ptr %given, null
  %status = select i1 %none, ptr %own, ptr %given
  store ptr %status, ptr %bases
  store <4 x i64> zeroinitializer, ptr %status, align 8
  ret ptr %status
}

; The role of the advancer while nothing is queued or running: programs wait until release.
define i1 @acquire() {
entry:
  %idle = call i1 @drained()
  br i1 %idle, label %try, label %no
try:
  %swap = cmpxchg ptr @active, i64 0, i64 1 seq_cst seq_cst
  %got = extractvalue { i64, i1 } %swap, 1
  br i1 %got, label %verify, label %no
verify:
  %still = call i1 @drained()
  br i1 %still, label %yes, label %undo
undo:
  call void @release()
  br label %no
yes:
  ret i1 true
no:
  ret i1 false
}

define internal i1 @drained() {
  %completed = load atomic i64, ptr @completed seq_cst, align 8
  %tail = load atomic i64, ptr @tail seq_cst, align 8
  %drained = icmp eq i64 %completed, %tail
  ret i1 %drained
}

define void @release() {
entry:
  store atomic i64 0, ptr @active seq_cst, align 8
  %drained = call i1 @drained()
  br i1 %drained, label %out, label %signal
signal:
  call void @wake(i64 $ALL, i32 $MANY)
  br label %out
out:
  ret void
}

define void @configure(i64 %threads, i64 %spins) {
  store atomic i64 %threads, ptr @threads seq_cst, align 8
  store atomic i64 %spins, ptr @spins seq_cst, align 8
  call void @wake(i64 $ALL, i32 $MANY)
  ret void
}

; In a forked child: no thread but this one, nothing queued.
define void @reset() {
  %tail = load atomic i64, ptr @tail seq_cst, align 8
  store atomic i64 %tail, ptr @completed seq_cst, align 8
  store atomic i64 0, ptr @parked seq_cst, align 8
  store atomic i64 0, ptr @seat seq_cst, align 8
  %claim = load atomic i64, ptr @current seq_cst, align 8
  %epoch = or i64 %claim, $LOW
  %fresh = add i64 %epoch, 1
  store atomic i64 %fresh, ptr @current seq_cst, align 8
  store atomic i64 0, ptr @active seq_cst, align 8
  ret void
}

define void @spin(i64 %turns) {
entry:
  br label %check
check:
  %turn = phi i64 [ 0, %entry ], [ %after, %body ]
  %more = icmp slt i64 %turn, %turns
  br i1 %more, label %body, label %out
body:
  call void @relax()
  %after = add i64 %turn, 1
  br label %check
out:
  ret void
}
"""


def executor_ir(processor: str, sleeping: str) -> str:
    """The IR text for a processor (as in a triple) and a variant of ``parking``."""
    text = _STATE + SIGNALS + WORK + SERVE + _ENTRY
    text += parking.VARIANTS[sleeping] + processor_ir(processor)
    futex = str(parking.FUTEX_NUMBER.get(processor, 0))
    return Template(text).substitute(_CONSTANTS, FUTEX=futex)
