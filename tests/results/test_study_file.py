"""A study.json that is valid JSON and no study: the field is named."""

import copy
import dataclasses
import functools
import json
import operator

import pytest

from fusion_jax.folders import Damaged
from fusion_jax.results import claim_record
from fusion_jax.results.store import Store, entry_of
from fusion_jax.results.study_file import checked
from fusion_jax.study import Claim
from tests import tiny

DEEP = json.loads("[" * 900 + "]" * 900)
CLAIM = dataclasses.asdict(Claim("a beats b", "a", "b"))
TUNED = dict(name="x", asked="y", trials=4, chosen={"model.rate": 0.2}, tried=[])
STUDY = json.loads(
    json.dumps(
        dict(
            source="mine.py",
            schema=2,
            cells=[{**entry_of("0" * 16, tiny.cell()), "tuned": TUNED}],
            published=[dict(label="p", source="s", data="d", values=dict(accuracy=[0.9, None]))],
            claims=[dict(sha256=claim_record.digest([CLAIM]), written="now", finished_seeds=0, claims=[CLAIM])],
            looks=dict(plan=[3, 6], taken=[dict(seeds=3, time="now", decided=[], undecided=["c"])]),
        )
    )
)


def changed(*path, to):
    """The study with another value in that place."""
    held = copy.deepcopy(STUDY)
    functools.reduce(operator.getitem, path[:-1], held)[path[-1]] = to
    return held


def test_a_study_is_read_as_it_is():
    assert checked(STUDY, "study.json") == STUDY
    least = dict(cells=[])
    assert checked(least, "study.json") == least, "as the first revisions wrote it"


@pytest.mark.parametrize(
    ("path", "to", "said"),
    [
        (["cells"], {"a": 1}, r"cells is {'a': 1}; expected a list"),
        (["cells"], None, "cells is None; expected a list"),
        (["cells", 0], "x", r"cells\[0\] is 'x'; expected a dictionary"),
        (["cells", 0], {}, r"cells\[0\].id is missing; expected the name of a folder"),
        (["cells", 0, "id"], "../../etc", r"cells\[0\].id is '../../etc'; expected the name of a folder"),
        (["cells", 0, "label"], 3, r"cells\[0\].label is 3; expected a text"),
        (["cells", 0, "label"], "\ud800x", r"cells\[0\].label is '\\ud800x'; expected a text"),
        (["cells", 0, "config", "model", "fusion", "options"], {"a": DEEP}, "lists or dictionaries within each other"),
        (["cells", 0, "seeds"], 10**9, r"cells\[0\].seeds is 1000000000; expected a whole number from 1 to 10000"),
        (["cells", 0, "seeds"], True, r"cells\[0\].seeds is True"),
        (["cells", 0, "config"], [], r"cells\[0\].config is \[\]; expected a dictionary"),
        (["cells", 0, "config", "model"], 3, r"cells\[0\].config.model is 3; expected dict"),
        (["cells", 0, "config", "model", "dim"], "wide", r"cells\[0\].config.model.dim is 'wide'; expected int"),
        (["cells", 0, "config", "model", "dim"], True, r"cells\[0\].config.model.dim is True; expected int"),
        (["cells", 0, "config", "model", "fusion"], {}, r"cells\[0\].config: .*missing.*'name'; expected the keys"),
        (["cells", 0, "config"], {"data": {}}, r"cells\[0\].config: the key 'loss' is missing"),
        (["cells", 0, "config", "loss"], None, r"cells\[0\].config.loss is None; expected dict"),
        (["cells", 0, "tuned"], [], r"cells\[0\].tuned is \[\]; expected a dictionary"),
        (["cells", 0, "tuned", "trials"], "four", r"cells\[0\].tuned.trials is 'four'; expected a whole number"),
        (["cells", 0, "tuned", "chosen"], None, r"cells\[0\].tuned.chosen is None; expected a dictionary"),
        (["published"], {}, "published is {}; expected a list"),
        (["published", 0, "values", "accuracy"], 0.9, r"published\[0\].values.accuracy is 0.9; expected \[mean, stand"),
        (["claims"], {}, "claims is {}; expected a list"),
        (["claims", 0, "claims"], 3, r"claims\[0\].claims is 3; expected a list"),
        (["claims", 0, "finished_seeds"], "0", r"claims\[0\].finished_seeds is '0'"),
        (
            ["claims", 0, "claims", 0, "by"],
            float("nan"),
            r"claims\[0\].claims\[0\] 'a beats b': by=nan; expected a",
        ),
        (
            ["claims", 0, "claims", 0, "by"],
            10**400,
            r"claims\[0\].claims\[0\] 'a beats b': by=1000.*; expected a number",
        ),
        (["claims", 0, "claims", 0, "mertic"], "x", r"claims\[0\].claims\[0\] 'a beats b': no field 'mertic'"),
        (["looks"], [3, 6], r"looks is \[3, 6\]; expected a dictionary"),
        (["looks", "plan"], [3, 1e9], r"looks.plan is \[3, 1000000000.0\]; expected rising whole numbers of seeds"),
        (["looks", "plan"], [3, 10**9], r"looks.plan is .*; expected rising whole numbers of seeds from 2 to 10000"),
        (["looks", "plan"], [6, 3], r"looks.plan is \[6, 3\]"),
        (["looks", "plan"], [], r"looks.plan is \[\]"),
        (["looks", "plan"], list(range(2, 1003)), "looks.plan is .*, at most 1000 of them"),
        (["looks", "taken", 0], 3, r"looks.taken\[0\] is 3; expected a dictionary"),
        (["looks", "taken", 0, "decided"], "c", r"looks.taken\[0\].decided is 'c'; expected a list of texts"),
    ],
)
def test_what_is_wrong_is_named_by_its_field(path, to, said):
    with pytest.raises(Damaged, match=f"^study.json: {said}"):
        checked(changed(*path, to=to), "study.json")


def test_the_store_says_which_file_it_is(tmp_path):
    (tmp_path / "study.json").write_text("[1, 2]")
    with pytest.raises(Damaged, match=r"study\.json: the file is \[1, 2\]; expected a dictionary with a list of cells"):
        Store(tmp_path).read_study()


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({}, r"the config: the key '.*' is missing; expected the keys of a cell's config"),
        ([], r"the file is \[\]; expected the config of a cell"),
        ({**STUDY["cells"][0]["config"], "seeds": "2"}, "the config.seeds is '2'; expected int"),
    ],
)
def test_the_config_of_a_cell_s_own_file_is_held_to_the_same(tmp_path, config, said):
    store = Store(tmp_path, create=True)
    path = store.cell("0" * 16) / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(config))
    with pytest.raises(Damaged, match=said) as error:
        store.config("0" * 16)
    assert str(error.value).startswith(f"{path}: ")
    path.write_text(json.dumps(STUDY["cells"][0]["config"]))
    assert store.config("0" * 16)["model"] == tiny.cell().config["model"]
