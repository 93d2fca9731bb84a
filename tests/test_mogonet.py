"""MOGONET, a whole published system built from parts: the authors' released weights give the authors' numbers."""

import dataclasses
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import data, study
from fusion_jax.data import files
from fusion_jax.results import recorded
from tests import tiny
from tests.helpers import assign, state

CHECKOUT = pathlib.Path(__file__).parents[1]
TRAINED = range(1, 6)


def golden() -> pathlib.Path:
    roots = [pathlib.Path(p) for p in os.environ.get("FUSION_JAX_GOLDEN", "").split(os.pathsep) if p]
    places = [root / "mogonet-rosmap" for root in (*roots, CHECKOUT.parent / "shared" / "golden")]
    for place in places:
        if (place / "graph.npz").is_file():
            return place
    pytest.skip(f"the authors' trained models are not in {' or '.join(map(str, places))}")


def arrays(name: str) -> dict[str, np.ndarray]:
    with np.load(golden() / f"{name}.npz") as case:
        return dict(case)


@pytest.fixture(scope="module")
def cell() -> study.Cell:
    """The study's own row, as it is trained."""
    module = study.load(str(CHECKOUT / "configs" / "ablations" / "rosmap_table.py"))
    cells = study.expand(module.get_config(), module.sweep)
    return next(c for c in cells if c.label == "MOGONET, last epoch")


@pytest.fixture(scope="module")
def rosmap() -> data.Dataset:
    golden()
    needed = data.module("rosmap").FILES
    if any(needed.find(file) is None for file in needed.sha256):
        pytest.skip(f"rosmap is not in {', '.join(map(str, files.roots()))}")
    return data.load("rosmap")


@pytest.fixture(scope="module")
def ready(cell, rosmap):
    return tiny.prepared(cell.plan, rosmap, (0,))


def load_trained(model: nnx.Module, j: int) -> nnx.Module:
    """The model with the parameters of the authors' j-th."""
    heads = arrays(f"model{j}_params_heads")
    views = range(1, len(model.encoders) + 1)
    values = {
        "head.kernel": np.stack([heads[f"C{k}.clf.0.weight"].T for k in views]),
        "head.bias": np.stack([heads[f"C{k}.clf.0.bias"] for k in views]),
    }
    for ours, theirs in (("fc1", "model.0"), ("fc2", "model.2")):
        values[f"fusions.0.model.{ours}.kernel"] = heads[f"C.{theirs}.weight"].T
        values[f"fusions.0.model.{ours}.bias"] = heads[f"C.{theirs}.bias"]
    for k in views:
        encoder = arrays(f"model{j}_params_E{k}")
        for i in range(3):
            values[f"encoders.{k - 1}.gc.{i}.kernel"] = encoder[f"E{k}.gc{i + 1}.weight"]  # stored [in, out]
            values[f"encoders.{k - 1}.gc.{i}.bias"] = encoder[f"E{k}.gc{i + 1}.bias"]
    return assign(model, values)


@pytest.fixture(scope="module")
def outputs(cell, rosmap, ready):
    """{j: Output of the authors' j-th model} on our features and graphs."""
    batch = dataclasses.replace(ready.batch, graph=ready.evaluated[0])
    found = {}
    for j in TRAINED:
        model = load_trained(tiny.model(cell.plan, rosmap, ready), j)
        found[j] = model(batch)
    return found


@pytest.mark.parametrize("j", TRAINED)
def test_the_released_models_give_the_authors_numbers(outputs, rosmap, j):
    reference, ours, test = arrays(f"model{j}"), outputs[j], rosmap.split(0).test
    for name, value, theirs in (
        ("embedding", ours.embeddings[test].swapaxes(0, 1), reference["embedding_te"]),
        ("view logits", ours.streams.swapaxes(0, 1), reference["view_logits_all"]),
        ("tensor", state(ours, "fusion 1: product")[test, 0], reference["cross_omics_tensor_te"]),
        ("fused logits", ours.prediction, reference["fused_logits_all"]),
        ("fused logits, test", ours.prediction[test], reference["fused_logits_te"]),
        ("probabilities", jax.nn.softmax(ours.prediction[test]), reference["fused_prob_te"]),
    ):
        np.testing.assert_allclose(value, theirs, atol=1e-4, err_msg=name)
    assert np.array_equal(rosmap.target.labels[test], reference["labels_te"])


def test_the_released_models_give_the_authors_metrics(outputs, rosmap):
    test, names, reference = rosmap.split(0).test, ("accuracy", "f1", "auc"), arrays("metrics")

    def scores(logits):
        found = recorded.scores(np.asarray(logits), rosmap.target, test)
        return [found[n] for n in names]

    fused = np.array([scores(outputs[j].prediction) for j in TRAINED])
    views = np.array([[scores(outputs[j].streams[:, k]) for k in range(3)] for j in TRAINED])
    np.testing.assert_allclose(fused, reference["fused"], rtol=1e-12)
    np.testing.assert_allclose(views[..., :2], reference["view"][..., :2], rtol=1e-12)
    # Of 15 view AUCs the stored ones differ in three: they rank float32 probabilities, and those of logits beyond
    # +-16 round to ties. The logits themselves order the patients as the authors' do.
    stored = np.array([[scores(logits) for logits in arrays(f"model{j}")["view_logits_all"]] for j in TRAINED])
    np.testing.assert_allclose(views, stored, rtol=1e-12)
    np.testing.assert_allclose(views[..., 2], reference["view"][..., 2], atol=2.2e-3)
    assert f"{fused[:, 0].mean():.4f} ± {fused[:, 0].std(ddof=1):.4f}" == "0.8377 ± 0.0103"


def test_training_sees_the_authors_training_graph_and_nothing_of_test_patients(ready, rosmap):
    """The stored graph of the 245 training patients; test patients are isolated, masked and without weight."""
    from fusion_jax.nn.adjacency import normalised

    graph, reference = jax.tree.map(lambda a: a[0], ready.trials.graph), arrays("graph")
    n = int(reference["n_train"])
    for k in range(3):
        looped, weight = normalised(graph.view(k), "row", jnp.float32)
        ours = np.zeros((len(rosmap.target), len(rosmap.target)))
        np.add.at(ours, (np.asarray(looped.receivers), np.asarray(looped.senders)), np.asarray(weight))
        theirs = np.zeros((n, n))
        theirs[reference[f"adj{k + 1}_train_rows"], reference[f"adj{k + 1}_train_cols"]] = reference[
            f"adj{k + 1}_train_vals"
        ]
        np.testing.assert_allclose(ours[:n, :n], theirs, atol=1e-6)
        assert not ours[:n, n:].any() and not ours[n:, :n].any()
    mask = np.asarray(ready.trials.mask[0])
    assert mask[:n].all() and not mask[n:].any()
    assert np.array_equal(np.flatnonzero(ready.trials.train_weight[0]), np.arange(n))
    assert not np.asarray(ready.trials.shift["mRNA"]).any()
