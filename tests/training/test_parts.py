"""What a published system may need: learning rates that step and differ by part, the last epoch, edges of its own
for evaluation, patients that come only then."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.data.base import edge_set
from fusion_jax.training.parts import leaf_names, restricted_to
from fusion_jax.training.trial import scaled
from tests import tiny


@pytest.fixture(scope="module")
def data():
    """The small data set with a second edge set, a ring."""
    found = tiny.dataset()
    ring = edge_set(np.arange(60), (np.arange(60) + 1) % 60, 60)
    return dataclasses.replace(found, graphs={**found.graphs, "ring": ring})


RING = dict(data__views=("planted", "planted"), data__test_views=("ring", "ring"))


def test_what_is_restricted_is_0_elsewhere():
    """Paths end at dots: part 1 is not part 10. () trains all, and what is frozen does not move in any case."""
    tree = {"a": {"1": jnp.float32(1.0), "10": jnp.float32(2.0)}, "b": jnp.float32(3.0)}

    def left(trains, freezes):
        return [float(x) for x in jax.tree.leaves(restricted_to(tree, trains, freezes))]

    assert leaf_names(tree) == ["a.1", "a.10", "b"] and restricted_to(tree, (), ()) is tree
    assert left(("a",), ()) == [1, 2, 0] and left(("a.1",), ()) == [1, 0, 0] and left((), ("a.1",)) == [0, 2, 3]
    assert left(("a", "b"), ("a.10", "b")) == [1, 0, 0] and left(("a.10",), ("a",)) == [0, 0, 0]
    with pytest.raises(ValueError, match=r"a stage trains \['a.2'\].*did you mean.*the parts \['a', 'b'\]"):
        left(("a.2", "b"), ())
    with pytest.raises(ValueError, match=r"a stage freezes \['bb'\].*did you mean 'b'"):
        left((), ("bb",))


def test_a_factor_is_of_a_part_of_the_model(data):
    params = tiny.train(data, (0,), training__epochs=1).params
    still = tiny.train(data, (0,), training__epochs=1, optimizer__part_rates={"head": 0.0}).params
    for path, moved in nnx.to_flat_state(params):
        same = np.array_equal(moved, dict(nnx.to_flat_state(still))[path])
        assert same == (path[0] != "head"), path
    with pytest.raises(ValueError, match="no part 'heads'.*did you mean 'head'"):
        tiny.train(data, (0,), training__epochs=1, optimizer__part_rates={"heads": 0.0})


def test_the_last_epoch_is_kept_where_selection_is_off(data):
    trained = tiny.train(data, (0, 1), training__select="last", training__patience=1)
    assert trained.best_epoch.tolist() == [5, 5]
    again = tiny.train(data, (0, 1), training__select="last", training__epochs=4)
    assert again.best_epoch.tolist() == [3, 3]
    assert not np.allclose(trained.prediction, again.prediction)


def test_evaluation_on_other_edges(data):
    """Trained on the one edge set, predicted on the other; parameters are those that the first alone gives."""
    after = dict(model__placement="after")
    ready = tiny.prepared(tiny.cell(**RING, **after).plan, data, (0,))
    own = jax.tree.map(lambda a: a[0], ready.trials)
    assert own.graph.view(0).num_edges == len(data.graphs["planted"].senders)
    assert ready.batch.graph.view(1).num_edges == 60
    same = tiny.train(data, (0,), **after, data__views=RING["data__views"], training__select="last")
    other = tiny.train(data, (0,), **after, **RING, training__select="last")
    for a, b in zip(jax.tree.leaves(same.params), jax.tree.leaves(other.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    assert not np.allclose(same.prediction, other.prediction, atol=1e-3)
    model = nnx.merge(other.graphdef, *jax.tree.map(lambda a: a[0], (other.params, other.rest)))
    evaluated = scaled(ready.batch, dataclasses.replace(own, graph=None))
    np.testing.assert_allclose(other.prediction[0], model(evaluated).prediction, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("protocol", ["honest", "paper"])
def test_selection_looks_at_the_edges_of_its_protocol(data, protocol):
    config = dict(**RING, model__placement="after", protocol=protocol, training__epochs=1, training__select="loss")
    trained, ready = tiny.train(data, (0,), **config), tiny.prepared(tiny.cell(**config).plan, data, (0,))
    own = jax.tree.map(lambda a: a[0], ready.trials)
    model = nnx.merge(trained.graphdef, *jax.tree.map(lambda a: a[0], (trained.params, trained.rest)))
    shown = own if protocol == "honest" else dataclasses.replace(own, graph=None)
    log_p = jax.nn.log_softmax(model(scaled(ready.batch, shown)).prediction)
    rows = ready.splits[0].val
    expected = -np.asarray(log_p)[rows, data.target.labels[rows]].mean()
    np.testing.assert_allclose(trained.history["val_loss"][0, 0], expected, rtol=1e-4)


def test_test_patients_are_not_in_the_graph_that_is_trained_on(data):
    """Inductive: absent under `honest` and, although they select the epoch there, under `paper`."""
    for protocol in ("honest", "paper"):
        ready = tiny.prepared(tiny.cell(data__setting="inductive", protocol=protocol).plan, data, (0,))
        rows = data.split(0).test
        assert not np.asarray(ready.trials.mask[0])[rows].any()
        assert np.array_equal(np.flatnonzero(~np.asarray(ready.trials.graph.present[0])), rows)
        assert np.asarray(ready.trials.val_weight[0])[rows].any() == (protocol == "paper")
