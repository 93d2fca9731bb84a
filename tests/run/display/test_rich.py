"""The live view: what it shows at any width and in any encoding, two cells at a time, through Ctrl-C and a lost end."""

import dataclasses
import io
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import threading
import time

import numpy as np
import pytest
from rich.console import Console

from fusion_jax.results.store import Store
from fusion_jax.run.display.rich import Rich, clock
from fusion_jax.run.engines.base import Job, Outcome
from fusion_jax.run.listeners import Listeners
from fusion_jax.run.progress import Progress, TuningProgress
from fusion_jax.run.sweep import run
from tests import tiny

pytestmark = pytest.mark.xdist_group("display")
HISTORY = {"train_loss": np.array([[0.1, 0.2], [0.1, np.nan]])}
CSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def printed(width: int, encoding: str = "utf-8"):
    """A display on a terminal of so many columns, and what its view looks like there."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="replace")
    console = Console(file=file, width=width, force_terminal=True, color_system=None)

    def view(display) -> list[str]:
        file.buffer.seek(0)
        file.buffer.truncate()
        console.print(display.view())
        file.flush()
        return file.buffer.getvalue().decode(encoding).splitlines()

    return Rich(console), view


def busy(display: Rich) -> None:
    """Five of 32 cells done, one of them failed, in 83 seconds; three run."""
    display.lines.waiting, display.lines.count, display.lines.failed = 32, 5, 1
    display.start = time.monotonic() - 83
    display.running = {
        "a": Progress("a", tiny.cell(), (0, 1), 3, HISTORY, ("accuracy", 0.7123)),
        "b": Progress("b", tiny.cell(model__fusion__name="gmu", model__placement="after"), (0, 1)),
        "c": Progress("c", tiny.cell(control__name="rbf_svm"), (0, 1)),
    }


def test_it_shows_what_is_done_what_runs_and_what_is_left():
    display, view = printed(110)
    busy(display)
    whole, *cells = view(display)
    assert whole.startswith("5/32 cells, 3 running, 1 failed") and "━" in whole
    assert re.search(r"1:2[34], about 6:\d\d left$", whole.rstrip()), whole  # 83 s (32 - 5.5) / 5.5
    assert [line.split("  ")[0] for line in cells] == [
        "mean before synthetic",
        "gmu after synthetic",
        "rbf_svm - synthetic",
    ]
    assert "epoch 3/6, 1 of 2 seeds train" in cells[0] and "validation accuracy 0.712" in cells[0]
    assert cells[1].split()[-1] == "compiles" and cells[2].split()[-1] == "fits"


@pytest.mark.parametrize(
    ("width", "said"),
    [
        (110, ("8 of 16 tuning trials", "best validation accuracy 0.712")),
        (80, ("trial 8/16", "accuracy 0.712")),
        (60, ("tunes 8/16", "0.712")),
    ],
)
def test_a_cell_that_is_tuned_shows_its_trials_until_it_is_trained(width, said):
    display, view = printed(width)
    cell = tiny.cell()
    display.tuning(TuningProgress("a", cell, 8, 16, ("accuracy", 0.7123)))
    display.close()
    display.running["a"] = TuningProgress("a", cell, 8, 16, ("accuracy", 0.7123))
    line = view(display)[-1]
    assert all(part in line for part in said) and "0/1 cells, 1 running" in " ".join(view(display))
    display.live.start = lambda: None
    display.progress(Progress("b", dataclasses.replace(cell, tuned=dict(name="a")), (0, 1)))
    assert list(display.running) == ["b"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("width", [40, 72, 80])
def test_no_line_is_longer_than_the_terminal_and_all_numbers_stay(width, encoding):
    display, view = printed(width, encoding)
    busy(display)
    lines = view(display)
    assert max(map(len, lines)) <= width and "?" not in "".join(lines)
    text = " ".join(lines)
    for part in ("5/32 cells", "3 running", "1 failed", "left", "mean before", "3/6", "0.712"):
        assert part in text, text


def test_nothing_is_estimated_before_a_cell_is_finished():
    display, view = printed(80)
    busy(display)
    display.lines.count = display.lines.failed = 0
    assert "time left not known yet" in view(display)[0]


def test_a_terminal_of_a_few_columns_breaks_nothing():
    for width in (1, 5, 12):
        display, view = printed(width)
        busy(display)
        assert max(map(len, view(display))) <= width


def test_lines_of_finished_cells_stand_above_and_the_view_is_gone_in_the_end(tmp_path):
    """Two cells at a time, each at its own epochs; one fails. The screen is looked at whenever a chunk ends."""
    file, seen = io.StringIO(), []
    console = Console(file=file, width=110, force_terminal=True, color_system=None)
    display = Rich(console)

    def look(progress):
        display.progress(progress)
        with console.capture() as capture:
            console.print(display.view())
        seen.append(capture.get())

    cells = [tiny.cell(seeds=1), tiny.cell(seeds=1, model__dim=4), tiny.cell(control__name="random_forest")]
    cells.append(tiny.cell(control__name="rbf_svm", data__options=dict(tiny.DATA, classes=1)))
    store = Store(tmp_path, create=True)
    listeners = Listeners([display])
    failed = run(
        cells,
        store,
        "test",
        engine="threads",
        workers=2,
        begin=listeners.begin,
        progress=look,
        done=listeners.done,
    )
    listeners.end()
    text = CSI.sub("", file.getvalue())
    assert failed == 1 and "4 cells, 0 finished before" in text and "3 cells trained, 1 failed" in text
    assert sorted(re.findall(r"\[ +\d/4\] (\w+)", text)) == ["mean", "mean", "random_forest", "rbf_svm"]
    assert "FAILED ValueError" in text and not display.live.is_started and not display.running
    assert any("2 running" in view for view in seen) and not any("3 running" in view for view in seen)
    assert any("epoch 3/6" in view and "validation accuracy 0." in view for view in seen)


def test_a_display_that_fails_fails_no_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(Rich, "progress", lambda self, progress: 1 / 0)
    listeners = Listeners([Rich(Console(file=io.StringIO()))])
    data, cell, store = tiny.dataset(), tiny.cell(seeds=1), Store(tmp_path, create=True)
    with pytest.warns(UserWarning, match="rich is told no more: ZeroDivisionError"):
        assert run([cell], store, "test", progress=listeners.progress) == 0
    assert store.finished_seeds(cell.identity(data)) == (0,) and not listeners.listeners


def test_a_failure_that_cannot_be_recorded_is_said(tmp_path):
    file = io.StringIO()
    display = Rich(Console(file=file, width=120))
    job = Job("0", tiny.cell(), Store(tmp_path), OSError("no such file"))
    display.done(Outcome(job, None, "OSError: no such file"), "the disk is full")
    assert "FAILED OSError: no such file" in file.getvalue() and "not be recorded: the disk is full" in file.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1:00"), (185, "3:05"), (3599.6, "1:00:00"), (7385, "2:03:05")],
)
def test_clock(seconds, text):
    assert clock(seconds) == text


STUDY = """
from fusion_jax.study import defaults

def get_config(arg=""):
    config = defaults.get_config()
    config.data.name, config.seeds, config.model.dim, config.model.layers = "synthetic", 1, 4, 1
    config.data.options = {options}
    config.training.epochs = config.training.patience = {epochs}
    config.training.chunk, config.training.checkpoint_seconds = 20, 1e6
    return config

def sweep(add):
    add({{"control.name": "label_propagation"}})
    add({{"model.fusion.name": "mean"}})
    add({{"model.fusion.name": "sum"}})
"""


class Terminal:
    """`fusion-jax sweep` on a pseudo-terminal; `text` is what it has written."""

    def __init__(self, tmp_path, epochs: int, columns: int = 100, **env):
        (tmp_path / "study.py").write_text(STUDY.format(options=repr(tiny.DATA), epochs=epochs))
        self.mine, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (30, columns))
        plain = dict(JAX_ENABLE_X64="0", JAX_NUMPY_DTYPE_PROMOTION="standard", TERM="xterm", **env)
        args = (f"--config={tmp_path}/study.py", f"--workdir={tmp_path}/r", "--jobs=2")
        # Ctrl-C is on, whatever it is in who started the tests
        start = "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        start += "; runpy.run_module('experiments.sweep', run_name='__main__', alter_sys=True)"
        self.process = subprocess.Popen(
            [sys.executable, "-c", start, *args],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**{k: v for k, v in os.environ.items() if k != "COLUMNS"}, **plain},
            start_new_session=True,
        )
        os.close(theirs)
        self.raw = b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        try:
            while part := os.read(self.mine, 65536):
                self.raw += part
        except OSError:  # the other end is closed
            pass

    @property
    def text(self) -> str:
        return CSI.sub("", self.raw.decode(errors="replace"))

    def wait_for(self, words: str):
        end = time.monotonic() + 180
        while words not in self.text and self.process.poll() is None and time.monotonic() < end:
            time.sleep(0.05)
        assert words in self.text, self.text

    def end(self) -> int:
        status = self.process.wait(180)
        self.reader.join(10)
        return status


def test_on_a_terminal_the_view_is_live_and_the_tables_come_in_the_end(tmp_path):
    terminal = Terminal(tmp_path, epochs=60)
    assert terminal.end() == 0, terminal.text
    text = terminal.text
    assert "3 cells, 0 finished before" in text and "running" in text and "compiles" in text, text
    assert "3 cells trained, 0 failed" in text and "| label_propagation | - |" in text
    assert terminal.raw.rstrip().rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l") > 0, "the cursor is back"
    assert b"\x1b[" in terminal.raw


def test_ctrl_c_gives_the_terminal_back(tmp_path):
    terminal = Terminal(tmp_path, epochs=10_000_000, NO_COLOR="1")
    terminal.wait_for("epoch ")
    os.kill(terminal.process.pid, signal.SIGINT)
    assert terminal.end() == 130, terminal.text
    assert "interrupted; 1 of 3 cells are finished and stay, run again to go on" in terminal.text
    assert "Traceback" not in terminal.text
    assert terminal.raw.rfind(b"\x1b[?25h") > terminal.raw.rfind(b"\x1b[?25l") > 0, "the cursor is back"
    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", terminal.raw), "NO_COLOR is heard"
