"""The checklist's answers are facts of the store: change the fact, and the answer changes."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fusion_jax.results import tables
from fusion_jax.results.rendering import checklist
from fusion_jax.results.rendering import table as shared
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, resolve
from tests import tiny
from tests.rows import noisy


@pytest.fixture
def answers(tmp_path):
    """A function that stores cells, {label: config changes}, and gives {question: (answer, evidence)}."""

    def made(cells, seeds=8, change=lambda row: row, waiting=()):
        store, entries = Store(tmp_path, create=True), []
        for i, (label, changes) in enumerate(cells.items()):
            cell = Cell(resolve(tiny.config(**changes)).config, label, seeds)
            entries.append((f"{i:016x}", cell))
            values = enumerate(noisy(0.7, seeds=seeds, draw=i))
            lines = [(s, "test", "accuracy", v) for s, v in values]
            table = pd.DataFrame(lines, columns=["seed", "part", "metric", "value"])
            if label not in waiting:
                cost = dict(parameters=100 + 50 * i, seconds=1.0, seeds=seeds)
                store.write_part(*entries[-1], tuple(range(seeds)), dict(metrics=table), cost)
        store.write_study(entries, "made by hand")
        rows = [change(row) for row in tables.rows(store)]
        tables_made = [shared.of(group) for group in tables.grouped(rows).values()]
        text = checklist.markdown(store, store.read_study(), rows, tables_made)
        found = {
            i.question: (i.answer, i.evidence) for i in checklist.items(store, store.read_study(), rows, tables_made)
        }
        assert text.count("? | ") == len(found)
        return {key: next(v for q, v in found.items() if key in q) for key in KEYS}

    return made


KEYS = "conditions tuned selected learned several missing size cost code planned claims repeated tested".split()
KEYS += ["no networks", "modality alone", "simple", "without the graph"]
FUSIONS = {"concat_mlp": dict(model__fusion__name="concat_mlp"), "gmu": dict(model__fusion__name="gmu")}


def test_a_bare_study(answers):
    found = answers(FUSIONS)
    assert found["simple"] == ("yes", "concat_mlp; differences are against the baseline")
    assert found["conditions"][0] == "yes" and found["planned"][0] == "yes" and found["claims"][0] == "no"
    assert found["tuned"][0] == "no" and found["selected"][0] == "yes" and found["learned"][0] == "yes"
    assert found["modality alone"] == found["without the graph"] == found["no networks"] == ("no", "there are none")
    assert found["repeated"][1].startswith("8 seeds")
    assert found["tested"][0] == "yes" and "1 comparisons" in found["tested"][1]
    assert found["several"] == ("no", "1: synthetic") and found["missing"] == ("yes", "shares that are taken away: 0.2")
    assert found["size"][0] == "no" and "1.5 times" in found["size"][1]
    assert found["cost"] == ("yes", "parameters, seconds")


def test_what_differs_beside_the_fusion_is_named(answers):
    cells = {**FUSIONS, "gmu": dict(model__fusion__name="gmu", training__epochs=7)}
    assert answers(cells)["conditions"] == ("partly", "they differ in training.epochs too")


def test_what_was_chosen_by_tuning_is_no_other_condition(answers):
    cells = {**FUSIONS, "gmu": dict(model__fusion__name="gmu", model__rate=0.3)}
    chosen = answers(cells, change=lambda row: dataclasses.replace(row, trials=2, chosen={"model.rate": 0.3}))
    assert chosen["conditions"][0] == "yes"


def test_rows_that_stand_beside_the_fusions(answers):
    beside = {
        "m0": dict(data__modalities=("m0",)),
        "no graph": dict(model__layer__name="none"),
        "graph only": dict(data__modalities=("structure",)),
        "forest": dict(control__name="random_forest"),
    }
    found = answers({**FUSIONS, **beside})
    assert found["modality alone"] == ("yes", "m0") and found["without the graph"] == ("yes", "no graph, graph only")
    assert found["no networks"] == ("yes", "forest")


def test_rows_that_are_planned_are_not_said_to_be_none(answers):
    beside = {"m0": dict(data__modalities=("m0",)), "forest": dict(control__name="random_forest")}
    found = answers({**FUSIONS, **beside}, waiting=tuple(beside))
    assert found["no networks"] == ("no", "planned, without a result: forest")
    assert found["modality alone"] == ("no", "planned, without a result: m0")


def test_few_seeds_missing_rows_and_test_selection(answers):
    found = answers(FUSIONS, seeds=3, waiting=("gmu",), change=lambda row: dataclasses.replace(row, protocol="paper"))
    assert found["repeated"][0] == "partly" and "no two-sided Wilcoxon" in found["repeated"][1]
    assert found["planned"] == ("partly", "without a result: gmu")
    assert found["selected"][0] == "no" and found["learned"][0] == "no"
    assert found["tested"] == ("no", "no two rows can be compared") and found["size"][0] == "not known"


def test_the_comparisons_are_those_of_the_correction(answers):
    def without_a_seed(row):
        values = row.values["accuracy"].copy()
        values[0] = np.nan if row.label == "mean" else values[0]
        return dataclasses.replace(row, values=dict(accuracy=values))

    cells = {**FUSIONS, "mean": dict(model__fusion__name="mean")}
    assert answers(cells, change=without_a_seed)["tested"][1].startswith("2 comparisons"), "and the table shows one"
