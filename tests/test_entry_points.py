"""A mechanism of an installed package is an entry point: found, counted, and named where it is wrong."""

import sys

import pytest

from fusion_jax import metrics, zoo
from fusion_jax.metrics import _scoring
from fusion_jax.study.freeze import missing
from tests import tiny

MINE = '''"""The sum, of another package."""
from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Info

class {name}(Fusion):
    """out = sum_m x_m."""
    info = Info("none")
    def __init__(self, modalities, dim, *, factor={factor}, rngs):
        pass
'''
METADATA = "Metadata-Version: 2.1\nName: thing\nVersion: {version}\n"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """install({file: text}, {group: [lines]}, version): the package `thing_package`, with these entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def forget():
        zoo._entry_points.cache_clear()
        _scoring._of.cache_clear()
        for name in [name for name in sys.modules if name.partition(".")[0] == "thing_package"]:
            del sys.modules[name]

    def write(files, groups, version="1.0", distribution="thing"):
        about = tmp_path / f"{distribution}.dist-info"
        for folder in (about, tmp_path / "thing_package"):
            folder.mkdir(exist_ok=True)
        (about / "METADATA").write_text(METADATA.format(version=version).replace("thing", distribution))
        listed = "\n".join("\n".join([f"[fusion_jax.{group}]", *lines]) for group, lines in groups.items())
        (about / "entry_points.txt").write_text(listed + "\n")
        (tmp_path / "thing_package" / "__init__.py").write_text("")
        for name, text in files.items():
            (tmp_path / "thing_package" / name).write_text(text)
        for cached in tmp_path.glob("thing_package/__pycache__/*"):
            cached.unlink()
        forget()

    yield write
    forget()


def test_an_entry_point_is_a_mechanism_like_any_other(install):
    install({"mine.py": MINE.format(name="Mine", factor=1.0)}, {"fusion": ["mine = thing_package.mine"]})
    assert "mine" in zoo.names("fusion") and zoo.options("fusion", "mine") == {"factor": 1.0}
    assert zoo.version("fusion", "mine") == [1, "thing 1.0"] and zoo.outside("fusion", "mine")
    assert not zoo.outside("fusion", "mean") and zoo.version("fusion", "mean") == [1]
    assert "fusion/mine" not in missing({"schema 2": {"options": {}}, "later": {}}), "written down are our own only"


def test_its_version_and_every_option_count_in_the_identity(install):
    """A default that changes in the package must not pass for the one of before: no default of it is written down."""

    def identity(factor, version):
        files = {"mine.py": MINE.format(name="Mine", factor=factor)}
        install(files, {"fusion": ["mine = thing_package.mine"]}, version)
        return tiny.cell(model__fusion__name="mine").identity("")

    first = identity(1.0, "1.0")
    assert first == identity(1.0, "1.0")
    assert len({first, identity(2.0, "1.0"), identity(1.0, "1.1")}) == 3


def test_a_name_that_is_taken_is_refused_and_others_are_not(install):
    files = {"mean.py": MINE.format(name="Mean", factor=1.0)}
    install(files, {"fusion": ["mean = thing_package.mean", "mine = thing_package.mean"]})
    message = r"fusion 'mean' is fusion_jax\.fusion\.mean and thing_package\.mean of thing 1\.0; expected one"
    with pytest.raises(ValueError, match=message):
        tiny.cell(model__fusion__name="mean")
    assert zoo.get("fusion", "sum").__module__ == "fusion_jax.fusion.sum"
    install({}, {"fusion": ["mine = thing_package.mean"]}, distribution="other")
    with pytest.raises(ValueError, match=r"fusion 'mine' is thing_package\.mean of .* and thing_package\.mean of "):
        zoo.get("fusion", "mine")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("import nothing_of_that_name", "ModuleNotFoundError: No module named 'nothing_of_that_name'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_one_that_cannot_be_loaded_is_named(install, capsys, text, cause):
    entry = "broken = thing_package.broken"
    install({"broken.py": text}, {"metric": [entry], "fusion": [entry]})
    with pytest.raises(
        ValueError, match=rf"metric 'broken', the entry point thing_package\.broken of thing 1\.0: {cause}"
    ):
        metrics.of("classes")
    with pytest.raises(SystemExit) as stop:
        zoo.main([])
    assert stop.value.code == 2 and "fusion 'broken', the entry point thing_package.broken" in capsys.readouterr().err


def test_one_that_is_no_module_is_named(install):
    install({"mine.py": MINE.format(name="Mine", factor=1.0)}, {"fusion": ["mine = thing_package.mine:Mine"]})
    with pytest.raises(
        ValueError, match=r"fusion 'mine', the entry point thing_package\.mine:Mine .* expected a module"
    ):
        zoo.get("fusion", "mine")
