"""The claims of a study file: what they may say, and how a mistake in one is named."""

import copy
import functools
import types

import pytest

from fusion_jax import study
from fusion_jax.study import Claim

GOOD = dict(claim="gmu beats concat_mlp", better="gmu", than="concat_mlp, before")


def claims(*given, file="mine.py", **more):
    return study.claims_of(types.SimpleNamespace(claims=lambda: list(given)), file, **more)


def test_claims_are_dicts_or_records():
    made = claims(GOOD, dict(GOOD, claim="the same", equivalent=0.01, metric="auc", data="digits"))
    assert made[0] == Claim("gmu beats concat_mlp", "gmu", "concat_mlp, before")
    assert made[1].equivalent == 0.01 and made[1].metric == "auc" and claims(*made) == made
    for margin in ("by", "equivalent"):
        value = getattr(claims({**GOOD, margin: 1})[0], margin)
        assert value == 1.0 and isinstance(value, float)
    assert claims(dict(GOOD, metric="colour: accuracy"))[0].metric == "colour: accuracy"
    assert study.claims_of(types.SimpleNamespace()) == []
    by_argument = types.SimpleNamespace(claims=lambda arg: [dict(GOOD, claim=arg)])
    assert study.claims_of(by_argument, "mine.py", "quick")[0].claim == "quick"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (dict(metrik="auc"), r"no field 'metrik' \(did you mean 'metric'\?\)"),
        (dict(metric="acuracy"), r"metric='acuracy', no such metric \(did you mean 'accuracy'\?\)"),
        (dict(metric="accuracy: acuracy"), r"metric='accuracy: acuracy', no such metric"),
        (dict(by=-0.1), "by=-0.1; expected a number, 0 or more"),
        (dict(equivalent=-0.1), "equivalent=-0.1; expected a number, 0 or more"),
        (dict(by=True), "by=True; expected a number"),
        (dict(by="0.1"), "by='0.1'; expected a number"),
        (dict(by=float("nan")), "by=nan; expected a number"),
        (dict(by=0.1, equivalent=0.1), "by=0.1 and equivalent=0.1; expected one of them"),
        (dict(better=""), "better=''; expected a row"),
        (dict(than=3), "than=3; expected a row"),
        (dict(data=None), "data=None; expected a name"),
    ],
)
def test_a_mistake_names_file_claim_field_and_value(changed, said):
    with pytest.raises(ValueError, match=r"^mine\.py: claims\(\)\[1\] 'other'.*" + said):
        claims(GOOD, {**GOOD, "claim": "other", **changed})


def test_what_is_no_list_of_claims_is_an_error():
    for given, said in (
        ("gmu wins", "returned 'gmu wins'; expected a list"),
        ([3], r"claims\(\)\[0\] is 3; expected a dict"),
        ([dict(GOOD, claim="two\nlines")], "expected a sentence on one line"),
        ([{k: v for k, v in GOOD.items() if k != "than"}], "no field 'than'; a claim has claim, better and than"),
        ([GOOD, GOOD | dict(than="mean")], "two claims say 'gmu beats concat_mlp'"),
    ):
        with pytest.raises(ValueError, match=said):
            study.claims_of(types.SimpleNamespace(claims=functools.partial(copy.copy, given)), "mine.py")


def test_claims_that_are_no_function_are_an_error():
    with pytest.raises(ValueError, match=r"^mine\.py: claims is a list; expected a function: def claims\(\)"):
        study.claims_of(types.SimpleNamespace(claims=[GOOD]), "mine.py")
