"""How a thread sleeps until an event: the system's own wait, as LLVM IR.

Each variant defines ``@sleep(expected, bits)``, which returns when the word ``@events`` may
differ from ``expected``, and ``@rouse(bits, count)``, called after ``@events`` has changed.
``bits`` says who is meant, where the system can tell sleepers apart.  ``@system`` holds the
addresses of the functions that ``FUNCTIONS`` names.
"""

from __future__ import annotations

FUTEX = """
define internal void @sleep(i32 %expected, i32 %bits) {
  %syscall = load ptr, ptr @system
  %value = zext i32 %expected to i64
  %mask = zext i32 %bits to i64
  ; FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG
  call i64 (i64, ...) %syscall(i64 $FUTEX, ptr @events, i64 137, i64 %value,
                               ptr null, ptr null, i64 %mask)
  ret void
}

define internal void @rouse(i32 %bits, i32 %count) {
  %syscall = load ptr, ptr @system
  %number = zext i32 %count to i64
  %mask = zext i32 %bits to i64
  ; FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG
  call i64 (i64, ...) %syscall(i64 $FUTEX, ptr @events, i64 138, i64 %number,
                               ptr null, ptr null, i64 %mask)
  ret void
}
"""

CONDITION = """
@mutex = dso_local global [16 x i64] zeroinitializer, align 64
@condition = dso_local global [16 x i64] zeroinitializer, align 64

define internal void @sleep(i32 %expected, i32 %bits) {
entry:
  %lock = load ptr, ptr @system
  %unlock = load ptr, ptr getelementptr ([4 x ptr], ptr @system, i64 0, i64 1)
  %wait = load ptr, ptr getelementptr ([4 x ptr], ptr @system, i64 0, i64 2)
  call i32 %lock(ptr @mutex)
  br label %check
check:
  %value = load atomic i32, ptr @events seq_cst, align 4
  %same = icmp eq i32 %value, %expected
  br i1 %same, label %again, label %out
again:
  call i32 %wait(ptr @condition, ptr @mutex)
  br label %check
out:
  call i32 %unlock(ptr @mutex)
  ret void
}

define internal void @rouse(i32 %bits, i32 %count) {
  %lock = load ptr, ptr @system
  %unlock = load ptr, ptr getelementptr ([4 x ptr], ptr @system, i64 0, i64 1)
  %broadcast = load ptr, ptr getelementptr ([4 x ptr], ptr @system, i64 0, i64 3)
  ; a sleeper between its check and its wait holds the mutex
  call i32 %lock(ptr @mutex)
  call i32 %unlock(ptr @mutex)
  call i32 %broadcast(ptr @condition)
  ret void
}
"""

ADDRESS = """
define internal void @sleep(i32 %expected, i32 %bits) {
  %compare = alloca i32
  store i32 %expected, ptr %compare
  %wait = load ptr, ptr @system
  call i32 %wait(ptr @events, ptr %compare, i64 4, i32 -1)
  ret void
}

define internal void @rouse(i32 %bits, i32 %count) {
  %wake = load ptr, ptr getelementptr ([4 x ptr], ptr @system, i64 0, i64 1)
  call void %wake(ptr @events)
  ret void
}
"""

VARIANTS = {"futex": FUTEX, "condition": CONDITION, "address": ADDRESS}
FUNCTIONS = {
    "futex": ("syscall",),
    "condition": (
        "pthread_mutex_lock",
        "pthread_mutex_unlock",
        "pthread_cond_wait",
        "pthread_cond_broadcast",
    ),
    "address": ("WaitOnAddress", "WakeByAddressAll"),
}
SYMBOLS = {"futex": (), "condition": ("mutex", "condition"), "address": ()}
FUTEX_NUMBER = {"x86_64": 202, "aarch64": 98, "riscv64": 98}
