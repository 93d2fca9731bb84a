"""A results folder has one writer at a time, and a dead one holds nothing."""

import errno
import fcntl
import os
import signal
import subprocess
import sys

import pytest
from etils import epath

from fusion_jax.results.lock import exclusive

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
        with pytest.raises(OSError, match=f"process {process.pid} on .* is writing results here.*{tmp_path.name}"):
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


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch, number):
    def refuse(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    ran = False
    with pytest.warns(UserWarning, match=f"{tmp_path.name} lies on a file system without locks"):
        with exclusive(epath.Path(tmp_path)):
            ran = True
    assert ran


def test_another_error_of_the_lock_is_an_error(tmp_path, monkeypatch):
    def refuse(*args):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="cannot be locked"):
        with exclusive(epath.Path(tmp_path)):
            pass
