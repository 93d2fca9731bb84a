"""The commands where something is unusual: the terminal, the platform, a name, a mistake, the right to write."""

import os
import pathlib
import subprocess
import sys

import pytest

from fusion_jax.results import report
from fusion_jax.results.store import Store
from tests import tiny

pytestmark = pytest.mark.xdist_group("commands")
ROOT = pathlib.Path(__file__).parents[1]
STUDY = """
from tests import tiny

def get_config(arg=""):
    config = tiny.config(seeds=2)
    config.label = arg
    return config

def sweep(add):
    add({"control.name": "label_propagation"})
"""


@pytest.fixture(autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def file(tmp_path):
    (tmp_path / "study.py").write_text(STUDY)
    return tmp_path / "study.py"


def start(module, *args, out=subprocess.PIPE, err=subprocess.STDOUT, **env):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    plain = dict(JAX_ENABLE_X64="0", JAX_NUMPY_DTYPE_PROMOTION="standard", PYTHONPATH=path)
    return subprocess.Popen(
        [sys.executable, "-m", module, *args], env={**os.environ, **plain, **env}, stdout=out, stderr=err
    )


def finished(workdir):
    store = Store(workdir)
    return [store.finished_seeds(cell["id"]) for cell in store.read_study()["cells"]]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_the_terminal_lacks_are_replaced(file, tmp_path, encoding):
    process = start("experiments.sweep", f"--config={file}", f"--workdir={tmp_path}/r", PYTHONIOENCODING=encoding)
    out = process.communicate()[0].decode(encoding)
    assert process.returncode == 0, out
    assert "label_propagation" in out and "Mean" in out and "\u2020" not in out
    assert "±" in (tmp_path / "r" / "report" / "table.md").read_text(encoding="utf-8"), "files are UTF-8 anywhere"


def test_output_that_nobody_reads_stops_nothing(file, tmp_path):
    read, written = os.pipe()
    os.close(read)
    flags = f"--config={file}", f"--workdir={tmp_path}/r"
    process = start("experiments.sweep", *flags, out=written, err=subprocess.PIPE)
    os.close(written)
    errors = process.communicate()[1].decode()
    assert process.returncode == 0 and "Error" not in errors, errors
    assert finished(tmp_path / "r") == [(0, 1)] and (tmp_path / "r" / "report" / "table.md").exists()


def test_output_that_is_closed_stops_nothing(file, tmp_path):
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    line = f'exec "{sys.executable}" -m experiments.sweep "--config={file}" "--workdir={tmp_path}/r" >&- 2>&-'
    assert subprocess.run(["sh", "-c", line], env={**os.environ, "PYTHONPATH": path}).returncode == 0
    assert finished(tmp_path / "r") == [(0, 1)]


@pytest.mark.parametrize("module", ["experiments.sweep", "experiments.train"])
def test_help_asks_no_platform_and_a_missing_one_is_one_line(file, tmp_path, module):
    process = start(module, "--help", JAX_PLATFORMS="nonsense")
    assert b"--config" in process.communicate()[0]
    process = start(module, f"--config={file}", f"--workdir={tmp_path}/r", JAX_PLATFORMS="nonsense")
    out = process.communicate()[0].decode()
    assert process.returncode == 2 and len(out.splitlines()) == 1, out
    assert out.startswith("error: JAX_PLATFORMS=nonsense: no such platform here; set JAX_PLATFORMS=cpu")


def test_train_prints_progress_and_the_result_and_no_log_lines(file, tmp_path):
    process = start("experiments.train", f"--config={file}", f"--workdir={tmp_path}/r", err=subprocess.PIPE)
    out, errors = (text.decode() for text in process.communicate())
    assert process.returncode == 0, errors
    assert [line.partition(":")[0] for line in errors.splitlines()] == ["epoch 3", "epoch 6"]
    assert "2 of 2 seeds train, training loss " in errors
    lines = out.splitlines()
    assert len(lines) == 4 and str(tmp_path / "r") in lines[0] and "accuracy" in lines[1]
    assert "experiments.sweep runs the cells" in lines[0]  # the study has some, and this was none of them


ODD = ["2026-01-01T10:00", "a [b]", "ü {x} $HOME", "100%"]


@pytest.mark.parametrize("name", ODD)
def test_a_study_file_in_a_folder_of_any_name(tmp_path, name):
    place = tmp_path / name
    place.mkdir()
    (place / "study.py").write_text(STUDY)
    for argument, label in (("", "label_propagation"), (":a row", "a row"), (":a:b", "a:b")):
        flags = f"--config={place}/study.py{argument}", f"--workdir={place}/r"
        status, out = tiny.command("experiments.sweep", *flags, "--dry_run", "--config.seeds=3")
        assert status == 0 and out.startswith(label) and "seeds=3" in out, out
    status, out = tiny.command("experiments.sweep", *flags)
    assert status == 0 and finished(place / "r") == [(0, 1)], out


def test_a_tilde_in_an_argument_is_the_home_folder(file, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    status, out = tiny.command("experiments.sweep", "--config=~/study.py", "--workdir=~/r")
    assert status == 0 and finished(tmp_path / "r") == [(0, 1)], out
    assert tiny.command("experiments.report", "--workdir=~/r")[0] == 0
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "study.py, line 1: SyntaxError"),
        ("\nimport a_package_that_is_not_there", "study.py, line 2: ModuleNotFoundError"),
        ("def get_config():\n    return nothing", "study.py, line 2: NameError"),
        (STUDY + "    add({}, label=1 / 0)\n", "study.py, line 11: ZeroDivisionError"),
        ("x = 1", "a study file defines get_config"),
    ],
)
def test_a_mistake_in_a_study_file_is_one_line(tmp_path, text, message):
    (tmp_path / "study.py").write_text(text)
    status, out = tiny.command("experiments.sweep", f"--config={tmp_path}/study.py", f"--workdir={tmp_path}/r")
    assert status == 2 and len(out.splitlines()) == 1 and out.startswith("error: ") and message in out, out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config.data.modalities=('m0','m9')"], "has no modality 'm9'"),
        (["--config.model.dim=many"], "--config.model.dim=many"),
        (["--config.model.rate=2.0"], "model.rate"),
        (["--config.data.name=syntetic"], "did you mean 'synthetic'"),
        (["left over"], "unexpected argument 'left over'"),
        (["--wrkdir=x"], "wrkdir"),
    ],
)
def test_a_mistake_on_the_command_line_or_in_the_config_is_one_line(file, tmp_path, flags, message):
    status, out = tiny.command("experiments.train", f"--config={file}", f"--workdir={tmp_path}/r", *flags)
    assert status == 2 and len(out.splitlines()) == 1 and out.startswith("error: ") and message in out, out


@pytest.mark.parametrize("module", ["experiments.train", "experiments.sweep"])
def test_a_workdir_that_is_a_file_or_cannot_be_written_is_one_line(file, tmp_path, module):
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / ".lock").symlink_to(tmp_path / "file")
    for place, message in (("file", "cannot write results to"), ("linked", "is a symbolic link")):
        status, out = tiny.command(module, f"--config={file}", f"--workdir={tmp_path}/{place}")
        assert status == 2 and len(out.splitlines()) == 1 and message in out, out
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_report_of_a_study_that_cannot_be_written_to_is_printed(file, tmp_path, monkeypatch):
    tiny.command("experiments.sweep", f"--config={file}", f"--workdir={tmp_path}/r")
    for path in (tmp_path / "r" / "report").iterdir():
        path.unlink()
    (tmp_path / "r" / "report").rmdir()
    (tmp_path / "r" / "report").write_text("in the way")
    status, out = tiny.command("experiments.report", f"--workdir={tmp_path}/r")
    assert status == 0 and "| label_propagation |" in out and "written:" not in out, out
    with pytest.warns(UserWarning, match="the report is not written: .*report"):
        assert "| label_propagation |" in report.write(Store(tmp_path / "r"))


def test_the_report_needs_no_platform(file, tmp_path):
    tiny.command("experiments.sweep", f"--config={file}", f"--workdir={tmp_path}/r")
    process = start("experiments.report", f"--workdir={tmp_path}/r", JAX_PLATFORMS="nonsense")
    out = process.communicate()[0].decode()
    assert process.returncode == 0 and "| label_propagation |" in out, out


def test_train_without_a_study_file_takes_the_defaults_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = ["--config.data.name=synthetic", "--config.control.name=label_propagation", "--config.seeds=1"]
    status, out = tiny.command("experiments.train", "--workdir=r", *flags)
    assert status == 0 and finished(tmp_path / "r") == [(0,)], out


FOREIGN = """
import sys
sys.meta_path[:] = [f for f in sys.meta_path if "Editable" not in repr(f)]
import configs, experiments
assert not hasattr(configs, "base") and experiments.__file__.startswith({here!r})
from fusion_jax import study
from fusion_jax.study import defaults
print(study.resolve(defaults.get_config("fusion=gmu")).label)
"""


def test_the_library_does_not_need_packages_of_its_own_beside_it(tmp_path):
    """Where a project has packages `configs` and `experiments` of its own, and ours has only its package installed."""
    for name in ("configs", "experiments"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "fusion_jax").symlink_to(ROOT / "fusion_jax")
    done = subprocess.run(
        [sys.executable, "-c", FOREIGN.format(here=str(tmp_path))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{tmp_path / 'site'}"},
    )
    assert done.returncode == 0 and done.stdout == "gmu\n", done.stderr
