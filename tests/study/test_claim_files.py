"""Files that put a paper's claim to the test: what they have to say, and which are found."""

import pytest

from fusion_jax.study.claim_files import claim_studies
from tests import claiming


def test_those_of_a_folder_come_in_the_order_of_their_names(tmp_path):
    (tmp_path / "._alpha.py").write_bytes(b"\0 what a file system leaves beside a file")
    for name in ("zebra", "alpha", "_helper"):
        claiming.write(tmp_path, name)
    found = claim_studies(tmp_path, "quick")
    assert [one.system for one in found] == ["alpha", "zebra"] and found[0].of == (("control", "label_propagation"),)
    assert found[0].source == f"{tmp_path}/alpha.py:quick" and len(found[0].cells) == 2
    assert [one.system for one in claim_studies(tmp_path, only=["zebra"])] == ["zebra"]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('SETTING = "Small."', "", "SETTING=None; expected one sentence"),
        ('SETTING = "Small."', 'SETTING = " "', "SETTING=' '; expected one sentence"),
        ('("control", "label_propagation")', '"label_propagation"', "OF='label_propagation'; expected"),
        ('("control", "label_propagation")', "()", r"OF=\(\); expected"),
        ('("control", "label_propagation")', '("control", "label_propagatoin")', "did you mean 'label_propagation'"),
        ('("control", "label_propagation")', '("controll", "x")', "OF has the kind 'controll'.*did you mean 'control'"),
        ("def claims", "def claim", "no claims"),
        ("    return [dict(", "    return int('x') or [dict(", r"mine\.py, line \d+: ValueError: invalid literal"),
        ("def claims", "MEASURED = ['a']\n\ndef claims", r"MEASURED=\['a'\]; expected"),
        (
            "def claims",
            "MEASURED = {'graph': 'features'}\n\ndef claims",
            "MEASURED has 'graph', which is",
        ),
        ("def claims", "MEASURED = {'a': 'featurse'}\n\ndef claims", "did you mean 'features'"),
        ("def claims", "MEASURED = {'a': 'graph'}\n\ndef claims", r"expected both MEASURED and measured\(cells\)"),
        ("def claims", "QUANTITY = 'share'\n\ndef claims", "QUANTITY='share'; expected a text, what the values of"),
        ("def claims", "def measured(cells): ...\n\ndef claims", r"expected both MEASURED and measured\(cells\)"),
    ],
)
def test_what_a_file_does_not_say_is_named_with_the_file(tmp_path, old, new, said):
    path = claiming.write(tmp_path, "mine", (old, new))
    with pytest.raises(ValueError, match=said) as error:
        claim_studies(tmp_path)
    assert str(path) in str(error.value)


def test_a_folder_without_any_and_a_system_that_is_not_there_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no study of a claim"):
        claim_studies(tmp_path)
    claiming.write(tmp_path, "alpha")
    with pytest.raises(ValueError, match="no claim of 'alpah'.*did you mean 'alpha'"):
        claim_studies(tmp_path, only=["alpah"])


def test_those_that_come_along_are_studies_whose_claims_name_their_rows():
    from fusion_jax.results.claims import resolved

    for argument in ("", "quick"):
        for one in claim_studies(argument=argument):
            assert resolved(one.claims, one.cells, one.path, one.measured)
            assert {cell.seeds for cell in one.cells} == {2} if argument else min(c.seeds for c in one.cells) >= 10
