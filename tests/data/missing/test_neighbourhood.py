"""Whole neighbourhoods lose a modality: who lost it has neighbours that lost it."""

import numpy as np
import pytest

from fusion_jax.data.missing.neighbourhood import neighbourhood
from tests.data.missing.nodes import made


def test_on_separate_stars_whole_stars_are_lost():
    """Twenty stars of five nodes: whoever is drawn, what follows is the centre, or the centre's star."""
    n = 100
    centre = np.arange(n) // 5 * 5
    leaves = np.arange(n) != centre
    nodes = made(n, lacks=0.0, senders=np.arange(n)[leaves], receivers=centre[leaves])
    gone = neighbourhood(nodes, np.random.default_rng(0), rate=0.4)
    assert (gone.sum(0) == 40).all()
    for m in range(3):
        lost = gone[:, m].reshape(20, 5)
        assert lost[lost.any(1), 0].mean() > 0.9  # but where the last one is cut off, the centre is always among them
        assert (lost[:, 1:].any(1) <= lost[:, 0]).sum() >= 19
    assert (gone[:, 0] != gone[:, 1]).any()


def test_lost_nodes_have_lost_neighbours_more_than_by_chance():
    nodes = made(1000, lacks=0.0)
    gone = neighbourhood(nodes, np.random.default_rng(0), rate=0.3)[:, 0]
    both = gone & np.roll(gone, 1)
    assert both.mean() > 2 * 0.3**2


def test_without_a_graph_it_is_refused():
    with pytest.raises(ValueError, match="data set 'here' has no graph"):
        neighbourhood(made(20, senders=None, receivers=None), np.random.default_rng(0))
