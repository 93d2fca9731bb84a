"""A process has a name that others can look it up by."""

import os
import socket
import subprocess
import sys

import pytest

from fusion_jax.results import process


def test_this_process_lives_and_has_its_number():
    assert process.this() == f"process {os.getpid()} on {socket.gethostname()}" == process.named(os.getpid())
    assert process.number(process.this()) == os.getpid() and process.lives(process.this())


def test_one_that_has_ended_does_not_live():
    ended = subprocess.Popen([sys.executable, "-S", "-c", ""])
    ended.wait()
    assert process.number(process.named(ended.pid)) == ended.pid and not process.lives(process.named(ended.pid))
    assert not process.lives(process.named(2**70))


@pytest.mark.parametrize("name", ["", "process x on HERE", "process 1 on elsewhere", "1 on HERE", "process 1"])
def test_other_texts_name_no_process_of_this_machine(name):
    name = name.replace("HERE", socket.gethostname())
    assert process.number(name) is None and not process.lives(name)
