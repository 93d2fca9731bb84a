"""A results folder has one writer, or several that share it; each cell has one; and a dead one holds nothing."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import warnings

import pytest
from etils import epath

from fusion_jax.results import lock
from fusion_jax.results.lease import Held
from fusion_jax.results.lock import briefly, exclusive, held, holders, holding, joined
from fusion_jax.training import stopping

HOLD = """
import sys
from etils import epath
from fusion_jax.results.lock import exclusive
with exclusive(epath.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_writer_is_told_who_is_there_and_a_killed_one_is_gone(tmp_path):
    command, pipe = [sys.executable, "-c", HOLD, str(tmp_path)], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    try:
        assert process.stdout.readline() == "held\n"
        with pytest.raises(OSError, match=f"{tmp_path.name}: process {process.pid} on .* is writing results here"):
            with exclusive(epath.Path(tmp_path)):
                pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    with exclusive(epath.Path(tmp_path)):
        pass


def test_it_is_free_after_the_block(tmp_path):
    for _ in range(2):
        with exclusive(epath.Path(tmp_path)):
            pass


@pytest.mark.parametrize("target", ["there", "not there"])
def test_a_link_is_refused_and_its_target_left_alone(tmp_path, target):
    precious = tmp_path / "precious"
    if target == "there":
        precious.write_text("process of years")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match="is a symbolic link.*remove it.*\\.lock"):
        with exclusive(epath.Path(tmp_path)):
            pass
    assert precious.read_text() == "process of years" if target == "there" else not precious.exists()


def test_a_link_in_the_place_of_the_folder_of_locks_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".locks").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="is a link, expected a folder.*\\.locks"):
        with holding(epath.Path(tmp_path), "a"):
            pass
    assert os.listdir(tmp_path / "elsewhere") == []


def test_a_file_that_is_no_lock_is_refused_and_left_alone(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("years of work")
    os.link(precious, tmp_path / ".lock")
    with pytest.raises(OSError, match="no lock that was made here"):
        with exclusive(epath.Path(tmp_path)):
            pass
    assert precious.read_text() == "years of work"
    (tmp_path / ".lock").unlink()
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(OSError, match="no lock that was made here"):
        with exclusive(epath.Path(tmp_path)):
            pass


@pytest.fixture(params=["locks", "no locks"])
def folder(request, tmp_path, monkeypatch):
    """A folder on a file system with locks, and on one without."""
    if request.param == "no locks":
        monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield epath.Path(tmp_path)


def refusing(number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    return refuse


def can(hold, *args, **how):
    """Whether it can be held now."""
    try:
        with hold(*args, **how):
            return True
    except Held:
        return False


def test_a_cell_is_one_holder_s_at_a_time_and_leaves_nothing(folder):
    with holding(folder, "a") as still:
        still()
        with pytest.raises(Held, match=f"process {os.getpid()} on"):
            with holding(folder, "a"):
                pass
        assert can(holding, folder, "b") and set(held(folder)) == {"a"}
    assert can(holding, folder, "a") and held(folder) == {} and os.listdir(folder / ".locks") == []


def test_who_waits_gets_it_one_after_another(folder, monkeypatch):
    monkeypatch.setattr(lock, "PAUSE", 0.001)
    inside, most = [], []

    def work():
        for _ in range(20):
            with holding(folder, "a", wait=True):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    crowd = [threading.Thread(target=work) for _ in range(6)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join()
    assert len(most) == 120 and max(most) == 1


def test_the_lock_of_a_file_that_was_removed_since_it_was_opened_is_none(tmp_path, monkeypatch):
    """By who had it before, so that others lock another file of the name."""
    folder, real, removed = epath.Path(tmp_path), fcntl.flock, []

    def flock(file, how):
        if not removed:
            removed.append(file.name)
            os.unlink(file.name)
        return real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with holding(folder, "a"):
        assert not can(holding, folder, "a")


def test_who_waits_stops_when_it_is_asked_to(folder):
    with holding(folder, "a"):
        stopping.ask()
        try:
            with pytest.raises(stopping.Stopped):
                with holding(folder, "a", wait=True):
                    pass
        finally:
            stopping.forget()


def test_a_folder_is_shared_or_somebody_s_alone(folder):
    with exclusive(folder):
        assert not can(joined, folder) and not can(exclusive, folder)
        assert holders(folder) == [f"process {os.getpid()} on {os.uname().nodename}"]
    assert holders(folder) == []
    with joined(folder) as first, joined(folder) as second:
        assert first and not second
        with pytest.raises(Held, match=f"process {os.getpid()} on .* is writing results here; .*: it is to be alone"):
            with exclusive(folder, "it is to be alone"):
                pass
        assert holders(folder) == [f"process {os.getpid()} on {os.uname().nodename}"]
    assert holders(folder) == [] and can(exclusive, folder)


SHARE = """
import sys
from etils import epath
from fusion_jax.results.lock import joined
with joined(epath.Path(sys.argv[1])) as alone:
    print(alone, flush=True)
    sys.stdin.read()
"""


def test_a_process_that_shares_it_finds_the_others_and_frees_it_when_it_is_killed(tmp_path):
    folder = epath.Path(tmp_path)
    command, pipe = [sys.executable, "-c", SHARE, str(folder)], subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
    try:
        assert process.stdout.readline() == "True\n"
        with briefly(folder), joined(folder) as alone:
            assert not alone and len(holders(folder)) == 2
        with pytest.raises(Held, match=f"process {process.pid} on .* is writing"):
            with exclusive(folder):
                pass
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert holders(folder) == [] and can(exclusive, folder) and len(os.listdir(folder / ".locks")) == 1
    with joined(folder) as alone:
        assert alone
    assert os.listdir(folder / ".locks") == [], "what the killed one has left is removed"


def test_without_locks_too_a_killed_process_leaves_no_file_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    left = tmp_path / ".locks" / "at-left.lease"
    left.parent.mkdir()
    left.write_text(f"process {os.getppid()} on {os.uname().nodename}\n0123\n")
    with pytest.warns(UserWarning, match="without locks"), joined(epath.Path(tmp_path)) as alone:
        assert not alone and left.exists()
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    left.write_text(f"process {ended.pid} on {os.uname().nodename}\n0123\n")
    with pytest.warns(UserWarning, match="without locks"), joined(epath.Path(tmp_path)) as alone:
        assert alone and not left.exists()


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, number):
    monkeypatch.setattr(fcntl, "flock", refusing(number))
    ran = False
    with pytest.warns(UserWarning, match=f"{tmp_path.name} lies on a file system without locks"):
        with exclusive(epath.Path(tmp_path)):
            ran = True
    assert ran


def test_another_error_of_the_lock_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO))
    with pytest.raises(OSError, match="cannot be locked"):
        with exclusive(epath.Path(tmp_path)):
            pass
    with pytest.raises(OSError, match="cannot be locked.*/a'"):
        with holding(epath.Path(tmp_path), "a"):
            pass
