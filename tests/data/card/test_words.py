"""Sentences and tables of amounts that are given."""

import pytest

from fusion_jax.data.card.sources import GRAPH, OTHERS, OWN
from fusion_jax.data.card.words import sentence, table

NAMES = ("information a", "information b", "joint", "redundant", "unique a", "unique b", "additive", "interaction")


def lines(a, b, where=OWN, p=0.01, **bits):
    """Gaussian lines of a comparison; what is not named is 0 and has p 1."""
    given = {name.replace("_", " "): value for name, value in bits.items()}
    return [
        dict(where=where, a=a, b=b, measure="gaussian", amount=name, bits=v, null=0.0, corrected=v, p=p if v else 1.0)
        for name in (*NAMES, "beyond a", "beyond b")
        for v in [given.get(name, 0.0)]
    ]


def test_sums_and_products_and_the_graph_are_said_with_their_amounts():
    own = lines("x", "z", information_a=0.3, information_b=0.2, joint=0.9, redundant=0.2, interaction=0.5, beyond_a=0.6)
    text = sentence([*own, *lines(OWN, "near", GRAPH, beyond_a=0.25)], 1.0)
    assert text == (
        "Of the 1.00 bits of the target the modalities say at least 0.90, of which x alone says 0.30; 0.50 are in "
        "products of x and z alone, which bilinear and attention fusions reach and late ones do not; in all the others "
        "add 0.60 to x, and neighbours' means add 0.25 to a node's own features."
    )
    sums = lines("x", "z", information_b=0.3, joint=0.5, beyond_b=0.2)
    assert "z alone says 0.30; the others add 0.20 to z, which sums" in sentence(sums, 1.0)


def test_what_is_redundant_and_what_is_unique():
    assert "0.30 are redundant" in sentence(lines("x", "z", information_a=0.4, joint=0.4, redundant=0.3), 1.0)
    text = sentence(lines("x", "z", information_b=0.4, joint=0.4, unique_b=0.4), 1.0)
    assert "z alone says 0.40; 0.40 of them are unique to it" in text


@pytest.mark.parametrize("p,shown", [(0.01, True), (0.02, False)])
def test_the_largest_of_three_comparisons_takes_a_smaller_p(p, shown):
    own = [one for a in "xyz" for one in lines(a, OTHERS, p=p, information_a=0.1, joint=0.5)]
    assert ("say at least 0.50" in sentence(own, 1.0)) == shown


def test_the_table_has_a_star_where_p_is_small_and_a_dash_where_there_is_no_such_amount():
    head, row = table(lines("x", "z", joint=0.25)).splitlines()
    assert head.split()[:4] == ["where", "a", "b", "measure"] and "0.25*" in row and row.endswith("-")
