"""Study files: loaded, or refused by name."""

import types

import pytest

from fusion_jax import study


def test_a_study_file_is_loaded_or_refused_by_name(tmp_path):
    assert hasattr(study.load("configs/ablations/quickstart.py"), "sweep")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'configs/ablations/quickstart.py'"):
        study.load("configs/ablations/quikstart.py")
    (tmp_path / "empty.py").write_text("x = 1\n")
    with pytest.raises(ValueError, match="a study file defines get_config"):
        study.load(str(tmp_path / "empty.py"))


def test_the_file_of_a_study_is_the_one_that_exists(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("study.py", "study.py:x"):
        (tmp_path / name).write_text("")
    assert study.split("study.py") == ("study.py", None)
    assert study.split("study.py:") == ("study.py", "")
    assert study.split("study.py:x") == ("study.py:x", None)
    assert study.split("study.py:x:y") == ("study.py:x", "y")
    assert study.split("study.py:y:z") == ("study.py", "y:z")
    assert study.split("~/study.py:y") == (f"{tmp_path}/study.py", "y")
    assert study.split("absent.py:y") == ("absent.py", "y")


def test_what_is_no_text_of_a_program_is_named(tmp_path):
    (tmp_path / "mine.py").write_bytes(b"x = 1\0\n")
    with pytest.raises(ValueError, match=r"mine\.py(, line \d+)?: .*null bytes"):
        study.load(str(tmp_path / "mine.py"))


def test_what_we_say_ourselves_is_left_as_it_is():
    with pytest.raises(ValueError, match=r"^claims\(\) returned 3; expected a list"), study.mistakes_in("mine.py"):
        study.claims_of(types.SimpleNamespace(claims=lambda: 3))


@pytest.mark.parametrize("status", ["", "0", "'no such folder'"])
def test_a_study_that_ends_the_program_is_a_mistake(tmp_path, status):
    """Else a sweep would end without a word, as if all were done."""
    path = tmp_path / "ends.py"
    path.write_text(f"import sys\n\nsys.exit({status})\n")
    with pytest.raises(ValueError, match=r"ends\.py, line 3: SystemExit: "):
        study.load(str(path))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("c.vary = ('init',)", "no config key 'vary' (it is called 'per_seed' now)"),
        ("c['vary'] = ('init',)", "no config key 'vary' (it is called 'per_seed' now)"),
        ("print(c.match_params)", "no config key 'match_params' (it is called 'size.like' now)"),
        ("c.optimizer.steps = ()", "no config key 'optimizer.steps' (it is called 'optimizer.rate_steps' now)"),
        (
            "o = c.optimizer; o.factors = {}",
            "no config key 'optimizer.factors' (it is called 'optimizer.part_rates' now)",
        ),
        ("c.model.dmi = 3", "no config key 'model.dmi' (did you mean 'model.dim'?)"),
        ("c.seeds = 'many'", "TypeError: Could not override field 'seeds'"),
        (
            "import configs.bsae",
            "ModuleNotFoundError: No module named 'configs.bsae' (the keys a study starts from are in",
        ),
        ("{}['model']", "KeyError: 'model'"),
        ("int('many')", "ValueError: invalid literal for int() with base 10: 'many'"),
        ("open('/nowhere/x')", "FileNotFoundError: [Errno 2] No such file or directory: '/nowhere/x'"),
        ("__import__('numpy').zeros(-1)", "ValueError: negative dimensions"),
    ],
)
def test_a_mistake_in_get_config_is_named_with_its_line(tmp_path, line, message):
    file = tmp_path / "study.py"
    file.write_text(
        f"from fusion_jax.study import defaults\n\ndef get_config():\n    c = defaults.get_config()\n    {line}\n"
    )
    with pytest.raises(ValueError) as refused, study.mistakes_in(file):
        study.load(file).get_config()
    assert str(refused.value).startswith(f"{file}, line 5: {message}") and len(str(refused.value)) < 300
