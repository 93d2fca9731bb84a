"""`fusion-jax tune`: every cell of a study with one budget, from flags."""

import functools
import pathlib

import pytest

from fusion_jax import study
from fusion_jax.results.store import Store
from tests import studies, tiny
from tests.studies import LP, RBF

pytest.importorskip("optuna", reason="the extra [tune]")
real = study.expand
pytestmark = pytest.mark.xdist_group("command-line")


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def tune(tmp_path):
    file = studies.write(tmp_path, LP, RBF)
    return functools.partial(
        tiny.command, "experiments.tune", f"--config={file}", f"--workdir={tmp_path}/results", "--jobs=1"
    )


def test_a_study_is_tuned_from_the_command_line_and_says_what_was_chosen(tune, tmp_path):
    budget = ("--space=control.options.alpha=0.2,0.9", "--sampler=grid", "--tuning_seeds=1")
    status, out = tune(*budget, "--dry_run")
    assert status == 0 and "label_propagation (tuned, 2 trials)" in out and not (tmp_path / "results").exists()
    status, out = tune(*budget)
    assert status == 0, out
    entry = Store(tmp_path / "results").read_study()["cells"][0]
    chosen = entry["tuned"]["chosen"]["control.options.alpha"]
    assert f"control.options.alpha={chosen}" in out and chosen in (0.2, 0.9) and entry["tuned"]["seeds"] == [10000]
    assert "| label_propagation (tuned, 2 trials) |" in (tmp_path / "results/report/table.md").read_text()
    status, out = tune(*budget)
    assert status == 0 and "2 cells, 2 finished before" in out


OWN = """
from fusion_jax.study import tuning

def tune():
    return tuning.tune({"control.options.alpha": (0.2, 0.5, 0.9)}, trials=2, sampler="random", seeds=1)
"""


def listed(folder, more, *flags):
    """What is tuned and how, of the dry run of a study with more lines in its file."""
    file = studies.write(folder, LP)
    pathlib.Path(file).write_text(pathlib.Path(file).read_text().replace("\ndef get_config", f"{more}\ndef get_config"))
    return tiny.command("experiments.tune", f"--config={file}", f"--workdir={folder}/r", "--dry_run", *flags)


def test_a_study_that_says_how_it_is_tuned_is_tuned_so(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr("fusion_jax.study.expand", lambda *given: seen.append(given[-1]) or real(*given))
    status, out = listed(tmp_path, OWN)
    assert status == 0 and "label_propagation (tuned, 2 trials)" in out, out
    listed(tmp_path, OWN, "--trials=3", "--tuning_seeds=2")
    listed(tmp_path, OWN, "--space=control.options.alpha=0.2,0.9", "--sampler=grid")
    listed(tmp_path, OWN, "--sampler=grid")
    found = [(given.trials, given.sampler, len(given.seeds), given.space["control.options.alpha"]) for given in seen]
    assert found == [
        (2, "random", 1, (0.2, 0.5, 0.9)),
        (3, "random", 2, (0.2, 0.5, 0.9)),
        (2, "grid", 1, (0.2, 0.9)),
        (3, "grid", 1, (0.2, 0.5, 0.9)),
    ]


def test_flags_that_no_cell_is_tuned_by_are_a_mistake(tmp_path):
    path = tmp_path / "study.py"
    cell = f"add({LP}, tune={{'control.options.alpha': (0.2, 0.9)}}, trials=2)"
    path.write_text(studies.STUDY.format(cells=cell))
    told = ("experiments.tune", f"--config={path}", f"--workdir={tmp_path}/r", "--dry_run")
    status, out = tiny.command(*told)
    assert status == 0 and "label_propagation (tuned, 2 trials)" in out
    status, out = tiny.command(*told, "--trials=2", "--tuning_seeds=1")
    assert status == 2 and "--trials, --tuning_seeds: every cell of" in out and "says itself how it is tuned" in out


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--space=optimizer.learning_rat=1,2", "no config key 'optimizer.learning_rat'"),
        ("--space=model.rate", "--space=model.rate: expected KEY=VALUE"),
        ("--trials=0", "trials=0, expected a whole number, at least 1"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_trained(tmp_path, flag, said):
    file = studies.write(tmp_path, {})
    status, out = tiny.command("experiments.tune", f"--config={file}", f"--workdir={tmp_path}/results", flag)
    assert status == 2 and out.startswith("error:") and said in " ".join(out.split())
    assert not list(tmp_path.glob("results/cells/*"))
