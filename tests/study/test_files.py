"""Study files: loaded, or refused by name."""

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


@pytest.mark.parametrize("status", ["", "0", "'no such folder'"])
def test_a_study_that_ends_the_program_is_a_mistake(tmp_path, status):
    """Else a sweep would end without a word, as if all were done."""
    path = tmp_path / "ends.py"
    path.write_text(f"import sys\n\nsys.exit({status})\n")
    with pytest.raises(ValueError, match=r"ends\.py, line 3: SystemExit: "):
        study.load(str(path))
