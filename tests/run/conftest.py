"""Studies are run as users run them; study files and mechanisms that a test writes."""

import functools
import sys

import pytest

import fusion_jax.controls
import fusion_jax.fusion
from tests import studies, tiny


@pytest.fixture(scope="module", autouse=True)
def settings():
    with tiny.as_users_run():
        yield


@pytest.fixture
def study_file(tmp_path):
    """write(*cells): a study file of these changes of the tiny cell."""
    return functools.partial(studies.write, tmp_path)


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    """A folder whose files are found as controls and fusions, as if they lay in the package; write(name, text)."""
    folder = tmp_path / "scratch"
    folder.mkdir()

    def write(kind, name, text):
        package = dict(control=fusion_jax.controls, fusion=fusion_jax.fusion)[kind]
        if str(folder) not in package.__path__:
            monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder)])
        (folder / f"{name}.py").write_text(text)
        sys.modules.pop(f"{package.__name__}.{name}", None)
        for cached in folder.glob("__pycache__/*"):
            cached.unlink()

    yield write
    for file in folder.glob("*.py"):
        for package in (fusion_jax.controls, fusion_jax.fusion):
            sys.modules.pop(f"{package.__name__}.{file.stem}", None)
