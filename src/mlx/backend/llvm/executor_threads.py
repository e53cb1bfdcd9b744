"""How a thread takes part: seat, spinning and parking, as LLVM IR (see ``executor``)."""

from __future__ import annotations

SERVE = """
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
