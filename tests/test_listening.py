"""--display and the writers' flags, of the commands that train."""

import functools
import re

import pytest

from tests import studies, tiny
from tests.studies import LP, RBF, run

pytestmark = pytest.mark.xdist_group("listening")


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def study_file(tmp_path):
    """write(*cells): a study file of these changes of the tiny cell."""
    return functools.partial(studies.write, tmp_path)


def test_a_sweep_is_shown_as_asked(study_file, tmp_path):
    file = study_file(LP, RBF)
    for name, lines in (("plain", 1), ("none", 0), ("log", 0), ("auto", 1)):
        status, out = run(file, tmp_path / name, f"--display={name}")
        assert status == 0 and "| label_propagation | - |" in out, out
        assert len(re.findall(r"^\[  \d/2\] ", out, re.MULTILINE)) == 2 * lines, out
        assert ("2 cells, 0 finished before" in out) == (name != "none")
        assert len(re.findall(r"^\d{4}-.* begins: ", out, re.MULTILINE)) == 2 * (name == "log")


@pytest.mark.parametrize("name", ["plain", "log", "none"])
def test_training_is_shown_as_asked(study_file, tmp_path, name):
    args = (f"--config={study_file({})}", f"--workdir={tmp_path}/r", f"--display={name}")
    status, out = tiny.command("experiments.train", *args)
    assert status == 0 and "accuracy" in out, out
    assert len(re.findall(r"^epoch \d: 2 of 2 seeds train, training loss ", out, re.MULTILINE)) == 2 * (name == "plain")
    assert len(re.findall(r"^\d{4}-.* begins: ", out, re.MULTILINE)) == (name == "log")


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
@pytest.mark.parametrize(
    ("flag", "message"),
    [("display=rch", "rch"), ("wandb=online", "--wandb='online', expected 'offline'"), ("tensorboard=", "a folder")],
)
def test_a_wrong_value_is_one_line_before_anything_is_trained(study_file, tmp_path, module, flag, message):
    pytest.importorskip("wandb", reason="W&B is an extra")
    pytest.importorskip("tensorboardX", reason="TensorBoard's writer is an extra")
    args = (f"--config={study_file(LP)}", f"--workdir={tmp_path}/r", f"--{flag}")
    status, out = tiny.command(module, *args)
    assert status == 2 and out.startswith("error: ") and message in out and "Traceback" not in out, out
    assert not list(tmp_path.glob("r/cells/*"))


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
def test_event_files_are_written_beside_the_results(study_file, tmp_path, module):
    pytest.importorskip("tensorboardX", reason="TensorBoard's writer is an extra")
    args = (f"--config={study_file({})}", f"--workdir={tmp_path}/r", f"--tensorboard={tmp_path}/tb")
    assert tiny.command(module, *args)[0] == 0
    assert len(list((tmp_path / "tb").glob("synthetic-mean-before-*/seed-[01]/*tfevents*"))) == 2
