"""What every analysis keeps to, those of a user's own files too."""

import functools
import inspect
import json

import pandas as pd
import pytest

from fusion_jax import folders, zoo
from fusion_jax.analysis import analyse, subject
from fusion_jax.analysis.base import SUBJECTS
from fusion_jax.results.restore import restore
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run, command

QUICK = dict(repeats=2, examples=12, epochs=1, steps=5, fusion_epochs=1)  # for analyses that have such options

OF_A_CELL = '''
"""The largest logit of every class, for this test."""

import pandas as pd

from fusion_jax.analysis.base import Report
from fusion_jax.records import Info

INFO = Info("Nobody, A paper", 2001, cost="O(N C)")
OF = "cell"


def largest_logits(cell, place, *, scale: float = 1.0, classes: tuple[int, ...] = ()):
    found = scale * cell.prediction(place).max(0)
    kept = classes or range(len(found))
    table = pd.DataFrame({"class": list(kept), "logit": [float(found[c]) for c in kept]})
    lean = {"largest logit": {cell.seeds[place]: float(found.max())}}
    return Report({"logits": table}, f"The largest logit is {found.max():.3f}.", columns=lean)
'''
OF_A_STUDY = '''
"""How many cells a study has, for this test."""

import pandas as pd

from fusion_jax.analysis.base import Report
from fusion_jax.records import Info

INFO = Info("Nobody, A paper", 2001, cost="O(1)")
OF = "study"


def counted_cells(store, *, at_least: int = 1):
    cells = store.read_study()["cells"]
    if len(cells) < at_least:
        raise ValueError(f"counted_cells: {len(cells)} cells, expected at least {at_least}")
    return Report({"cells": pd.DataFrame(dict(cell=[c["id"] for c in cells]))}, f"There are {len(cells)} cells.")
'''
OWN = {
    "largest_logits.py": OF_A_CELL,
    "counted_cells.py": OF_A_STUDY,
    "undecided.py": OF_A_STUDY.replace("OF =", "IN =").replace("counted_cells(", "undecided("),
}


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("mine")
    for file, text in OWN.items():
        (place / file).write_text(text)
    return place


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    return train_cells(tmp_path_factory.mktemp("analyses"), [tiny_cell(), tiny_cell(seeds=1, model__dim=6)])


@pytest.fixture(scope="module")
def asked(trained, tmp_path_factory):
    """name -> a store and identities of cells that the analysis is for."""

    @functools.cache
    def find(name):
        keys = getattr(zoo.module("analysis", name), "CHECKED_WITH", None)
        if keys is None:
            return trained
        each = [keys] if isinstance(keys, dict) else keys
        cells = [tiny_cell(**{key.replace(".", "__"): value for key, value in one.items()}) for one in each]
        return train_cells(tmp_path_factory.mktemp("its_cell"), cells)

    return find


@pytest.fixture(params=[*zoo.names("analysis"), "largest_logits.py", "counted_cells.py"])
def name(request, folder):
    return str(folder / request.param) if zoo.is_path(request.param) else request.param


def quick(name):
    return {k: v for k, v in QUICK.items() if k in zoo.options("analysis", name)}


def test_an_analysis_says_what_it_is_of_its_source_and_its_options(name):
    assert subject(name) in SUBJECTS
    info, ask = zoo.info("analysis", name), zoo.get("analysis", name)
    assert info.paper and info.cost
    places, options = [], []
    for p in inspect.signature(ask).parameters.values():
        (options if p.kind is p.KEYWORD_ONLY else places).append(p)
    assert [p.name for p in places] == (["cell", "place"] if subject(name) == "cell" else ["store"])
    assert all(p.default is not p.empty for p in options)


def test_an_analysis_changes_nothing_and_says_the_same_twice(name, asked):
    store, identities = asked(name)
    which = dict(cell=identities[0]) if subject(name) == "cell" else {}
    before = {k: v for k, v in folders.digests(store.root).items() if "/analyses/" not in f"/{k}"}
    first, place = analyse(store, name, quick(name), **which)
    after = {k: v for k, v in folders.digests(store.root).items() if "/analyses/" not in f"/{k}"}
    assert after == before
    second, _ = analyse(store, name, quick(name), **which)
    assert first.tables and first.sentence == second.sentence and first.note == second.note
    for table, frame in first.tables.items():
        pd.testing.assert_frame_equal(frame, second.tables[table], check_exact=True)
    about = store.cell(identities[0]) if which else store.root
    assert place == about / "analyses" / zoo.short(name)
    expected = [*(f"{t}.csv" for t in first.tables), *(f"{f}.png" for f in first.figures), "analysis.json", "report.md"]
    assert sorted(path.name for path in place.iterdir()) == sorted(expected)


def test_without_a_name_the_command_lists_the_analyses(tmp_path):
    status, text = command("experiments.analyse", f"--workdir={tmp_path}")
    assert status == 2 and "--analysis=NAME is missing; there are: attention_patterns, budgets" in text


def test_an_analysis_in_a_file_of_ones_own_is_one_file(trained, folder):
    store, identities = trained
    where = f"--workdir={store.root}"
    mine = [f"--analysis={folder}/largest_logits.py", f"--cell={identities[0]}", "--seed=1"]
    status, text = command("experiments.analyse", where, *mine, "--option=scale=2", "--option=classes=2,0", "--json")
    assert status == 0, text
    found, cell = json.loads(text), restore(store, identities[0])
    logits = 2 * cell.prediction(1).max(0)
    assert found["tables"]["logits"] == [{"class": c, "logit": float(logits[c])} for c in (2, 0)]
    assert found["columns"] == {"largest logit": {"1": float(logits.max())}}
    held = json.loads((store.cell(identities[0]) / "analyses" / "largest_logits" / "analysis.json").read_text())
    assert held["options"] == {"scale": 2.0, "classes": [2, 0]} and held["seed"] == 1
    text = command("experiments.analyse", where, *mine, "--option=classes=1", "--json")[1]
    assert [row["class"] for row in json.loads(text)["tables"]["logits"]] == [1]
    command("experiments.analyse", where, *mine)
    held = json.loads((store.cell(identities[0]) / "analyses" / "largest_logits" / "analysis.json").read_text())
    assert held["options"] == {"scale": 1.0, "classes": []}  # defaults are said too
    status, text = command("experiments.analyse", where, f"--analysis={folder}/counted_cells.py")
    assert status == 0 and text.startswith("There are 2 cells.") and "analyses/counted_cells/analysis.json" in text


def test_without_a_seed_the_best_by_validation_is_looked_at(trained):
    cell = restore(trained[0], trained[1][0])
    scores = [cell.validation_score(i) for i in range(2)]
    assert cell.place() == scores.index(max(scores)) and cell.place(1) == 1


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--analysis=gcvav"], "no analysis named 'gcvav' (did you mean 'gcav'?)"),
        (["--analysis=gcav", "--option=stepz=3"], "has no option 'stepz' (did you mean 'steps'?)"),
        (["--analysis=gcav", "--option=steps"], "--option=steps: expected NAME=VALUE"),
        (["--analysis=gcav", "--option=steps=few"], "'gcav.steps' is 'few', expected an int such as 1000"),
        (["--analysis=gcav", "--option=steps=1.5"], "'gcav.steps' is 1.5, expected a whole number"),
        (["--analysis=gcav", "--option=examples=[3]"], "'gcav.examples' is (3,), expected a whole number"),
        (["--analysis=gcav", "--option=regularisation=1,2"], "'gcav.regularisation' is (1, 2), expected a float"),
        (["--analysis=gcav"], "holds 2 finished cells, name one with --cell=ID"),
        (["--analysis=cost_against_score", "--cell=0"], "is of a whole study: name neither a cell nor a seed"),
        (["--analysis={folder}/undecided.py"], "OF=None in its file, expected one of ('cell', 'study')"),
        (["--analysis={folder}/counted_cells.py", "--option=at_least=3"], "2 cells, expected at least 3"),
    ],
)
def test_what_is_misspelt_or_cannot_be_is_named(trained, folder, flags, message):
    given = [flag.format(folder=folder) for flag in flags]
    status, text = command("experiments.analyse", f"--workdir={trained[0].root}", *given)
    assert status == 2 and message in text and text.startswith("error: "), text
