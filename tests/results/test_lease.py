"""A lease is one holder's at a time; one that nobody renews is taken over, by one of those who want it."""

import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from fusion_jax.folders import digest
from fusion_jax.results import lease
from fusion_jax.results.lease import Held, Lost, held_by, leased

ELSEWHERE = "process 12 on another-machine\n0123\n"


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "cell.lease")


def write(path, text, age=0.0):
    with open(path, "w") as file:
        file.write(text)
    os.utime(path, (time.time() - age,) * 2)


def is_taken(path):
    """Whether it can be held now."""
    try:
        with leased(path):
            return True
    except Held:
        return False


def test_one_holds_it_at_a_time_and_it_is_gone_behind_the_block(path):
    with leased(path) as first:
        first.check()
        assert held_by(path) == f"process {os.getpid()} on {socket.gethostname()}"
        with pytest.raises(Held, match=f"process {os.getpid()} on"):
            with leased(path):
                pass
        first.check()
    assert not os.path.exists(path) and held_by(path) is None and is_taken(path)


def test_it_is_free_when_its_process_has_ended(path):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    write(path, f"process {ended.pid} on {socket.gethostname()}\n0123\n")
    assert held_by(path) is None and is_taken(path)
    write(path, f"process {os.getppid()} on {socket.gethostname()}\n0123\n")
    assert held_by(path) and not is_taken(path)


def test_a_process_that_had_our_number_before_us_holds_nothing(path):
    write(path, f"process {os.getpid()} on {socket.gethostname()}\n0123\n")
    assert is_taken(path)


@pytest.mark.parametrize("text", [ELSEWHERE, "", "something else"])
def test_of_another_machine_it_is_free_when_nobody_has_renewed_it_for_long(path, text):
    write(path, text, lease.STALE - 60)
    assert held_by(path) and not is_taken(path)
    write(path, text, lease.STALE + 60)
    assert held_by(path) is None and is_taken(path)


def test_it_is_renewed_while_it_is_held(path, monkeypatch):
    monkeypatch.setattr(lease, "BEAT", 0.01)
    with leased(path):
        os.utime(path, (0, 0))
        end = time.monotonic() + 30
        while os.stat(path).st_mtime == 0:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert not is_taken(path)


def test_who_was_suspended_for_long_learns_that_it_was_taken_over_and_removes_nothing(path):
    with leased(path) as first:
        write(path, ELSEWHERE)
        with pytest.raises(Lost, match="taken over"):
            first.check()
    assert held_by(path) == "process 12 on another-machine"


@pytest.mark.parametrize("attempt", range(5))
def test_of_many_that_find_it_stale_one_takes_it_over(path, attempt):
    write(path, ELSEWHERE, lease.STALE + 60)
    meeting, over, taken = threading.Barrier(8), threading.Barrier(8), []

    def take():
        meeting.wait(60)
        try:
            with leased(path):
                taken.append(attempt)
                over.wait(60)
        except Held:
            over.wait(60)

    crowd = [threading.Thread(target=take) for _ in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert len(taken) == 1


def test_one_that_another_took_over_meanwhile_is_left_alone(path, monkeypatch):
    mark, real = f"{path}.{digest(ELSEWHERE.encode())[:8]}", os.open
    write(path, ELSEWHERE, lease.STALE + 60)

    def opened(name, *args, **how):
        if name == mark:
            write(path, "process 13 on another-machine\n4567\n")
        return real(name, *args, **how)

    monkeypatch.setattr(os, "open", opened)
    assert not is_taken(path) and held_by(path) == "process 13 on another-machine"


def test_who_ended_while_it_took_one_over_keeps_it_from_nobody_for_long(path):
    mark = f"{path}.{digest(ELSEWHERE.encode())[:8]}"
    write(path, ELSEWHERE, lease.STALE + 60)
    write(mark, ELSEWHERE)
    assert not is_taken(path) and os.path.exists(mark), "another one takes it over"
    write(mark, ELSEWHERE, lease.STALE + 60)
    assert not is_taken(path) and not os.path.exists(mark)
    assert is_taken(path) and os.listdir(os.path.dirname(path)) == []
