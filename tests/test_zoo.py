"""The catalogue: a new file is found by its name, a wrong word is answered with the nearest right one."""

import importlib
import json
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

import fusion_jax.fusion
from fusion_jax import zoo

SCRATCH = '''
"""Half the sum of the present modalities, a mechanism for this test."""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.records import Fused, Info


class ScratchHalf(Fusion):
    """out = factor sum_m x_m."""

    info = Info("Nobody, A paper", 2001, cost="O(N M D)")

    def __init__(self, modalities: int, dim: int, *, factor: float = 0.5, rngs: nnx.Rngs):
        self.factor = factor

    def node(self, x, mask, context):
        return Fused(self.factor * x.sum(0))
'''


@pytest.fixture
def new_file(tmp_path, monkeypatch):
    """Gives the fusion folder a second place, with one file in it, and takes it away again."""
    monkeypatch.setattr(fusion_jax.fusion, "__path__", [*fusion_jax.fusion.__path__, str(tmp_path)])

    def add(name: str, text: str):
        (tmp_path / f"{name}.py").write_text(text)
        importlib.invalidate_caches()

    yield add
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(f"fusion_jax.fusion.{path.stem}", None)
        vars(fusion_jax.fusion).pop(path.stem, None)


def test_a_new_file_is_a_new_mechanism(new_file):
    before = zoo.names("fusion")
    new_file("scratch_half", SCRATCH)
    assert zoo.names("fusion") == sorted([*before, "scratch_half"])
    (entry,) = [r for r in zoo.catalogue() if r["name"] == "scratch_half"]
    assert entry["kind"] == "fusion" and entry["year"] == 2001 and entry["options"] == {"factor": "0.5"}
    assert entry["summary"] == "Half the sum of the present modalities, a mechanism for this test."
    made = zoo.make("fusion", "scratch_half", 2, 3, options=dict(factor=2.0), rngs=nnx.Rngs(0))
    x, mask = np.ones((4, 2, 3)), np.array([[1, 1], [1, 0], [0, 1], [0, 0]], bool)
    np.testing.assert_array_equal(made(x, mask).out, 2.0 * mask.sum(-1, keepdims=True) * np.ones(3))
    with pytest.raises(ValueError, match="no option 'facto'.*did you mean 'factor'"):
        zoo.make("fusion", "scratch_half", 2, 3, options=dict(facto=2.0), rngs=nnx.Rngs(0))


def test_helper_files_are_no_mechanisms(new_file):
    before = zoo.names("fusion")
    new_file("_scratch_pieces", '"""Shared pieces."""')
    assert zoo.names("fusion") == before
    assert "base" not in before and not any(n.startswith("_") for n in before)


def test_a_file_without_its_mechanism_is_an_error(new_file):
    """An imported class of that name is not the file's own."""
    new_file("scratch_sum", '"""Sums."""\nfrom fusion_jax.fusion.sum import Sum as ScratchSum\n')
    with pytest.raises(ValueError, match="fusion.scratch_sum defines no class or function named like"):
        zoo.get("fusion", "scratch_sum")


def test_unknown_words_name_the_nearest():
    with pytest.raises(ValueError, match="no kind 'fusoin'.*did you mean 'fusion'.*there are: .*layer"):
        zoo.names("fusoin")
    with pytest.raises(ValueError, match="no fusion named 'concat_mpl'.*did you mean 'concat_mlp'.*gmu"):
        zoo.get("fusion", "concat_mpl")
    with pytest.raises(ValueError, match="'concat_mlp' has no option 'hiden'.*did you mean 'hidden'.*rate"):
        zoo.make("fusion", "concat_mlp", 2, 3, options=dict(hiden=4), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="'mean' has no option 'rate'.*its options: none"):
        zoo.check_options("fusion", "mean", dict(rate=0.1))


def test_a_word_near_nothing_gets_no_suggestion():
    with pytest.raises(ValueError) as error:
        zoo.get("fusion", "zzzzqqqq")
    assert "did you mean" not in str(error.value) and "concat_mlp" in str(error.value)


def test_base_and_helpers_cannot_be_asked_for():
    for name in ("base", "_pooling"):
        with pytest.raises(ValueError, match=f"no fusion named '{name}'"):
            zoo.get("fusion", name)


def test_options_are_the_keyword_arguments_with_defaults():
    """Of a module's constructor and of a function alike; `rngs` has no default and is none."""
    assert zoo.options("fusion", "concat_mlp") == {"hidden": None, "out_dim": None, "rate": 0.0}
    assert zoo.options("fusion", "sum") == {}
    assert zoo.options("loss", "cross_entropy").items() >= {"smoothing": 0.0, "streams": 0.0}.items()
    assert zoo.options("scheme", "modality_dropout") == {"rate": 0.2}


def test_whole_numbers_are_those_annotated_as_such_in_words_or_as_types(new_file):
    assert zoo.whole("fusion", "visor") == {"layers": False, "heads": False, "hidden": True, "budget": True}
    assert zoo.whole("fusion", "mmtm") == {}  # a ratio of 2.5 is one, though the default is 4
    new_file("scratch_half", SCRATCH.replace("factor: float = 0.5", "factor: int = 1, other: int | None = None"))
    assert zoo.whole("fusion", "scratch_half") == {"factor": False, "other": True}


def test_command_prints_json():
    here = {(k, n) for k in zoo.KINDS for n in zoo.names(k)}
    command = [sys.executable, "-m", "fusion_jax.zoo", "--json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert here <= {(r["kind"], r["name"]) for r in rows}
    mlp = next(r for r in rows if r["name"] == "concat_mlp")
    assert mlp["placements"] == ["before", "after", "decision"] and mlp["golden"] == "forum-selfattention"
    assert mlp["options"] == {"hidden": "None", "out_dim": "None", "rate": "0.0"}


def test_command_keeps_to_a_kind(capsys):
    zoo.main(["--json", "--kind", "layer"])
    rows = json.loads(capsys.readouterr().out)
    assert {r["kind"] for r in rows} == {"layer"} and len(rows) == len(zoo.names("layer"))
    zoo.main(["--kind", "layer"])
    table = capsys.readouterr().out
    assert all(name in table for name in zoo.names("layer"))
    for kind in ("task", "metric"):
        zoo.main(["--kind", kind])
        table = capsys.readouterr().out
        assert f"{len(zoo.names(kind))} {kind}s" in table and all(name in table for name in zoo.names(kind))
    with pytest.raises(SystemExit):
        zoo.main(["--kind", "laye"])
    assert "laye" in capsys.readouterr().err


def test_command_shows_the_page_of_a_mechanism_in_every_kind_that_has_one(capsys):
    zoo.main(["--name", "hff_net"])
    fusion, scheme = capsys.readouterr().out.split("\n\nscheme hff_net\n")
    assert fusion.startswith("fusion hff_net\n") and "needs:      graph, outputs\n" in fusion
    assert "levels=4, " in fusion and "year:       2025\n" in fusion  # what it is, in numbers
    assert "\nArgs:\n    levels: " in fusion and "Reference: " in fusion  # what its options mean, and where it is from
    assert "warmup=40" in scheme and "    warmup: epochs before the reset" in scheme and "placements" not in scheme
    zoo.main(["--kind", "loss", "--name", "tmc"])
    assert capsys.readouterr().out.count("paper:") == 1
    with pytest.raises(SystemExit):
        zoo.main(["--name", "concat_mpl"])
    assert "no mechanism named 'concat_mpl' (did you mean 'concat_mlp'?)" in capsys.readouterr().err


def test_an_analysis_says_what_it_is_asked_of():
    found = {row["name"]: row["of"] for row in zoo.catalogue(["analysis", "fusion"])}
    assert found["cost_against_score"] == ["a finished study"] and found["gmu"] == []
    assert found["skipped_mixers"][0] == "a finished cell"
    assert found["skipped_mixers"][1].startswith("such as fusion.name=deconstructing_attention, mixer.name=")
