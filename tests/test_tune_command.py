"""`fusion-jax tune`: every cell of a study with one budget, from flags."""

import functools

import pytest

from fusion_jax.results.store import Store
from tests import studies, tiny
from tests.studies import LP, RBF

pytest.importorskip("optuna", reason="the extra [tune]")
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
