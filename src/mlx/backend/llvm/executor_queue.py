"""The executor's queue and the work on its programs, as LLVM IR (see ``executor``)."""

from __future__ import annotations

SIGNALS = """
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

WORK = """
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
