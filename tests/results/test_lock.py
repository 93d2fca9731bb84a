"""A results folder has one writer at a time, and a dead one holds nothing."""

import os
import signal
import subprocess
import sys

import pytest
from etils import epath

from fusion_jax.results.lock import exclusive

HOLD = """
import sys, time
from etils import epath
from fusion_jax.results.lock import exclusive
with exclusive(epath.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_is_told_who_is_there_and_a_killed_one_is_gone(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
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
