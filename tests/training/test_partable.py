"""What cannot be trained with its nodes on several devices is refused by name, before anything is compiled."""

import dataclasses

import pytest

from tests import tiny


@pytest.mark.parametrize(
    "changes, reason",
    [
        (dict(model__layer__name="graphgps"), "layer 'graphgps' is not written for nodes on several devices"),
        (dict(model__layer__name="halonet"), "layer 'halonet' is not written for nodes"),
        (dict(model__layer__name="halonet", model__placement="after"), "layer 'halonet' is not written for nodes"),
        (dict(model__fusion__name="npt"), "fusion 'npt' is not written for nodes"),
        (dict(model__encoder__name="gcn"), "encoder 'gcn' is not written for nodes"),
        (dict(model__readout__name="histograph_node"), "readout 'histograph_node' is not written for nodes"),
        (
            dict(scheme__name="ogm_ge", model__placement="decision", model__fusion__name="late_logits"),
            "scheme 'ogm_ge' looks at all nodes",
        ),
        (dict(model__missing="propagate"), "model.missing='propagate' fills from neighbours, which is not written"),
        (dict(data__setting="inductive"), "every seed has a graph of its own (setting 'inductive'"),
        (
            dict(model__fusion__name="self_attention", model__mixer__name="fixed_seq_qk"),
            "mixer 'fixed_seq_qk' stands in the place of",
        ),
    ],
)
def test_what_sees_all_nodes_is_refused_by_name(changes, reason):
    with pytest.raises(ValueError) as error:
        tiny.train(tiny.dataset(), (0,), training__node_devices=1, **changes)
    assert f"training.node_devices: {reason}" in str(error.value) and str(error.value).endswith("; set it to 0")


@pytest.mark.parametrize("name", ["graphs", "links"])
def test_labels_of_something_else_than_nodes_are_refused(name):
    with pytest.raises(
        ValueError, match=f"training.node_devices: the data set labels {name}, expected labels of nodes"
    ):
        tiny.train(tiny.load_data(f"synthetic_{name}"), (0,), training__node_devices=1)


def test_data_without_a_graph_is_refused():
    data = dataclasses.replace(tiny.dataset(), graphs={}, default_graph="")
    with pytest.raises(ValueError, match="training.node_devices: the data set has no graph, whose nodes"):
        tiny.train(data, (0,), training__node_devices=1, model__layer__name="none")
