"""The revision that is recorded is the code's, not that of a repository in whose folder it is installed."""

import shutil
import subprocess

import flax
import jax
import pytest

from fusion_jax.results import environment


@pytest.fixture
def placed(tmp_path, monkeypatch):
    """A repository with one file; a copy of the module in a folder of it; and git there."""
    folder = tmp_path / "fusion_jax" / "results"
    folder.mkdir(parents=True)
    copy = folder / "environment.py"
    shutil.copy(environment.__file__, copy)
    (tmp_path / "paper.txt").write_text("mine")

    def git(*args):
        who = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        subprocess.run(("git", *who, *args), cwd=tmp_path, check=True, capture_output=True)

    git("init")
    git("add", "paper.txt")
    git("commit", "-m", "first")
    cached = (environment._in_checkout, environment.revision, environment.environment)
    for function in cached:
        function.cache_clear()
    monkeypatch.setattr(environment, "__file__", str(copy))
    yield git
    for function in cached:
        function.cache_clear()


def test_a_repository_that_does_not_hold_the_package_is_not_its_checkout(placed):
    assert environment.revision() is None
    assert environment.environment()["git_revision"] is environment.environment()["git_dirty"] is None


def test_one_that_does_is(placed):
    placed("add", ".")
    placed("commit", "-m", "second")
    found = environment.environment()
    assert len(found["git_revision"]) == 40 and found["git_dirty"] is False


def test_versions_are_those_that_are_installed():
    found = environment.environment()["versions"]
    assert found["jax"] == jax.__version__ and found["flax"] == flax.__version__
