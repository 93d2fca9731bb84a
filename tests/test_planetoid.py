"""The study of Cora and Citeseer: its GCN, GAT and MLP are those of the papers, and each cell trains."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import study, zoo
from fusion_jax.data import load
from fusion_jax.graphs import Graph
from fusion_jax.records import Batch, Target
from fusion_jax.results.restore import restore
from fusion_jax.results.store import Store
from fusion_jax.run.cell import run_cell
from fusion_jax.training.build import plain_model
from tests import tiny
from tests.helpers import parameters, to_float64

FILE = "configs/ablations/planetoid.py"
STANDARD = ("GCN", "GAT", "MLP")
N, FEATURES, CLASSES = 9, 11, 3


def cells(arg: str = "") -> dict[str, study.Cell]:
    """Those of Cora by label."""
    module = study.load(FILE)
    found = study.expand(module.get_config(arg), module.sweep, arg)
    return {c.label: c for c in found if c.plan.data.name == "cora"}


@pytest.fixture(scope="module")
def nodes():
    """Features and a graph both ways, with an isolated node; and its adjacency with self-loops."""
    rng = np.random.default_rng(0)
    a = np.triu(rng.random((N, N)) < 0.35, 1)
    a[:, -1] = False
    a = a | a.T
    receivers, senders = np.nonzero(a)
    batch = Batch(
        {"words": jnp.asarray(rng.normal(size=(N, FEATURES)))},
        jnp.ones((N, 1), bool),
        Graph.create(senders, receivers, N),
    )
    return batch, a + np.eye(N)


def model_of(label: str):
    """The row's model with parameters that are nowhere 0, and they by name."""
    target = Target("classes", labels=np.zeros(N, np.int32), num_outputs=CLASSES)
    model = to_float64(plain_model(cells()[label].plan.model, target, {"words": FEATURES}, jax.random.key(0)))
    for name, p in parameters(model).items():
        if name.endswith("bias"):
            p.set_value(jnp.linspace(-0.5, 0.7, p.shape[0]))
    return model, {name: np.asarray(p[...]) for name, p in parameters(model).items()}


@pytest.mark.parametrize("label", ["GCN", "MLP"])
def test_gcn_is_a_relu_a_x_w_w(nodes, label):
    """Z = S relu(S X W0 + b0) W1 + b1, S = D^-1/2 (A + I) D^-1/2 (Kipf and Welling, eq. 2, 9); S = I in an MLP."""
    batch, looped = nodes
    model, p = model_of(label)
    degree = looped.sum(1)
    a = looped / np.sqrt(np.outer(degree, degree)) if label == "GCN" else np.eye(N)
    x = np.asarray(batch.features["words"])
    h = np.maximum(a @ x @ p["layers.0.linear.kernel"] + p["layers.0.linear.bias"], 0)
    z = a @ h @ p["layers.1.linear.kernel"] + p["layers.1.linear.bias"]
    assert {name: v.shape for name, v in p.items()} == {
        "layers.0.linear.kernel": (FEATURES, 16),
        "layers.0.linear.bias": (16,),
        "layers.1.linear.kernel": (16, CLASSES),
        "layers.1.linear.bias": (CLASSES,),
    }
    np.testing.assert_allclose(model(batch).prediction, z, rtol=1e-9)


def test_gat_has_eight_heads_side_by_side_and_one_that_predicts(nodes):
    """Velickovic et al., equations 3 to 6: eight heads of width 8, ELU, one head of width C, all with dropout 0.6."""
    batch, looped = nodes
    model, p = model_of("GAT")

    def layer(x, i, heads):
        h = (x @ p[f"layers.{i}.linear.kernel"]).reshape(N, heads, -1)
        out = []
        for k in range(heads):
            score = h[:, k] @ p[f"layers.{i}.att_receiver"][k]
            score = score[:, None] + (h[:, k] @ p[f"layers.{i}.att_sender"][k])[None]  # [receiver, sender]
            score = np.where(score > 0, score, 0.2 * score)
            weight = np.where(looped > 0, np.exp(score - score.max()), 0)
            out.append(weight / weight.sum(1, keepdims=True) @ h[:, k])
        return np.concatenate(out, 1) + p[f"layers.{i}.bias"]

    h = layer(np.asarray(batch.features["words"]), 0, 8)
    z = layer(np.where(h > 0, h, np.expm1(h)), 1, 1)
    assert p["layers.0.linear.kernel"].shape == (FEATURES, 64) and p["layers.1.linear.kernel"].shape == (64, CLASSES)
    assert not any(name.startswith(("encoders", "head")) for name in p)
    np.testing.assert_allclose(model(batch).prediction, z, rtol=1e-9)
    assert model.rate == 0.6 and {layer.rate for layer in model.layers} == {0.6}


@pytest.mark.parametrize("label", STANDARD)
def test_weights_start_as_glorot_and_bengio_say(label):
    target = Target("classes", labels=np.zeros(N, np.int32), num_outputs=CLASSES)
    model = plain_model(cells()[label].plan.model, target, {"words": 1433}, jax.random.key(0))
    for name, p in parameters(model).items():
        value = np.asarray(p[...])
        if name.endswith("bias"):
            assert not value.any()
        elif label != "MLP":
            bound = np.sqrt(6 / sum(value.shape))
            assert np.abs(value).max() <= bound * (1 + 1e-6), name
            assert value.size < 50 or np.abs(value).max() > 0.9 * bound, name


@pytest.mark.parametrize("arg", ["", "quick"])
def test_the_study_is_the_published_protocol(arg):
    module = study.load(FILE)
    found = study.expand(module.get_config(arg), module.sweep, arg)
    assert {c.config["data"]["name"] for c in found} == {"cora", "citeseer"}
    assert {c.config["protocol"] for c in found} == {"honest"}
    gcn, gat = cells(arg)["GCN"].config, cells(arg)["GAT"].config
    assert gcn["loss"]["l2_parts"] == ["layers.0"] and gat["loss"]["l2_parts"] == []
    assert gcn["loss"]["l2"] == gat["loss"]["l2"] == 5e-4 and gcn["data"]["scale"] == "row"
    assert gcn["optimizer"]["name"] == "adam" and gcn["optimizer"]["options"] == {}
    assert {c.config["training"]["epochs"] for c in found} == {20 if arg else 300}
    assert {c.seeds for c in found} == {2 if arg else 10}
    published = {(row["data"], row["label"]): row["values"]["accuracy"][0] for row in study.published(module)}
    assert published["cora", "GCN"] == 0.815 and published["citeseer", "GAT"] == 0.725


@pytest.mark.parametrize("label", [*STANDARD, "late_logits"])
def test_a_quick_cell_trains_and_comes_back(label, tmp_path):
    """On planted nodes, missing words among them; the stored predictions are the restored model's."""
    with tiny.as_users_run():
        config = dict(cells("quick")[label].config)
        data = dict(config["data"], name="synthetic", options=dict(tiny.DATA, dim=30, redundant=1.0))
        if label in STANDARD:
            data["modalities"] = ["m0"]
        config |= dict(data=data, training={**config["training"], "epochs": 60})
        cell = dataclasses.replace(cells("quick")[label], config=config)
        loaded = load("synthetic", **data["options"])
        store = Store(tmp_path, create=True)
        identity = run_cell(cell, store, loaded)["identity"]
        history = store.table(identity, "history")
        loss = history[history.seed == 0].train_loss.to_numpy()
        assert np.isfinite(loss).all() and loss[-9:].mean() < 0.98 * loss[:9].mean()
        back = restore(store, identity)
        table = store.table(identity, "predictions")
        for i in range(2):
            stored = np.stack(table[table.seed == i].prediction)
            np.testing.assert_allclose(back.prediction(i), stored, rtol=1e-4, atol=1e-5)
        assert back.models[0].head is None and isinstance(back.models[0], nnx.Module)


def test_every_fusion_of_the_study_exists_where_it_stands():
    for cell in cells().values():
        model = cell.config["model"]
        assert model["placement"] in zoo.get("fusion", model["fusion"]["name"]).placements
