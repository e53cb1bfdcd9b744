"""Programs and their execution by a team of threads, strictly in order of submission.

The calling thread takes part in what it waits for.  The other threads of the team live in
native code (``backend.llvm.executor``) and never need the interpreter's lock.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from mlx.base.lazy import LazyModule
from mlx.runtime.cores import MAX_THREADS, default_threads
from mlx.runtime.native import Native

executor = LazyModule("mlx.backend.llvm.executor")

_NUMBER = 4  # place of the program's number in a ticket's block, behind the status
MAX_TASKS = (1 << 31) - 1


class Program:
    """A table of commands and the constants of each; immutable, may be queued many times.

    ``commands`` are (kernel address, consts, number of tasks).  A ``small`` program runs on the
    calling thread with the interpreter's lock held: right for what takes less than about 20 us.
    ``keep`` is whatever must live as long as the program, such as its kernels' libraries.
    """

    __slots__ = ("small", "parallel", "address", "count", "_consts", "_table", "_keep")

    def __init__(
        self,
        commands: Iterable[tuple[int, Sequence[int], int]],
        small: bool = False,
        keep: Any = None,
    ) -> None:
        self.small = small
        self._keep = keep
        self.parallel = False
        self._consts: list[array[int]] = []
        self._table = array("q")
        for kernel, consts, tasks in commands:
            if not 0 <= tasks <= MAX_TASKS:
                raise ValueError(f"[Program] A command of {tasks} tasks; at most {MAX_TASKS}.")
            block = array("q", consts)
            self._consts.append(block)
            self._table.extend((kernel, block.buffer_info()[0], tasks, 0))
            self.parallel |= tasks > 1
        self.address = self._table.buffer_info()[0]
        self.count = len(self._consts)

    @classmethod
    def bound(cls, table: array[int], consts: array[int], small: bool, keep: Any) -> Program:
        """A program whose table is ready but for where ``consts`` begin."""
        self = cls.__new__(cls)
        self.small, self._keep, self._table, self._consts = small, keep, table, [consts]
        most = max(table[2::4])
        if most > MAX_TASKS:
            raise ValueError(f"[Program] A command of {most} tasks; at most {MAX_TASKS}.")
        self.parallel = most > 1
        start = consts.buffer_info()[0]
        table[1::4] = array("q", [start + offset for offset in table[1::4]])
        self.address = table.buffer_info()[0]
        self.count = len(table) // 4
        return self


class Ticket:
    """A submitted program; ``wait`` for it.  Keeps alive what the program uses until then."""

    __slots__ = ("_block", "_program", "_bases", "_keep")

    def __init__(self, program: Program, bases: array[int], keep: Any) -> None:
        self._block = array("q", (0, 0, 0, 0, 0))
        self._program: Program | None = program
        self._bases: array[int] | None = bases
        self._keep = keep

    @property
    def number(self) -> int:
        """Position in the queue, from 1; 0 before it is queued, or if it never was."""
        return self._block[_NUMBER]

    @property
    def status(self) -> tuple[int, ...]:
        """The program's status block: error code (0 if all went well) and three details."""
        return tuple(self._block[:_NUMBER])

    def _let_go(self) -> None:
        self._program = self._bases = self._keep = None


class _Team:
    """The resident threads, by number, and the tickets of programs not known to be done."""

    def __init__(self) -> None:
        self.native = Native()
        self.lock = threading.RLock()
        self.threads = default_threads()
        self.residents: dict[int, threading.Thread] = {}
        self.pending: deque[Ticket] = deque()
        self.short = self.threads > 1  # workers are missing
        self.holding = False
        """Whether a thread, which has the lock, waits until nothing is queued."""
        self.native.configure(self.threads, self.native.spins)

    def start(self, numbers: Iterable[int]) -> None:
        """Start the resident threads that are missing."""
        with self.lock:
            for number in numbers:
                if number not in self.residents:
                    thread = threading.Thread(
                        target=self.native.serve,
                        args=(number, executor.FOREVER),
                        name=f"mlx-{number}",
                        daemon=True,
                    )
                    self.residents[number] = thread  # first: no interrupt may lose it
                    try:
                        thread.start()
                    except RuntimeError:  # the system refuses: those that run can do it all
                        del self.residents[number]
                        return

    def start_workers(self) -> None:
        self.start(range(1, self.threads))
        self.short = False

    def hold(self) -> None:
        """Wait until nothing is queued or running, and keep it so until ``release``; what other
        threads would queue meanwhile waits for the lock, or this might never end."""
        self.holding = True
        try:
            while not self.native.acquire():
                self.native.serve(0, self.native.tail.value)
        finally:
            self.holding = False

    def pass_by(self) -> None:
        """Let a thread that holds have its turn."""
        with self.lock:
            pass

    def resize(self, threads: int) -> int:
        with self.lock:
            previous = self.threads
            self.hold()
            try:
                self.threads = threads
                self.native.configure(threads, self.native.spins)
                for number in [n for n in self.residents if n >= threads]:
                    self.residents.pop(number).join()
                self.short = len(self.residents.keys() - {0}) < threads - 1
            finally:
                self.native.release()
        return previous

    def stop(self) -> None:
        """Finish what is queued and end the resident threads (at exit)."""
        with self.lock:
            self.native.serve(0, self.native.tail.value)
            self.native.configure(0, self.native.spins)
            for thread in self.residents.values():
                thread.join(1.0)
            self.residents.clear()

    def before_fork(self) -> None:
        self.lock.acquire()
        self.hold()

    def after_in_parent(self) -> None:
        self.native.release()
        self.lock.release()

    def after_in_child(self) -> None:
        self.native.reset()
        self.residents.clear()
        self.short = self.threads > 1
        self.lock.release()

    def prune(self) -> None:
        """Let go of what completed programs kept alive."""
        done = []
        with self.lock:
            completed = self.native.completed.value
            while self.pending and 0 < self.pending[0].number <= completed:
                done.append(self.pending.popleft())
        for ticket in done:  # outside the lock: this may run any finalizer
            ticket._let_go()


_team: _Team | None = None
_starting = threading.Lock()
planning = threading.RLock()
"""Held while a region is planned, compiled and run; taken before the team's own locks."""


def _before_fork() -> None:
    planning.acquire()
    _starting.acquire()
    if _team is not None:
        _team.before_fork()


def _after_fork(after: Callable[[_Team], None]) -> None:
    if _team is not None:
        after(_team)
    _starting.release()
    planning.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=lambda: _after_fork(_Team.after_in_parent),
        after_in_child=lambda: _after_fork(_Team.after_in_child),
    )


def _get_team() -> _Team:
    global _team, _inline
    if _team is None:
        with _starting:
            if _team is None:
                team = _Team()
                atexit.register(team.stop)
                _inline = team.native.run_inline
                _team = team
    return _team


def _first_inline(table: int, count: int, bases: int) -> int:
    return _get_team().native.run_inline(table, count, bases)


_inline: Callable[[int, int, int], int] = _first_inline


def laid(*programs: Program | None) -> tuple[Any, list[Callable[[], int]]]:
    """The words of ``executor``'s ``@call``, and for each program what runs it when it stands
    there; for whoever holds the lock of planning."""
    return _get_team().native.call, [_starter(program) for program in programs]


def _starter(program: Program | None) -> Callable[[], int]:
    """What runs a program that is laid into ``@call``, as ``run`` does, or returns BUSY where
    ``run`` has more to do than that."""
    team = _get_team()
    if program is None or program.small:
        return team.native.run_call
    share, parallel = team.native.share_call, program.parallel

    def start() -> int:
        if team.pending or team.holding or parallel and team.short:
            return BUSY
        return share()

    return start


BUSY = -(1 << 63)


def run(program: Program, bases: array[int] | list[int]) -> int:
    """Run to the end, after everything submitted before; returns status[0], 0 if all went well.

    ``bases[0]`` is the address of a status block of four int64, or 0 if only status[0] is of
    interest; the other bases are the addresses of the program's buffers.
    """
    if type(bases) is list:
        bases = array("q", bases)
    address = bases.buffer_info()[0]  # type: ignore[union-attr]
    if program.small:
        status = _inline(program.address, program.count, address)
        if status != executor.BUSY:
            return status
    team = _get_team()
    if team.short and program.parallel:
        team.start_workers()
    if team.holding:
        team.pass_by()
    status = team.native.run(program.address, program.count, address)
    if team.pending:
        team.prune()
    return status


def submit(program: Program, bases: array[int] | list[int], keep: Any = None) -> Ticket:
    """Queue a program and return at once; ``keep`` (its buffers) stays alive until it has run.

    The status block is the ticket's own: ``bases[0]`` is ignored.
    """
    team = _get_team()
    own = array("q", bases)
    ticket = Ticket(program, own, keep)
    block = ticket._block.buffer_info()[0]
    own[0] = block
    arguments = (program.address, program.count, own.buffer_info()[0])
    if program.small and team.native.run_inline(*arguments) != executor.BUSY:
        ticket._let_go()
        return ticket
    if team.short and program.parallel:
        team.start_workers()
    if team.holding:
        team.pass_by()
    if 0 not in team.residents:
        team.start([0])
    place = block + _NUMBER * ticket._block.itemsize
    team.pending.append(ticket)  # before it is queued: an interrupt must not lose it
    try:
        while (number := team.native.submit(*arguments, place)) < 0:
            team.native.serve(0, -number)  # the queue is full up to this program
    except BaseException:
        if not ticket.number:
            team.pending.remove(ticket)
        raise
    team.prune()
    return ticket


def wait(ticket: Ticket) -> int:
    """Block until the program has run, taking part in it; returns its status[0]."""
    team = _get_team()
    if team.native.completed.value < ticket.number:
        team.native.serve(0, ticket.number)
    team.prune()
    return ticket.status[0]


def is_done(ticket: Ticket) -> bool:
    """Whether the program has run."""
    return _get_team().native.completed.value >= ticket.number


def synchronize() -> None:
    """Block until everything submitted so far has run."""
    if _team is not None:
        _team.native.serve(0, _team.native.tail.value)
        _team.prune()


def prepare() -> None:
    """Make the team beside what the caller does next: its code may have to be compiled."""
    if _team is None and num_threads() > 1:
        with contextlib.suppress(RuntimeError):  # no thread: it is made when it is needed
            threading.Thread(target=_prepared, name="mlx start", daemon=True).start()


def _prepared() -> None:
    with contextlib.suppress(Exception):  # who needs the team next meets the error
        _get_team()


def num_threads() -> int:
    """How many threads run a program."""
    return default_threads() if _team is None else _team.threads


def set_num_threads(n: int) -> int:
    """Set how many threads run a program, once it is idle; returns the previous number."""
    if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= MAX_THREADS:
        raise ValueError(
            f"[set_num_threads] The number must be an integer from 1 to {MAX_THREADS}, got {n!r}."
        )
    return _get_team().resize(n)


@contextlib.contextmanager
def threads(n: int) -> Iterator[None]:
    """Run the programs of a ``with`` block by ``n`` threads."""
    previous = set_num_threads(n)
    try:
        yield
    finally:
        set_num_threads(previous)
