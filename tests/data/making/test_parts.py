"""Splits that a table states, and splits that are drawn among the nodes with a label."""

import numpy as np
import pandas as pd
import pytest

from fusion_jax.data.base import Dataset
from tests import folders

TABLES = folders.planted(nodes=60)
NAMES = TABLES["labels"].id.to_numpy()
WORDS = np.array(["train"] * 30 + ["val"] * 10 + ["test"] * 15 + [""] * 5)


def made(split=None, labels=None, **options) -> Dataset:
    features = {m: TABLES[m] for m in ("genes", "clinical")}
    return Dataset.from_tables(
        features, TABLES["labels"] if labels is None else labels, None, split, graph="none", **options
    )


def stated(words, **more) -> pd.DataFrame:
    return pd.DataFrame({"id": NAMES, "part": words, **more}).sample(frac=1, random_state=0)


def test_a_table_or_a_column_states_the_split_by_id():
    for data in (
        made(stated(WORDS)),
        made(stated(np.char.upper(WORDS))),
        made(stated(np.where(WORDS == "val", "validation", WORDS))),
        made(labels=TABLES["labels"].assign(split=WORDS)),
        made("fold", labels=TABLES["labels"].assign(fold=WORDS), target="label"),
    ):
        for seed in (0, 5):
            split = data.split(seed)
            assert [len(part) for part in vars(split).values()] == [30, 10, 15]
            assert split.test.tolist() == list(range(40, 55)), "in the order of ids"
        assert data.splits.fixed and data.target.kind == "classes"


def test_without_validation_rows_a_fifth_of_training_validates():
    data = made(stated(np.where(WORDS == "val", "train", WORDS)))
    assert [len(part) for part in vars(data.split(0)).values()] == [32, 8, 15]
    assert "20% of the training rows validate" in data.conversion.text()


def test_several_columns_are_one_split_a_seed():
    data = made(pd.DataFrame({"id": NAMES, "s0": WORDS, "s1": WORDS[::-1]}))
    assert data.split(0).train.tolist() == list(range(30)) and data.split(1).train.tolist() == list(range(30, 60))
    with pytest.raises(ValueError, match="split states the splits of seeds 0 to 1, none of seed 2"):
        data.split(2)


def test_drawn_splits_are_of_labelled_nodes_class_by_class():
    labels = TABLES["labels"].copy()
    labels.loc[::4, "label"] = ""
    data = made(labels=labels, train=0.5, val=0.25)
    for seed in range(3):
        split = data.split(seed)
        assert data.labelled[np.concatenate([*vars(split).values()])].all()
        known = np.bincount(data.target.labels[data.labelled])
        assert np.bincount(data.target.labels[split.train]).tolist() == [round(0.5 * n) for n in known.tolist()]
    few = made(labels=labels, per_class=3).split(1)
    assert np.bincount(data.target.labels[few.train]).tolist() == [3, 3, 3]
    assert made(labels=labels).conversion.facts["unlabelled"] == 15


@pytest.mark.parametrize(
    ("split", "message"),
    [
        (
            stated(np.where(WORDS == "val", "vla", WORDS)),
            "split, column 'part', row .*: 'vla'; expected train, val, test or",
        ),
        (stated(np.where(WORDS == "test", "", WORDS)), "split, column 'part': no labelled node is in the part 'test'"),
        (stated(WORDS).assign(id=[f"x{i}" for i in range(60)]), "split: none of its ids .* is one of the nodes'"),
    ],
)
def test_what_a_split_cannot_say_is_named(split, message):
    with pytest.raises(ValueError, match=message):
        made(split)


def test_too_many_classes_for_a_split_are_said():
    with pytest.raises(ValueError, match="split of seed 0: .*task='values' takes labels for values to be predicted"):
        made(labels=TABLES["labels"].assign(label=range(60)))
