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
