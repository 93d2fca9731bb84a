"""Pairs of nodes as rows: what is refused, and which of them are held out."""

import dataclasses

import numpy as np
import pytest

from fusion_jax import tasks
from fusion_jax.records import Target
from tests.tasks.targets import ROWS, dataset, target


def changed(**fields) -> Target:
    return dataclasses.replace(target("links"), **fields)


def swapped(pairs, row, by):
    pairs = pairs.copy()
    pairs[row] = by
    return pairs


HELD = target("links")
LINK, OTHER = int(np.flatnonzero(HELD.labels)[0]), int(np.flatnonzero(~HELD.labels)[0])
BAD = {
    "a node that is not there": (
        dict(pairs=swapped(HELD.pairs, 3, [0, ROWS])),
        r"row 3 holds \[0, 120\]; expected nodes in",
    ),
    "negative": (dict(pairs=swapped(HELD.pairs, 3, [-1, 0])), "nodes from -1 to 119"),
    "one node": (dict(pairs=swapped(HELD.pairs, 3, [5, 5])), r"row 3 holds \[5, 5\]; expected two nodes"),
    "a pair twice": (
        dict(pairs=swapped(HELD.pairs, 7, HELD.pairs[2][::-1])),
        "row 7 is row 2 again; expected every pair once",
    ),
    "an edge that is no link": (
        dict(labels=HELD.labels & (np.arange(ROWS) != LINK)),
        f"row {LINK}, .* is no link; expected a link: edge set 'ring'",
    ),
    "floats": (dict(pairs=HELD.pairs.astype(float)), "expected node numbers"),
    "three nodes": (dict(pairs=np.zeros((ROWS, 3), int)), r"\(120, 3\); expected node numbers"),
    "fewer pairs": (dict(pairs=HELD.pairs[:5]), "5 pairs; expected 120, one a label"),
    "two outputs": (dict(num_outputs=2), "num_outputs: 2; expected 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_target_of_links_is_refused(case):
    fields, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        dataset("links", target=changed(**fields))


def test_links_are_of_an_edge_set_and_have_no_names():
    with pytest.raises(ValueError, match="default_graph: none; expected one, where links are labelled"):
        dataset("links", default_graph="")
    with pytest.raises(ValueError, match="class_names: 2 names; expected none"):
        dataset("links", class_names=("no", "yes"))


def test_every_part_has_both_kinds():
    links, others = np.flatnonzero(HELD.labels), np.flatnonzero(~HELD.labels)
    parts = {part: np.sort([links[i], others[i]]) for i, part in enumerate(("train", "val", "test"))}
    tasks.of(HELD).check_split(HELD, parts, "here")
    for part in parts:
        for kind, what in ((links[5], "pair without a link"), (others[5], "link")):
            with pytest.raises(ValueError, match=f"here: the {part} part has no {what}; expected at least one"):
                tasks.of(HELD).check_split(HELD, {**parts, part: np.array([kind])}, "here")


def test_all_pairs_but_those_of_training_are_held_out():
    pairs, held = tasks.of(HELD).links(HELD, np.array([0, 2]))
    assert pairs is HELD.pairs
    np.testing.assert_array_equal(held, HELD.pairs[[1, *range(3, ROWS)]])
    assert tasks.of("classes").links(target("classes"), np.array([0])) is None
