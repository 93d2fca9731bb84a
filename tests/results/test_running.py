"""What is trained now is believed while the process that writes it holds the folder."""

import os
import socket
import subprocess
import sys

import pytest

from fusion_jax.results import running
from fusion_jax.results.joint import Joint
from fusion_jax.results.lock import exclusive, holders
from fusion_jax.results.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path, create=True)


def own(store):
    return running.path(store, os.getpid())


def test_what_was_written_is_read_while_the_folder_is_held(store):
    assert running.read(store) is None and holders(store.root) == []
    with exclusive(store.root):
        assert running.read(store) == {} and holders(store.root)[0].startswith(f"process {os.getpid()} on ")
        running.write(store, {"a": dict(epoch=3)})
        assert running.read(store) == {"a": dict(epoch=3)}
        running.clear(store)
        assert running.read(store) == {}
    assert running.read(store) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[1, 2]", b'{"a": 1}', b"\xff"])
def test_a_file_that_is_something_else_says_nothing(store, content):
    with exclusive(store.root):
        own(store).write_bytes(content)
        assert running.read(store) == {}


def test_only_a_plain_small_file_is_read(store, tmp_path):
    """A link to /dev/zero would be read for ever."""
    with exclusive(store.root):
        running.write(store, dict(a=dict(epoch=3)))
        own(store).rename(store.root / "elsewhere")
        for target in ("/dev/zero", str(store.root / "elsewhere")):
            os.symlink(target, own(store))
            assert running.read(store) == {}
            running.clear(store)
        os.mkfifo(own(store))
        assert running.read(store) == {}
        running.clear(store)
        (own(store)).write_bytes(b" " * running.LONGEST + b"{}")
        assert running.read(store) == {}
        running.write(store, dict(a=dict(epoch=3)))
        assert running.read(store) == dict(a=dict(epoch=3)), "and it takes the place of whatever was there"


def test_a_lock_that_is_a_link_has_no_holder(store, tmp_path):
    (tmp_path / "elsewhere").write_text(f"process {os.getppid()} on {socket.gethostname()}")
    for target in ("/dev/zero", "elsewhere"):
        os.symlink(target, tmp_path / ".lock")
        assert holders(store.root) == []
        (tmp_path / ".lock").unlink()


def test_what_a_process_left_that_has_ended_is_not_believed(store):
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    with exclusive(store.root):
        running.write(store, dict(a=dict(epoch=3)))
    (store.root / ".lock").write_text(f"process {ended.pid} on {socket.gethostname()}")
    assert running.read(store) is None
    (store.root / ".lock").write_text(f"process {os.getppid()} on {socket.gethostname()}")
    assert running.read(store) == {}, "it holds the folder, and has said nothing"
    own(store).rename(running.path(store, os.getppid()))
    assert running.read(store) == dict(a=dict(epoch=3))


def test_processes_that_share_the_folder_are_read_together_and_leave_nothing(store):
    other = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        with Joint(store.root) as joint, joint.begun():
            running.write(store, dict(a=dict(epoch=3)))
            text = f"process {other.pid} on {socket.gethostname()}"
            (store.root / ".locks" / "at-other").write_text(text)
            running.path(store, other.pid).write_text('{"b": {"epoch": 4}}')
            assert running.read(store) == dict(a=dict(epoch=3), b=dict(epoch=4)) and text in holders(store.root)
            running.clear(store)
            assert running.read(store) == dict(b=dict(epoch=4)), "another process's file is its own"
    finally:
        other.kill()
        other.wait()
    assert running.read(store) is None
    running.clear(store)
    assert not running.path(store, other.pid).exists(), "it was killed"


@pytest.mark.parametrize("text", ["", "process x on y", "process 1 on another-machine", "something else"])
def test_a_lock_that_names_no_process_of_this_machine_has_no_holder(store, text):
    (store.root / ".lock").write_text(text)
    assert holders(store.root) == []
