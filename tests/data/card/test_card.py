"""The card as a whole: what it compares, its sentence on planted data, the command."""

import dataclasses
import json

import numpy as np
import pytest

from fusion_jax import data
from fusion_jax.data import __main__ as command
from fusion_jax.data.card import GRAPH, NEAR, OTHERS, OWN, card
from tests import folders


def made(nodes=500, **options):
    return data.load("synthetic", modalities=2, dim=9, nodes=nodes, **options)


def test_it_compares_pairs_one_and_the_others_and_the_graph():
    found = card(data.load("synthetic", nodes=100), permutations=19)
    pairs = {(one["where"], one["a"], one["b"]) for one in found.lines}
    names = ["m0", "m1", "m2"]
    expected = {(w, a, b) for w in (OWN, NEAR) for a in names for b in names if a < b}
    assert pairs == expected | {(w, a, OTHERS) for w in (OWN, NEAR) for a in names} | {(GRAPH, OWN, NEAR)}
    assert {one["measure"] for one in found.lines} == {"gaussian", "clusters"}
    without = card(made(degree=0), permutations=19)
    assert {one["where"] for one in without.lines} == {OWN} and "neighbours" not in without.sentence


@pytest.mark.parametrize(
    "knobs,said",
    [
        (dict(redundant=1, unique=0, synergy=0, noise=0.05), "are redundant, said by others too"),
        (dict(redundant=0, unique=0.8, synergy=0, nodes=1200), "which sums of what each says reach"),
        (dict(redundant=0, unique=0, synergy=1), "in products of m0 and m1 alone"),
        (dict(redundant=0, unique=0, synergy=0), "show nothing that the modalities themselves say"),
    ],
    ids=["redundant", "unique", "synergy", "nothing"],
)
def test_the_sentence_says_which_fusions_reach_what_is_planted(knobs, said):
    found = card(made(degree=0, **knobs), permutations=19)
    assert said in found.sentence and "\n" not in found.sentence


def test_neighbours_of_ones_class_add_and_others_do_not():
    assert "neighbours' means add" in card(made(homophily=0.95, unique=0.8), permutations=19).sentence
    assert "neighbours are not shown" in card(made(homophily=1 / 3, redundant=1, unique=0), permutations=19).sentence


def test_too_few_permutations_are_refused():
    with pytest.raises(ValueError, match="permutations=5, expected at least 19"):
        card(made(), permutations=5)


def test_the_command_prints_it(capsys):
    flags = ["--card", "--name=synthetic", "--option=nodes=120", "--option=modalities=2", "--option=degree=0"]
    command.main(flags)
    text = capsys.readouterr().out
    assert "36 training rows were looked at" in text and "m0" in text
    command.main([*flags, "--json", "--split_seed=1"])
    found = json.loads(capsys.readouterr().out)
    assert found["name"] == "synthetic" and found["seed"] == 1 and found["lines"][0]["amount"] == "information a"


@pytest.mark.parametrize(
    "flags,message",
    [
        (["--card"], "--card goes with one of --name and --folder"),
        (["--name=digits"], "--name and --option go with --card"),
        (["--card", "--name=synthetic", "--option=nodez=5"], "no option 'nodez' (did you mean 'nodes'?)"),
        (["--card", "--name=synthetic_graphs"], "card is for classes or values of nodes"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(capsys, flags, message):
    with pytest.raises(SystemExit) as ended:
        command.main(flags)
    assert ended.value.code == 2 and message in capsys.readouterr().err


def test_one_modality_that_alone_knows_is_said_to_be_unique():
    knows = made(redundant=0, unique=1, synergy=0, degree=0)
    noise = np.random.default_rng(0).normal(size=(500, 5)).astype(np.float32)
    alone = dataclasses.replace(knows, features={"m0": noise, "m1": knows.features["m1"]})
    text = card(alone, permutations=19).sentence
    assert "of which m1 alone says" in text and "of them are unique to it" in text


def test_the_command_reads_a_folder_of_tables(tmp_path, capsys):
    command.main([f"--folder={folders.write(tmp_path / 'mine')}", "--card"])
    text = capsys.readouterr().out
    assert text.startswith("data set 'mine'\n") and "training rows were looked at" in text
