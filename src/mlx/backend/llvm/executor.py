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

RING = 256
BUSY = -(1 << 63)
FOREVER = -1  # as a target: the largest unsigned number
SYMBOLS = (
    "run",
    "run_inline",
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
@ring = internal global [$RING x %Slot] zeroinitializer, align 128
"""

_SIGNALS = """
; after a change of state: rouse up to %count of the threads parked under %fields
define internal void @wake(i64 %fields, i32 %count) {
entry:
  %parked = load atomic i64, ptr @parked seq_cst, align 8
  %meant = and i64 %parked, %fields
  %nobody = icmp eq i64 %meant, 0
  br i1 %nobody, label %out, label %signal
signal:
  %event = atomicrmw add ptr @events, i32 1 seq_cst
  %bits = call i32 @bits(i64 %fields)
  call void @rouse(i32 %bits, i32 %count)
  br label %out
out:
  ret void
}

; one bit for each kind of sleeper that has a count in %fields
define internal i32 @bits(i64 %fields) {
  %done_at = lshr i64 %fields, 15
  %drive_at = lshr i64 %fields, 30
  %work = and i64 %fields, 1
  %done = and i64 %done_at, 2
  %drive = and i64 %drive_at, 4
  %two = or i64 %work, %done
  %three = or i64 %two, %drive
  %bits = trunc i64 %three to i32
  ret i32 %bits
}

; is the next program in the queue?
define internal i1 @ready() {
  %completed = load atomic i64, ptr @completed seq_cst, align 8
  %index = and i64 %completed, $LAST
  %slot = getelementptr %Slot, ptr @ring, i64 %index
  %sequence = load atomic i64, ptr %slot seq_cst, align 8
  %wanted = add i64 %completed, 1
  %ready = icmp eq i64 %sequence, %wanted
  ret i1 %ready
}

; is there a task to take or a program to start?
define internal i1 @available() {
entry:
  %claim = load atomic i64, ptr @current seq_cst, align 8
  %left = and i64 %claim, $LOW
  %some = icmp ne i64 %left, 0
  br i1 %some, label %yes, label %idle
idle:
  %active = load atomic i64, ptr @active seq_cst, align 8
  %taken = icmp ne i64 %active, 0
  br i1 %taken, label %no, label %look
look:
  %ready = call i1 @ready()
  ret i1 %ready
yes:
  ret i1 true
no:
  ret i1 false
}

; The program's number; if the queue is full, minus the number that must complete first.
define internal i64 @enqueue(ptr %table, i64 %count, ptr %bases) {
entry:
  br label %try
try:
  %tail = load atomic i64, ptr @tail seq_cst, align 8
  %completed = load atomic i64, ptr @completed seq_cst, align 8
  %used = sub i64 %tail, %completed
  %full = icmp sge i64 %used, $RING
  br i1 %full, label %refuse, label %reserve
reserve:
  %number = add i64 %tail, 1
  %swap = cmpxchg ptr @tail, i64 %tail, i64 %number seq_cst seq_cst
  %mine = extractvalue { i64, i1 } %swap, 1
  br i1 %mine, label %fill, label %try
fill:
  %index = and i64 %tail, $LAST
  %slot = getelementptr %Slot, ptr @ring, i64 %index
  %table_at = getelementptr %Slot, ptr %slot, i64 0, i32 1
  %count_at = getelementptr %Slot, ptr %slot, i64 0, i32 2
  %bases_at = getelementptr %Slot, ptr %slot, i64 0, i32 3
  store ptr %table, ptr %table_at
  store i64 %count, ptr %count_at
  store ptr %bases, ptr %bases_at
  store atomic i64 %number, ptr %slot seq_cst, align 8
  ret i64 %number
refuse:
  %target = add i64 %completed, 1
  %refusal = sub i64 0, %target
  ret i64 %refusal
}
"""

_WORK = """
; Take part as thread %worker until there is nothing to take or program %target is complete.
; True if something was done.
define internal i1 @work(i64 %worker, i64 %target) {
entry:
  %progress = alloca i1
  store i1 false, ptr %progress
  br label %top

top:
  %over = call i1 @reached(i64 %target)
  br i1 %over, label %leave, label %look_tasks
look_tasks:
  %claim = load atomic i64, ptr @current seq_cst, align 8
  %left = and i64 %claim, $LOW
  %none = icmp eq i64 %left, 0
  br i1 %none, label %look_programs, label %read
read:
  %kernel = load atomic ptr, ptr $KERNEL monotonic, align 8
  %consts = load atomic ptr, ptr $CONSTS monotonic, align 8
  %bases = load atomic ptr, ptr $BASES monotonic, align 8
  %tasks = load atomic i64, ptr $TASKS monotonic, align 8
  %less = sub i64 %claim, 1
  %swap = cmpxchg ptr @current, i64 %claim, i64 %less seq_cst seq_cst
  %taken = extractvalue { i64, i1 } %swap, 1
  br i1 %taken, label %task, label %top

task:
  %number = phi i64 [ %left, %read ], [ %left_now, %again ]
  %mine = phi i64 [ 1, %read ], [ %mine_now, %again ]
  %index = sub i64 %tasks, %number
  call void %kernel(ptr %consts, ptr %bases, i64 %index, i64 %worker)
  br label %next
next:
  %claim_now = load atomic i64, ptr @current seq_cst, align 8
  %left_now = and i64 %claim_now, $LOW
  %none_now = icmp eq i64 %left_now, 0
  br i1 %none_now, label %settle, label %take
take:
  %less_now = sub i64 %claim_now, 1
  %swap_now = cmpxchg ptr @current, i64 %claim_now, i64 %less_now seq_cst seq_cst
  %taken_now = extractvalue { i64, i1 } %swap_now, 1
  br i1 %taken_now, label %again, label %next
again:
  %mine_now = add i64 %mine, 1
  br label %task
settle:
  store i1 true, ptr %progress
  %before = atomicrmw add ptr $FINISHED, i64 %mine seq_cst
  %finished = add i64 %before, %mine
  %last = icmp eq i64 %finished, %tasks
  br i1 %last, label %advance, label %top

; from here on as the advancer
advance:
  %command = load ptr, ptr @program
  %end = load ptr, ptr $PROGRAM_END
  %program_bases = load ptr, ptr $PROGRAM_BASES
  %status = load ptr, ptr $PROGRAM_STATUS
  %code = load i64, ptr %status
  %at_end = icmp eq ptr %command, %end
  %failed = icmp ne i64 %code, 0
  %finish_now = or i1 %at_end, %failed
  br i1 %finish_now, label %finish, label %fetch
fetch:
  %consts_at = getelementptr %Command, ptr %command, i64 0, i32 1
  %tasks_at = getelementptr %Command, ptr %command, i64 0, i32 2
  %following = getelementptr %Command, ptr %command, i64 1
  store ptr %following, ptr @program
  %its_kernel = load ptr, ptr %command
  %its_consts = load ptr, ptr %consts_at
  %its_tasks = load i64, ptr %tasks_at
  %one = icmp sle i64 %its_tasks, 1
  %threads = load atomic i64, ptr @threads monotonic, align 8
  %alone = icmp sle i64 %threads, 1
  %serial = or i1 %one, %alone
  br i1 %serial, label %serially, label %publish
serially:
  call void @all_tasks(ptr %its_kernel, ptr %its_consts, ptr %program_bases, i64 %its_tasks,
                       i64 %worker)
  br label %advance
publish:
  store atomic ptr %its_kernel, ptr $KERNEL monotonic, align 8
  store atomic ptr %its_consts, ptr $CONSTS monotonic, align 8
  store atomic ptr %program_bases, ptr $BASES monotonic, align 8
  store atomic i64 %its_tasks, ptr $TASKS monotonic, align 8
  store atomic i64 0, ptr $FINISHED monotonic, align 8
  %old = load atomic i64, ptr @current monotonic, align 8
  %epoch = add i64 %old, $EPOCH
  %fresh = add i64 %epoch, %its_tasks
  store atomic i64 %fresh, ptr @current seq_cst, align 8
  %seat = load atomic i64, ptr @seat seq_cst, align 8
  %empty = icmp eq i64 %seat, 0
  %whom = select i1 %empty, i64 $START, i64 $WORK
  %others = sub i64 %its_tasks, 1
  %few = icmp slt i64 %others, $MANY
  %capped = select i1 %few, i64 %others, i64 $MANY
  %helpers = trunc i64 %capped to i32
  call void @wake(i64 %whom, i32 %helpers)
  br label %top

finish:
  store i1 true, ptr %progress
  %complete = load atomic i64, ptr @completed monotonic, align 8
  %complete_now = add i64 %complete, 1
  store atomic i64 %complete_now, ptr @completed seq_cst, align 8
  call void @wake(i64 $DONE, i32 $MANY)
  %enough = call i1 @reached(i64 %target)
  br i1 %enough, label %resign, label %next_program
resign:
  call void @release()
  br label %leave

next_program:
  %ready = call i1 @ready()
  br i1 %ready, label %start, label %idle
start:
  %position = load atomic i64, ptr @completed monotonic, align 8
  %place = and i64 %position, $LAST
  %slot = getelementptr %Slot, ptr @ring, i64 %place
  %slot_table = getelementptr %Slot, ptr %slot, i64 0, i32 1
  %slot_count = getelementptr %Slot, ptr %slot, i64 0, i32 2
  %slot_bases = getelementptr %Slot, ptr %slot, i64 0, i32 3
  %table = load ptr, ptr %slot_table
  %count = load i64, ptr %slot_count
  %its_bases = load ptr, ptr %slot_bases
  %table_end = getelementptr %Command, ptr %table, i64 %count
  %its_status = load ptr, ptr %its_bases
  store ptr %table, ptr @program
  store ptr %table_end, ptr $PROGRAM_END
  store ptr %its_bases, ptr $PROGRAM_BASES
  store ptr %its_status, ptr $PROGRAM_STATUS
  br label %advance
idle:
  store atomic i64 0, ptr @active seq_cst, align 8
  br label %look_programs

look_programs:
  %active = load atomic i64, ptr @active seq_cst, align 8
  %occupied = icmp ne i64 %active, 0
  br i1 %occupied, label %leave, label %look_queue
look_queue:
  %waiting = call i1 @ready()
  br i1 %waiting, label %apply, label %leave
apply:
  %role = cmpxchg ptr @active, i64 0, i64 1 seq_cst seq_cst
  %got = extractvalue { i64, i1 } %role, 1
  br i1 %got, label %next_program, label %top

leave:
  %result = load i1, ptr %progress
  ret i1 %result
}

define internal i1 @reached(i64 %target) {
  %completed = load atomic i64, ptr @completed seq_cst, align 8
  %reached = icmp uge i64 %completed, %target
  ret i1 %reached
}

define internal void @all_tasks(ptr %kernel, ptr %consts, ptr %bases, i64 %tasks, i64 %worker) {
entry:
  br label %check
check:
  %task = phi i64 [ 0, %entry ], [ %after, %body ]
  %more = icmp slt i64 %task, %tasks
  br i1 %more, label %body, label %out
body:
  call void %kernel(ptr %consts, ptr %bases, i64 %task, i64 %worker)
  %after = add i64 %task, 1
  br label %check
out:
  ret void
}
"""

_SERVE = """
; Work until program %target is complete; for ever (as a resident thread) if it is -1.
define void @serve(i64 %worker, i64 %target) {
entry:
  %environment = call i64 @enter_arithmetic()
  %holds = alloca i1                       ; has a number to work under
  %turns = alloca i64                      ; turns without work
  %first = icmp eq i64 %worker, 0
  %numbered = xor i1 %first, true
  %resident = icmp eq i64 %target, -1
  store i1 %numbered, ptr %holds
  store i64 0, ptr %turns
  br label %loop

loop:
  %leave = call i1 @dismissed(i64 %worker, i64 %target)
  br i1 %leave, label %out, label %look
look:
  %ready = load i1, ptr %holds
  br i1 %ready, label %go, label %want
want:
  ; the resident thread 0 leaves the seat alone as long as there is nothing to do
  %work_there = call i1 @available()
  %caller = xor i1 %resident, true
  %wanted = or i1 %work_there, %caller
  br i1 %wanted, label %look_seat, label %rest
look_seat:
  %seat = load atomic i64, ptr @seat seq_cst, align 8
  %occupied = icmp ne i64 %seat, 0
  br i1 %occupied, label %rest, label %sit
sit:
  %swap = cmpxchg ptr @seat, i64 0, i64 1 seq_cst seq_cst
  %seated = extractvalue { i64, i1 } %swap, 1
  store i1 %seated, ptr %holds
  br i1 %seated, label %go, label %rest
go:
  %progress = call i1 @work(i64 %worker, i64 %target)
  %standin = and i1 %first, %resident
  br i1 %standin, label %stand, label %worked
stand:
  store i1 false, ptr %holds
  call void @stand_up()
  br label %worked
worked:
  br i1 %progress, label %afresh, label %rest
afresh:
  store i64 0, ptr %turns
  br label %loop
rest:
  %turn = load i64, ptr %turns
  %turn_next = add i64 %turn, 1
  store i64 %turn_next, ptr %turns
  %limit = load atomic i64, ptr @spins monotonic, align 8
  %short = icmp slt i64 %turn, %limit
  br i1 %short, label %pause, label %sleep
pause:
  call void @relax()
  br label %loop
sleep:
  %has = load i1, ptr %holds
  call void @park(i64 %worker, i64 %target, i1 %has)
  br label %afresh

out:
  %still = load i1, ptr %holds
  %give = and i1 %still, %first
  br i1 %give, label %rise, label %end
rise:
  call void @stand_up()
  br label %end
end:
  call void @leave_arithmetic(i64 %environment)
  ret void
}

; A caller may go when its target is complete, a resident thread when it is one too many.
define internal i1 @dismissed(i64 %worker, i64 %target) {
entry:
  %resident = icmp eq i64 %target, -1
  br i1 %resident, label %stays, label %calls
stays:
  %threads = load atomic i64, ptr @threads seq_cst, align 8
  %surplus = icmp sge i64 %worker, %threads
  ret i1 %surplus
calls:
  %reached = call i1 @reached(i64 %target)
  ret i1 %reached
}

define internal void @stand_up() {
entry:
  store atomic i64 0, ptr @seat seq_cst, align 8
  %more = call i1 @available()
  %whom = select i1 %more, i64 $ALL, i64 $DONE
  call void @wake(i64 %whom, i32 $MANY)
  ret void
}

define internal void @park(i64 %worker, i64 %target, i1 %holds) {
entry:
  %first = icmp eq i64 %worker, 0
  %resident = icmp eq i64 %target, -1
  %resident_unit = select i1 %first, i64 $DRIVE_UNIT, i64 $WORK_UNIT
  %caller_unit = select i1 %holds, i64 $BOTH_UNITS, i64 $DONE_UNIT
  %unit = select i1 %resident, i64 %resident_unit, i64 %caller_unit
  %before = atomicrmw add ptr @parked, i64 %unit seq_cst
  %event = load atomic i32, ptr @events seq_cst, align 4
  %leave = call i1 @dismissed(i64 %worker, i64 %target)
  br i1 %leave, label %out, label %look
look:
  %seat = load atomic i64, ptr @seat seq_cst, align 8
  %free = icmp eq i64 %seat, 0
  %able = or i1 %holds, %free
  br i1 %able, label %choose, label %sleep
choose:
  ; a caller that can have the seat takes it, work or not
  %caller = xor i1 %resident, true
  %stands = xor i1 %holds, true
  %sit = and i1 %caller, %stands
  %work_there = call i1 @available()
  %stay = or i1 %sit, %work_there
  br i1 %stay, label %out, label %sleep
sleep:
  %bits = call i32 @bits(i64 %unit)
  call void @sleep(i32 %event, i32 %bits)
  br label %out
out:
  %after = atomicrmw sub ptr @parked, i64 %unit seq_cst
  ret void
}
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

# Rounding to nearest, subnormals kept, exceptions masked; and the spin-wait hint.
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

_PROCESSOR = {"x86_64": _X86, "amd64": _X86, "aarch64": _ARM, "arm64": _ARM}


def executor_ir(processor: str, sleeping: str) -> str:
    """The IR text for a processor (as in a triple) and a variant of ``parking``."""
    processor = processor.lower()
    text = _STATE + _SIGNALS + _WORK + _SERVE + _ENTRY + parking.VARIANTS[sleeping]
    text += _PROCESSOR.get(processor, _OTHER)
    futex = str(parking.FUTEX_NUMBER.get(processor, 0))
    return Template(text).substitute(_CONSTANTS, FUTEX=futex)
