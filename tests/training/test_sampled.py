"""Which cells train on sampled neighbourhoods: those that cannot are refused by name, in words that help."""

import dataclasses

import numpy as np
import pytest

from fusion_jax import data as datasets
from fusion_jax import study
from fusion_jax.data.base import Dataset, Split, Splits
from fusion_jax.study.layout import of_then
from fusion_jax.training import programs
from tests import tiny

BATCH = dict(training__batch=8, training__fanout=(2,), model__layer__name="sage")
REFUSED = {
    "layer 'sgc': it looks further than a node's senders": dict(model__layer__name="sgc"),
    "layer 'gcn': it normalises by how many present senders": dict(model__layer__name="gcn", model__placement="after"),
    "layer 'gcn': it normalises by degrees, which the scheme changes": dict(
        model__layer__name="gcn", scheme__name="modality_dropout"
    ),
    "fusion 'npt': it is not written for one node by itself": dict(model__fusion__name="npt"),
    "encoder 'gcn' of '.*': it reads the graph": dict(model__encoder__name="gcn"),
    "scheme 'ogm_ge': its 'gradients' is written for all training rows": dict(scheme__name="ogm_ge"),
    "scheme 'gradient_blend': it trains something else": dict(scheme__name="gradient_blend"),
    "loss 'triplet': it is no weighted mean over rows": dict(loss__extra={"triplet": 0.1}),
    "readout 'histograph_node': it reads the states of all depths": dict(model__readout__name="histograph_node"),
    "model.missing='propagate': it fills from nodes farther": dict(model__missing="propagate"),
    "model.mixer: it is written for all nodes": dict(
        model__mixer__name="rnd_emb_qk", model__fusion__name="self_attention"
    ),
    r"training.fanout=\(\), expected one number": dict(training__fanout=()),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_is_refused_by_name(why):
    with pytest.raises(ValueError, match=why):
        tiny.train(tiny.dataset(), (0,), **{**BATCH, **REFUSED[why]})


@pytest.mark.parametrize(("name", "what"), [("synthetic_graphs", "graphs"), ("synthetic_links", "links")])
def test_targets_that_are_not_of_nodes_are_refused(name, what):
    data = datasets.load(name)
    with pytest.raises(ValueError, match=rf"training.batch: the target is \w+ of {what}: batches are of nodes"):
        tiny.train(data, (0,), **BATCH, data__name=name, data__options={})


@pytest.mark.parametrize(
    "more",
    [
        dict(model__layer__name="gcn"),
        dict(model__layer__name="gat", model__layer__options={"heads": 2}, scheme__name="modality_dropout"),
        dict(model__layer__name="gin", data__setting="inductive", model__placement="after"),
        dict(model__layers=0),
        dict(model__missing="indicator"),
        dict(model__layers=2, optimizer__warmup=2, optimizer__decay=True, training__select_every=2),
    ],
)
def test_what_can_trains(more):
    trained = tiny.train(tiny.dataset(), (0,), **{**BATCH, "training__epochs": 2, **more})
    assert trained.cost["flops"] == 0, "the compiler counts one batch of an epoch"
    assert not trained.diverged and trained.history["train_loss"].shape == (1, 2)


def test_a_batch_makes_another_cell_and_none_the_cell_of_before():
    assert tiny.cell(**BATCH).identity("x") != tiny.cell(model__layer__name="sage").identity("x")
    assert not {"batch", "fanout"} & set(of_then(tiny.cell().config)["training"])


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"training.fanout": (2,)}, "'training.batch' 0, expected a batch"),
        ({"training.batch": 4, "training.fanout": (2, 0)}, "expected whole numbers of at least 1"),
        ({"training.batch": 4, "training.fanout": (2, 2)}, r"one number a layer \('model.layers' is 1\)"),
    ],
)
def test_a_fanout_is_of_a_batch_and_of_every_layer_at_least_one_sender(given, why):
    config = tiny.config()
    for key, value in given.items():
        study.set_key(config, key, value)
    with pytest.raises(ValueError, match=rf"training.fanout.*{why}"):
        study.resolve(config)


def test_a_program_is_not_shared_where_an_epoch_has_other_steps():
    """A schedule counts them, so that they are compiled in."""

    def draw(seed):
        order, first = np.random.default_rng(seed).permutation(60), 16 if seed == 0 else 30
        return Split(np.sort(order[:first]), np.sort(order[first:45]), np.sort(order[45:]))

    data = dataclasses.replace(tiny.dataset(), splits=Splits(draw, False, "of two sizes"))
    cell = {**BATCH, "optimizer__decay": True, "optimizer__warmup": 2, "training__epochs": 4}
    alone = tiny.train(data, (1,), **cell)
    with programs.held():
        tiny.train(data, (0,), **cell)
        after = tiny.train(data, (1,), **cell)
    np.testing.assert_array_equal(after.prediction, alone.prediction)


@pytest.mark.parametrize("layer", ["sage", "gat"])
def test_blocks_have_room_for_the_edges_that_a_seed_has_lost(layer):
    """In the inductive setting they lie at one node that is not there, in graphs of a seed's own."""
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(60, 3)).astype(np.float32) for name in ("z", "a")}
    data = Dataset.from_arrays(x, None, rng.integers(0, 3, 60), name="mine")
    cell = dict(data__setting="inductive", model__layer__name=layer, model__rate=0.0, training__epochs=2)
    whole = tiny.train(data, (0,), **cell)
    blocks = tiny.train(data, (0,), **cell, training__batch=60, training__fanout=(60,))
    # float32, two steps of Adam; without room a block reads past its edges: other numbers, or the end of the process
    np.testing.assert_allclose(blocks.prediction, whole.prediction, rtol=1e-4, atol=1e-4)
