"""The kind of a file's mechanism, and files that are none."""

import pytest

from fusion_jax.checking import check, kind_of
from tests.checking.mine import RIGHT, write


@pytest.mark.parametrize("kind", list(RIGHT))
def test_it_is_told_by_the_base_or_the_first_argument(kind, tmp_path):
    assert kind_of(write(tmp_path, kind)) == kind


def test_a_name_of_the_catalogue():
    assert kind_of("gmu") == "fusion" and kind_of("mean", "readout") == "readout"
    with pytest.raises(ValueError, match="'gcn' is the name of layer and encoder: say which"):
        kind_of("gcn")
    with pytest.raises(ValueError, match="no mechanism named 'gmuu' .did you mean 'gmu'"):
        kind_of("gmuu")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = (", "mine.py, line 1: SyntaxError: '.' was never closed$"),
        ("\n\nimport no_such_package", "mine.py, line 3: ModuleNotFoundError: No module named 'no_such_package'$"),
        ("def f():\n    return nothing\n\nf()", "mine.py, line 2: NameError"),
        ("raise SystemExit(3)", "mine.py, line 1: SystemExit: 3"),
        ("raise SystemExit()", "mine.py, line 1: SystemExit: it ends the program"),
        ("x = 3", r"named like its file \('.*mine.py'\): expected Mine \(or mine\), found none$"),
        (
            "import re\nclass Gate:\n    pass\n\ndef gated(x):\n    pass",
            r"expected Mine \(or mine\), found Gate, gated$",
        ),
        ("class Mine:\n    pass", "kind of Mine cannot be told: derive a class from one of Fusion, GraphLayer.*--kind"),
        ("def mine(x):\n    pass", "kind of mine cannot be told"),
    ],
)
def test_a_file_that_holds_none_is_one_line(text, message, tmp_path):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(ValueError, match=message) as error:
        kind_of(str(tmp_path / "mine.py"))
    assert "\n" not in str(error.value)


def test_another_kind_than_it_is_is_refused(tmp_path):
    with pytest.raises(ValueError, match="Mine is a fusion, not a layer"):
        check(write(tmp_path, "fusion"), "layer")
    with pytest.raises(ValueError, match="no rules for the kind 'merging'.*; there are: fusion, "):
        check("average", "merging")
    with pytest.raises(FileNotFoundError, match="no mechanism file"):
        check(str(tmp_path / "other.py"))
