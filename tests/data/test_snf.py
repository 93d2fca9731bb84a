"""Similarity network fusion beyond its golden numbers: who is missing, one modality, who arrives, edge sets of data."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from fusion_jax.data import Dataset, load, snf
from fusion_jax.data.graphs import FromFeatures, fused, fused_recipe, grow, neighbour_graphs
from fusion_jax.data.stored import pack, unpack
from fusion_jax.training.inductive import check

RNG = np.random.default_rng(0)
LABELS = np.arange(60) % 3


def views(noise: float = 1.0) -> dict[str, np.ndarray]:
    """Two modalities, each of which tells one class from the two others."""
    first = (LABELS == 0)[:, None] * np.full(4, 3.0)
    second = (LABELS == 1)[:, None] * np.full(5, 3.0)
    return {"b": first + noise * RNG.normal(size=(60, 4)), "a": second + noise * RNG.normal(size=(60, 5))}


def same_class(g) -> float:
    return float(np.mean(LABELS[g.senders] == LABELS[g.receivers]))


def test_the_fused_network_tells_what_neither_modality_tells_alone():
    x, mask = views(), np.ones((60, 2), bool)
    made = neighbour_graphs(x, mask, 5, fuse=True)
    assert same_class(made["snf"]) > max(same_class(made["knn_b"]), same_class(made["knn_a"])) + 0.05
    weight = made["snf"].edges["weight"]
    assert weight.max() == 1 and weight.min() > 0
    pairs = set(zip(made["snf"].senders.tolist(), made["snf"].receivers.tolist(), strict=True))
    assert pairs == {(r, s) for s, r in pairs} and all(s != r for s, r in pairs)
    assert np.bincount(made["snf"].receivers, minlength=60).min() >= 5


def test_what_is_missing_has_no_influence_and_a_node_without_anything_no_edge():
    x, mask = views(), RNG.random((60, 2)) < 0.7
    mask[0], mask[1] = False, True
    spoiled = {name: np.where(mask[:, [m]], v, np.nan) for m, (name, v) in enumerate(x.items())}
    one, other = fused(x, mask, 4), fused(spoiled, mask, 4)
    np.testing.assert_array_equal(one.senders, other.senders)
    np.testing.assert_array_equal(one.edges["weight"], other.edges["weight"])
    assert 0 not in one.receivers and 0 not in one.senders
    network = snf.Network([np.where(mask[:, [m]], v, 0) for m, v in enumerate(x.values())], mask)
    assert np.isfinite(network.fused.network).all()


@pytest.mark.filterwarnings("error")
def test_who_alone_has_a_modality_is_near_to_who_arrives_with_it():
    x, mask = list(views().values()), np.ones((60, 2), bool)
    mask[1:, 1] = False
    network = snf.Network(x, mask)
    assert all(np.isfinite(mean).all() for mean in network.means)
    spread = network.arriving([x[0][:1], x[1][:1] + 1], np.array([[False, True]]))
    assert spread[0].sum() > 0 and np.isfinite(spread).all()
    np.testing.assert_array_equal(network.arriving([x[0][:1], x[1][:1]], np.array([[False, False]])), 0)


def test_with_one_modality_nothing_spreads():
    x = views()["b"]
    network = snf.Network([x], np.ones((60, 1), bool))
    again = snf.fuse([snf_affinity(x)], snf.NEAREST, steps=0)
    np.testing.assert_allclose(network.fused.network, again.network, rtol=1e-12)


def snf_affinity(x):
    distance = np.linalg.norm(x[:, None] - x[None], axis=-1)
    mean = snf.mean_nearest(distance, snf.NEAREST)
    return snf.affinity(distance, mean + mean.T)


def test_the_order_of_nodes_and_of_modalities_changes_nothing():
    x, order = views(), RNG.permutation(60)
    present = np.ones((60, 2), bool)
    network = snf.Network(list(x.values()), present).fused.network
    other = snf.Network([v[order] for v in reversed(x.values())], present).fused.network
    np.testing.assert_allclose(other, network[np.ix_(order, order)], rtol=1e-9)


def test_who_arrives_receives_and_does_not_send_nor_change_what_was_there():
    x, mask, seen = views(), np.ones((60, 2), bool), RNG.random(60) < 0.7
    mask[np.flatnonzero(~seen)[0], 0] = False
    how = fused_recipe(x, 4)
    before, after = grow(how, x, mask, seen)
    assert seen[before.senders].all() and seen[before.receivers].all()
    late = ~seen[after.receivers]
    assert seen[after.senders].all() and (np.bincount(after.receivers[late], minlength=60)[~seen] == 4).all()
    assert np.mean(LABELS[after.senders[late]] == LABELS[after.receivers[late]]) > 0.7
    np.testing.assert_array_equal(after.senders[~late], before.senders)
    # another node that arrives changes nothing for those who do
    fewer = seen | (np.arange(60) == np.flatnonzero(~seen)[-1])
    apart = {name: np.where(fewer[:, None] & ~seen[:, None], 1e3, v) for name, v in x.items()}
    _, other = grow(how, apart, mask, seen)
    keep = [e for e, r in enumerate(after.receivers) if not (fewer & ~seen)[r]]
    np.testing.assert_array_equal(
        after.senders[keep], other.senders[[e for e, r in enumerate(other.receivers) if not (fewer & ~seen)[r]]]
    )
    ratio = after.edges["weight"][late].mean() / before.edges["weight"].mean()
    assert 0.5 < ratio < 2  # on one scale


@pytest.mark.parametrize("gaps", [False, True], ids=["all there", "some missing"])
def test_who_arrives_is_one_more_row_of_a_step_by_hand(gaps):
    """Its means count the modalities that both nodes of an entry have, as those of the network do."""
    x, k, mask, has = [v[:9] for v in views().values()], 3, np.ones((9, 3), bool), np.ones(3, bool)
    x.append(RNG.normal(size=(9, 3)))
    if gaps:
        mask[:4, 0] = mask[3:6, 1] = mask[8, 2] = has[1] = False
    network = snf.Network(x, mask, k=k)
    spread, near = network.fused.spread, network.fused.near
    come, row, shared = [v[:1] + 0.5 for v in x], np.zeros(9), (mask & has).sum(1)
    for v in np.flatnonzero(has):
        there = np.flatnonzero(mask[:, v])
        distance = np.linalg.norm(x[v][there] - come[v], axis=1)
        width = np.sort(distance)[:k].mean() + network.means[v][there, 0]
        own = np.zeros(9)
        own[there] = snf.strongest(snf.affinity(distance[None], width[None]), k)[0]
        others = sum(spread[u] for u in range(3) if u != v)
        row += own @ others @ near[v].T / np.maximum(shared - 1, 1) / np.maximum(shared, 1)
    expected = row / (1 + row.sum())
    np.testing.assert_allclose(network.arriving(come, has[None])[0], expected, rtol=1e-9)


def test_data_sets_have_it_where_it_is_asked_for():
    assert "snf" not in load("breast_cancer").graphs
    data = load("breast_cancer", snf=True)
    assert isinstance(data.graphs["snf"], FromFeatures) and data.made["snf"].fused
    check(data, ["snf"])  # the inductive setting knows how to make it again
    kept = dataclasses.replace(data, default_graph="snf")
    assert unpack(pack(kept)).made == kept.made


def test_own_tables_have_it_by_its_name():
    x = views()
    ids = [f"n{i:02d}" for i in range(60)]
    tables = {
        name: pd.DataFrame(v, index=ids, columns=[f"{name}{i}" for i in range(v.shape[1])]) for name, v in x.items()
    }
    labels = pd.DataFrame({"y": [f"c{c}" for c in LABELS]}, index=ids)
    data = Dataset.from_tables(tables, labels, graph="snf", k=4)
    assert data.default_graph == "snf" and same_class(data.graphs["snf"]) > 0.7
    assert any("similarity network" in line for line in str(data.conversion).splitlines())
    with pytest.raises(ValueError, match="k=60"):
        Dataset.from_tables(tables, labels, graph="snf", k=60)
