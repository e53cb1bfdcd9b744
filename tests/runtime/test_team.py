"""The thread team: order, every task once, errors, forks, exit."""

from __future__ import annotations

import gc
import os
import random
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mlx.runtime import team
from tests.runtime.kernels import kernel

THREADS = (1, 2, 3, 4)


@pytest.fixture(params=THREADS)
def threads(request):
    with team.threads(request.param):
        yield request.param


def ordered_program(counts, start=0, small=False):
    """Commands with the given numbers of tasks, each checking that it runs in its turn."""
    commands = []
    for count in counts:
        commands.append((kernel("ordered"), [start, count], count))
        start += count
    return team.Program(commands, small), start


def test_every_task_runs_once(threads):
    counters = np.zeros(1000, np.int64)
    program = team.Program([(kernel("increment"), [1], n) for n in (1, 1000, 0, 2, 37)])
    for _ in range(50):
        assert team.run(program, [0, counters.ctypes.data]) == 0
    expected = [50 * sum(task < n for n in (1, 1000, 2, 37)) for task in range(1000)]
    assert counters.tolist() == expected


@pytest.mark.parametrize("small", [False, True])
def test_commands_run_in_order(threads, small):
    rng = random.Random(threads)
    for _ in range(300):
        counts = [rng.choice((0, 1, 1, 2, 3, 8, 100)) for _ in range(rng.randrange(12))]
        program, total = ordered_program(counts, small=small)
        counted = np.zeros(2, np.int64)
        assert team.run(program, [0, counted.ctypes.data]) == 0
        assert counted.tolist() == [total, 0]


def test_submitted_programs_run_in_order(threads):
    rng = random.Random(threads)
    counted = np.zeros(2, np.int64)
    total, tickets = 0, []
    for index in range(2000):
        counts = [rng.choice((1, 2, 5, 30)) for _ in range(rng.randrange(1, 4))]
        program, total = ordered_program(counts, total, small=index % 3 == 0)
        if rng.random() < 0.7:
            tickets.append(team.submit(program, [0, counted.ctypes.data], keep=counted))
        else:  # also behind all that is queued
            assert team.run(program, [0, counted.ctypes.data]) == 0
            assert counted[0] == total
        if rng.random() < 0.05 and tickets:
            assert team.wait(rng.choice(tickets)) == 0
        if index % 500 == 0:
            gc.collect()
    team.synchronize()
    assert all(team.is_done(ticket) for ticket in tickets)
    assert counted.tolist() == [total, 0]


def test_many_python_threads(threads):
    errors = []

    def work(seed):
        rng = random.Random(seed)
        for _ in range(200):
            counts = [rng.choice((1, 2, 9)) for _ in range(rng.randrange(1, 5))]
            program, total = ordered_program(counts, small=rng.random() < 0.3)
            counted = np.zeros(2, np.int64)
            if rng.random() < 0.5:
                status = team.run(program, [0, counted.ctypes.data])
            else:
                status = team.wait(team.submit(program, [0, counted.ctypes.data], counted))
            if status != 0 or counted.tolist() != [total, 0]:
                errors.append((seed, counts, counted.tolist()))

    callers = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert not any(caller.is_alive() for caller in callers)
    assert errors == []


def test_error_stops_the_next_command(threads):
    for small in (False, True):
        counters = np.zeros(8, np.int64)
        status = np.full(4, 9, np.int64)
        commands = [
            (kernel("increment"), [1], 8),
            (kernel("fail"), [42], 1),
            (kernel("increment"), [1], 8),
        ]
        program = team.Program(commands, small)
        bases = [status.ctypes.data, counters.ctypes.data]
        assert team.run(program, bases) == 42
        assert counters.tolist() == [1] * 8
        assert status.tolist()[:2] == [42, 0]
        assert team.run(program, [0, counters.ctypes.data]) == 42
        assert team.run(team.Program(commands[:1]), bases) == 0
        assert status.tolist() == [0] * 4


def test_error_stays_in_the_ticket(threads):
    failing = team.Program([(kernel("fail"), [7], 3)])
    fine = team.Program([(kernel("nothing"), [], 3)])
    bad, good = team.submit(failing, [0]), team.submit(fine, [0])
    assert team.wait(good) == 0
    assert team.wait(bad) == 7
    assert bad.status[0] == 7 and bad.status[1] in (0, 1, 2)


def test_submit_returns_at_once_and_runs_without_wait(threads):
    counters = np.zeros(16, np.int64)
    program = team.Program([(kernel("busy"), [1000], 20)])
    ticket = team.submit(program, [0, counters.ctypes.data], counters)
    for _ in range(1000):
        if team.is_done(ticket):
            break
        time.sleep(0.005)
    assert team.is_done(ticket)
    assert counters.sum() == 20


def test_more_programs_than_the_queue_holds(threads):
    counters = np.zeros(16, np.int64)
    program = team.Program([(kernel("busy"), [100], 2)])
    tickets = [team.submit(program, [0, counters.ctypes.data], counters) for _ in range(1000)]
    assert team.wait(tickets[-1]) == 0
    assert counters.sum() == 2000


def test_worker_numbers_are_below_the_number_of_threads(threads):
    counters = np.zeros(16, np.int64)
    program = team.Program([(kernel("busy"), [20000], 200)])
    team.submit(program, [0, counters.ctypes.data], counters)
    team.run(program, [0, counters.ctypes.data])
    assert counters.sum() == 400
    assert not counters[threads:].any()


def test_a_worker_number_is_used_by_one_thread_at_a_time(threads):
    busy = np.zeros(16, np.int64)
    program = team.Program([(kernel("exclusive"), [100_000], 200)])
    ticket = team.submit(program, [0, busy.ctypes.data], busy)
    callers = [threading.Thread(target=team.wait, args=(ticket,)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
    assert team.wait(ticket) == 0


def test_programs_wait_while_the_team_is_held(threads):
    counters = np.zeros(8, np.int64)
    program = team.Program([(kernel("increment"), [1], 8)])
    team._get_team().hold()
    try:
        caller = threading.Thread(target=team.run, args=(program, [0, counters.ctypes.data]))
        caller.start()
        time.sleep(0.02)
        assert not counters.any()
    finally:
        team._get_team().native.release()
    caller.join(60)
    assert not caller.is_alive()
    assert counters.tolist() == [1] * 8


def test_several_threads_take_part():
    counters = np.zeros(16, np.int64)
    program = team.Program([(kernel("busy"), [100000], 500)])
    with team.threads(2):
        for _ in range(50):
            team.run(program, [0, counters.ctypes.data])
            if counters[0] and counters[1]:
                return
    pytest.fail(f"only one of two threads worked: {counters.tolist()}")


def test_small_submitted_programs(threads):
    counters = np.zeros(8, np.int64)
    status = team.Program([(kernel("increment"), [1], 8), (kernel("fail"), [3], 1)], small=True)
    tickets = [team.submit(status, [0, counters.ctypes.data], counters) for _ in range(5)]
    assert [team.wait(ticket) for ticket in tickets] == [3] * 5
    assert all(team.is_done(ticket) for ticket in tickets)
    assert counters.tolist() == [5] * 8


def test_keep_is_kept_until_done_and_then_dropped():
    class Witness:
        dropped = False

        def __del__(self):
            Witness.dropped = True

    counters = np.zeros(16, np.int64)
    slow = team.Program([(kernel("busy"), [3_000_000], 8)])
    ticket = team.submit(slow, [0, counters.ctypes.data], [Witness(), counters])
    assert team.is_done(ticket) or not Witness.dropped
    team.wait(ticket)
    assert Witness.dropped


def test_subnormals_and_the_callers_arithmetic(threads):
    third = np.full(64, 1 / 3)
    expected = third * 2.0**-1022
    team.run(team.Program([(kernel("subnormal"), [], 64)]), [0, third.ctypes.data])
    assert third.tobytes() == expected.tobytes()
    assert expected[0] > 0


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2", 100_000])
def test_bad_number_of_threads(n):
    with pytest.raises(ValueError, match="set_num_threads"):
        team.set_num_threads(n)


def test_too_many_tasks():
    with pytest.raises(ValueError, match="tasks"):
        team.Program([(kernel("nothing"), [], 1 << 40)])


def python(code, **environment):
    """Run code in a process of its own; returns what it printed."""
    head = "import numpy as np\nfrom mlx.runtime import team\n"
    head += "from tests.runtime.kernels import kernel\n"
    result = subprocess.run(
        [sys.executable, "-c", head + code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout.strip()


PREAMBLE = """
counters = np.zeros(64, np.int64)
program = team.Program([(kernel("busy"), [20000], 64)])
def work():
    return team.run(program, [0, counters.ctypes.data])
team.set_num_threads(3)
work()
"""


def test_process_ends_with_work_queued():
    code = PREAMBLE + (
        "tickets = [team.submit(program, [0, counters.ctypes.data]) for _ in range(20)]\n"
        "print('end')\n"
    )
    assert python(code) == "end"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_child_works_and_so_does_its_parent():
    code = (
        PREAMBLE
        + """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)
for _ in range(20):
    tickets = [team.submit(program, [0, counters.ctypes.data], counters) for _ in range(3)]
    child = os.fork()
    before = counters.sum()
    ok = work() == 0 and team.wait(team.submit(program, [0, counters.ctypes.data])) == 0
    ok = ok and counters.sum() == before + 128
    if child == 0:
        os._exit(0 if ok else 1)
    assert ok
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("end")
"""
    )
    assert python(code) == "end"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_fork_while_other_threads_run():
    code = (
        PREAMBLE
        + """
import os, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
going = True
def loop():
    while going:
        work()
threads = [threading.Thread(target=loop) for _ in range(2)]
for thread in threads: thread.start()
for _ in range(20):
    child = os.fork()
    if child == 0:
        os._exit(work())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
going = False
for thread in threads: thread.join()
print("end")
"""
    )
    assert python(code) == "end"


def test_process_ends_while_daemon_threads_run():
    code = (
        PREAMBLE
        + """
import threading, time
def loop():
    while True:
        work()
for _ in range(2):
    threading.Thread(target=loop, daemon=True).start()
time.sleep(0.02)
print("end")
"""
    )
    for _ in range(5):
        assert python(code) == "end"


def test_evaluation_in_an_exit_handler():
    code = "import atexit\natexit.register(lambda: print(work(), counters.sum()))\n" + PREAMBLE
    assert python(code) == "0 128"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs Unix signals")
def test_no_more_threads_to_be_had():
    code = (
        """
import threading
def refuse(self):
    raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
"""
        + PREAMBLE
        + """
print(team.wait(team.submit(program, [0, counters.ctypes.data])), counters.sum())
"""
    )
    assert python(code) == "0 128"


def test_interrupt_comes_after_the_program():
    code = (
        PREAMBLE
        + """
import signal
def interrupt(*_):
    raise KeyboardInterrupt
signal.signal(signal.SIGALRM, interrupt)
slow = team.Program([(kernel("busy"), [2_000_000], 64)])
for submitting in (False, True):
    counters[:] = 0
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    try:
        if submitting:
            team.wait(team.submit(slow, [0, counters.ctypes.data], counters))
        else:
            team.run(slow, [0, counters.ctypes.data])
        print("missed")
    except KeyboardInterrupt:
        team.synchronize()
        print(counters.sum(), work())
"""
    )
    assert python(code) == "64 0\n64 0"


def test_number_of_threads_from_the_environment():
    assert python("print(team.num_threads())", MLX_NUM_THREADS="3") == "3"
    assert python("print(team.num_threads())", MLX_NUM_THREADS="1") == "1"


def test_bad_number_of_threads_in_the_environment():
    code = """
try:
    team.num_threads()
except ValueError as error:
    print(error)
"""
    assert "MLX_NUM_THREADS" in python(code, MLX_NUM_THREADS="many")


@pytest.mark.skipif(sys.platform == "win32", reason="needs pthreads")
def test_sleeping_on_a_condition():
    """The variant for systems without futex."""
    code = (
        "import mlx.runtime.native as native\nnative._sleeping = lambda: 'condition'\n"
        + PREAMBLE
        + """
import time
for n in (1, 2, 4):
    team.set_num_threads(n)
    for _ in range(20):
        time.sleep(0.002)
        assert work() == 0
        ticket = team.submit(program, [0, counters.ctypes.data])
        time.sleep(0.002)
        assert team.wait(ticket) == 0
print(counters.sum() == 64 * 121)
"""
    )
    assert python(code) == "True"
