"""The line: it is written over, but for failures and what was done in the end."""

import io

import pytest
from rich.console import Console

from fusion_jax.results.store import Store
from fusion_jax.run.display.line import Line
from fusion_jax.run.progress import TuningProgress
from fusion_jax.run.sweep import run
from tests import tiny

pytestmark = pytest.mark.xdist_group("display")


def test_a_tuning_is_on_it_too():
    file = io.StringIO()
    line = Line(Console(file=file))
    line.begin(1, 1)
    line.tuning(TuningProgress("a", tiny.cell(), 0, 16))
    line.tuning(TuningProgress("a", tiny.cell(), 8, 16, ("accuracy", 0.71)))
    assert [text.rstrip() for text in file.getvalue().split("\r")[2:]] == [
        "[0/1] mean before synthetic: 0 of 16 tuning trials",
        "[0/1] mean before synthetic: 8 of 16 tuning trials, best validation accuracy 0.710",
    ]


def test_a_study_on_one_line(tmp_path):
    file = io.StringIO()
    line = Line(Console(file=file))
    cells = [tiny.cell(seeds=1), tiny.cell(control__name="rbf_svm", data__options=dict(tiny.DATA, classes=1))]
    hooks = dict(begin=line.begin, progress=line.progress, done=line.done)
    with tiny.as_users_run():
        run(cells, Store(tmp_path, create=True), "here", **hooks)
    line.end()
    begun, failed, ended, rest = file.getvalue().split("\n")
    assert begun == "\r2 cells, 0 finished before" and rest == ""
    over = failed.split("\r")
    assert over[-1].startswith("[2/2] rbf_svm - synthetic: FAILED ValueError")
    assert any(text.startswith("[0/2] mean before synthetic: epoch 3") for text in over)
    assert any(text.startswith("[1/2] mean before synthetic: accuracy 0.") for text in over)
    assert list(map(len, over)) == sorted(map(len, over)), "nothing is left of a longer line before"
    assert ended.startswith("\r1 cells trained, 1 failed")
