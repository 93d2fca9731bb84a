"""The log: every line has its time, a cell is heard of when it begins, not at every chunk, and when it ends."""

import io
import re

import pytest
from rich.console import Console

from fusion_jax import zoo
from fusion_jax.results.store import Store
from fusion_jax.run.display import log
from fusion_jax.run.listeners import Listeners
from fusion_jax.run.progress import TuningProgress
from fusion_jax.run.sweep import run
from tests import tiny

pytestmark = pytest.mark.xdist_group("display")


def lines_of(name: str, folder) -> list[str]:
    file = io.StringIO()
    listeners = Listeners([zoo.get("display", name)(Console(file=file, width=60))])
    cells = [tiny.cell(), tiny.cell(control__name="rbf_svm", data__options=dict(tiny.DATA, classes=1))]
    hooks = dict(begin=listeners.begin, progress=listeners.progress, done=listeners.done)
    assert run(cells, Store(folder, create=True), "test", **hooks) == 1
    listeners.end()
    return file.getvalue().splitlines()


@pytest.mark.parametrize("interval", [1e9, 0.0])
def test_lines_from_beginning_to_end(tmp_path, monkeypatch, interval):
    monkeypatch.setattr(log, "INTERVAL", interval)
    lines = lines_of("log", tmp_path)
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", line) for line in lines)
    said = [line[20:] for line in lines]
    assert said[0] == "2 cells, 0 finished before" and said[1] == "begins: mean before synthetic seeds=2"
    epochs = [line for line in said if "epoch" in line]
    assert len(epochs) == (0 if interval else 2)
    if epochs:
        assert re.fullmatch(
            r"mean before synthetic: epoch 3 of 6, 2 of 2 seeds train, validation accuracy 0\.\d{3}", epochs[0]
        )
    assert re.fullmatch(r"1 of 2: mean before synthetic: accuracy 0\.\d{3} ± 0\.\d{3} +\d+\.\d s", said[-3])
    assert said[-2].startswith("2 of 2: rbf_svm - synthetic: FAILED ValueError")
    assert said[-1] == "1 cells trained, 1 failed"


def test_a_tuning_is_heard_of_at_every_batch():
    file = io.StringIO()
    heard = Listeners([log.Log(Console(file=file, width=60))])
    heard.progress(TuningProgress("a", tiny.cell(), 8, 16, ("accuracy", 0.71)))
    (line,) = file.getvalue().splitlines()
    assert line[20:] == "mean before synthetic: 8 of 16 tuning trials, best validation accuracy 0.710"


def test_none_says_nothing(tmp_path):
    assert lines_of("none", tmp_path) == []


def test_plain_is_a_line_a_cell(tmp_path):
    lines = lines_of("plain", tmp_path)
    assert lines[0] == "2 cells, 0 finished before" and re.match(r"\[  1/2\] mean +before ", lines[1])
    assert not any("epoch" in line for line in lines) and re.match(r"1 cells trained, 1 failed, \d+ s", lines[-1])
