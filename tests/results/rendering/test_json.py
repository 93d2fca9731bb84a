"""The report for programs: everything, and plain JSON."""

import json

import numpy as np
import pytest

from fusion_jax.results.rendering import json as form
from fusion_jax.results.rendering import table as shared
from tests.rows import known, noisy, row


def test_rows_and_comparisons_are_whole():
    values = noisy(0.75, draw=1)
    rows = [row("concat_mlp", noisy(0.7)), row("gmu", values, seeds=tuple(range(1, 11))), known("theirs", 0.9)]
    held = json.loads(form.as_json("The answer.", rows, [shared.of(rows)]))
    assert held["sentence"] == "The answer." and held["format"] == 1 and len(held["rows"]) == 3
    gmu = held["rows"][1]
    assert gmu["metrics"]["accuracy"]["seeds"] == {str(s): v for s, v in zip(range(1, 11), values, strict=True)}
    assert gmu["metrics"]["accuracy"]["mean"] == pytest.approx(0.75) and gmu["costs"]["parameters"] == 100
    assert held["rows"][2]["metrics"]["accuracy"] == dict(mean=0.9, sd=None) and gmu["role"] == "fusion"
    (c,) = held["comparisons"]
    assert (c["row"], c["baseline"], c["metric"], c["better"]) == (1, 0, "accuracy", True)
    common = values[:-1] - rows[0].values["accuracy"][1:]
    assert c["difference"] == pytest.approx(common.mean()) and len(c["seeds"]) == 9


def test_what_json_lacks_is_null():
    assert form.plain(dict(a=np.nan, b=np.array([1.0, np.inf]), c=np.float32(0.5), d=(1, True), e=None)) == dict(
        a=None, b=[1.0, None], c=0.5, d=[1, True], e=None
    )
    json.loads(form.as_json("x", [row("one", [0.5])], []))
