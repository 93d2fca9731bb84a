"""Structures inside a model that is trained, evaluated and restored, in every setting."""

import dataclasses
import sys

import jax
import numpy as np
import pytest
from flax import nnx

import fusion_jax.layers
from fusion_jax.data import load
from fusion_jax.data.base import edge_set
from fusion_jax.run.model import train_model
from fusion_jax.structures.base import Structure, derive
from fusion_jax.training.derived import with_structures
from fusion_jax.training.prepare import prepare
from fusion_jax.training.trial import scaled, whole
from tests import tiny
from tests.structures import cases

DECLARED = {
    "partition": Structure("partition", {"parts": 4}),
    "windows": Structure("windows", {"parts": 4}),
    "eigenvectors": Structure("eigenvectors", {"k": 3}),
}
SCRATCH = '''
"""The mean over the node's part, and over its window."""

import jax.numpy as jnp
from flax import nnx

from fusion_jax.layers.base import GraphLayer
from fusion_jax.records import Info
from fusion_jax.run.model import train_model
from fusion_jax.structures.base import Structure, derive

PARTS, WINDOWS = Structure("partition", {"parts": 4}), Structure("windows", {"parts": 4})


class ScratchPart(GraphLayer):
    info = Info("Nobody, A paper", 2001)

    def __init__(self, dim, out=None, *, rngs):
        self.linear = nnx.Linear(dim, dim if out is None else out, rngs=rngs)

    def __call__(self, x, graph, present=None, context=None):
        parts, windows = graph.structure(PARTS), graph.structure(WINDOWS)
        x = jnp.append(x, jnp.zeros_like(x[:1]), axis=0)
        mean = x[windows.ids].sum(1) / jnp.maximum(windows.valid.sum(1), 1).astype(x.dtype)[:, None]
        mean = jnp.append(mean, jnp.zeros_like(mean[:1]), axis=0)
        return self.linear(x[:-1] + mean[parts.part])
'''


@pytest.fixture
def scratch(tmp_path, monkeypatch):
    monkeypatch.setattr(fusion_jax.layers, "__path__", [*fusion_jax.layers.__path__, str(tmp_path)])
    (tmp_path / "scratch_part.py").write_text(SCRATCH)
    yield
    sys.modules.pop("fusion_jax.layers.scratch_part", None)
    vars(fusion_jax.layers).pop("scratch_part", None)


def two_edge_sets():
    data = tiny.dataset()
    ids = np.arange(60)
    ring = edge_set(np.r_[ids, (ids + 1) % 60], np.r_[(ids + 1) % 60, ids], 60)
    return dataclasses.replace(
        data, graphs={"graph": data.graphs[data.default_graph], "ring": ring}, default_graph="graph"
    )


VIEWS = {"model__placement": "after", "data__views": ("ring", "graph")}
SETTINGS = {
    "transductive": {},
    "views": VIEWS,
    "inductive": {"data__setting": "inductive"},
    "inductive views": {"data__setting": "inductive", **VIEWS},
    "other edges in evaluation": {**VIEWS, "data__test_views": ("graph", "ring")},
}
SEEDS = (0, 1)


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_model_with_a_partition_trains_and_predicts_what_it_stored(setting, scratch):
    data = two_edge_sets()
    changes = {**SETTINGS[setting], "model__layer__name": "scratch_part"}
    with tiny.as_users_run():
        plan = tiny.cell(**changes).plan
        plain = prepare(plan.data, data, SEEDS, **plan.preparing)
        ready = with_structures(plain, [DECLARED["partition"]], [DECLARED["windows"]])
        trained = train_model(plan, data, ready)
        for i in range(len(SEEDS)):
            params, rest = jax.tree.map(lambda a, i=i: a[i], (trained.params, trained.rest))
            trial = jax.tree.map(lambda a, i=i: a[i], ready.trials)
            alone = dataclasses.replace(trial, graph=None, mask=None, evaluated=None)
            batch = dataclasses.replace(whole(ready.batch, alone), graph=ready.evaluated[i])
            out = nnx.merge(trained.graphdef, params, rest)(batch).prediction
            np.testing.assert_allclose(out, trained.prediction[i], rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match=r"structure partition\(parts=4\) was not made"):
            train_model(plan, data, plain)


@pytest.mark.parametrize("setting", ["inductive", "inductive views"])
def test_evaluation_goes_on_from_each_seeds_training(setting):
    data = two_edge_sets()
    plan = tiny.cell(**SETTINGS[setting]).plan
    ready = with_structures(prepare(plan.data, data, SEEDS, **plan.preparing), DECLARED.values(), DECLARED.values())
    assert ready.batch.graph is None
    for i in range(len(SEEDS)):
        trial = jax.tree.map(lambda a, i=i: a[i], ready.trials)
        training, evaluation = scaled(ready.batch, trial).graph, whole(ready.batch, trial).graph
        for old, new, stored in zip(
            (training, *training.views),
            (evaluation, *evaluation.views),
            (ready.evaluated[i], *ready.evaluated[i].views),
            strict=True,
        ):
            before, after, held = (np.asarray(g.structure(DECLARED["partition"]).part) for g in (old, new, stored))
            here = np.asarray(old.present)
            assert (~here).any() and (before[~here] == 4).all() and (after < 4).all()
            np.testing.assert_array_equal(before[here], after[here])
            np.testing.assert_array_equal(after, held)
            np.testing.assert_array_equal(
                new.structure(DECLARED["eigenvectors"]).vectors, stored.structure(DECLARED["eigenvectors"]).vectors
            )


def test_edge_sets_made_anew_have_a_row_more_in_training():
    """Graphs made from features: evaluation inside training has a row that stands for nothing, stored graphs do not."""
    with tiny.as_users_run():
        plan = tiny.cell(data__name="digits", data__options={}, data__setting="inductive").plan
        data = load("digits", neighbours=3)
        ready = with_structures(prepare(plan.data, data, SEEDS, **plan.preparing), [DECLARED["partition"]])
    for i in range(len(SEEDS)):
        trial = jax.tree.map(lambda a, i=i: a[i], ready.trials)
        inside = trial.evaluated.structure(DECLARED["partition"])
        stored = ready.evaluated[i].structure(DECLARED["partition"])
        assert len(inside.part) == len(stored.part) + 1 and inside.part[-1] == 4
        np.testing.assert_array_equal(inside.part[:-1], stored.part)


def test_whole_graphs_that_arrive_are_cut_as_by_themselves():
    plan = tiny.cell(data__name="synthetic_graphs", data__options={}, data__setting="inductive").plan
    data = load("synthetic_graphs", graphs=12)
    ready = with_structures(prepare(plan.data, data, SEEDS, **plan.preparing), [DECLARED["partition"]])
    trial = jax.tree.map(lambda a: a[0], ready.trials)
    before, after = (cases.host(g.structure(DECLARED["partition"])) for g in (trial.graph, trial.evaluated))
    (anew,) = derive([data.graph()], [DECLARED["partition"]])
    for g, n in enumerate(np.asarray(data.graph().jraph.n_node)):
        arrived = not before.size[before.graph == g].any()
        assert arrived == (g not in {*ready.splits[0].train, *ready.splits[0].val})
        sizes = after.size[after.graph == g]
        assert len(sizes) == 4 and sizes.sum() == n and sizes.max() - sizes.min() <= 1
    np.testing.assert_array_equal(after.part, anew.structure(DECLARED["partition"]).part)


def test_nothing_declared_changes_nothing_and_no_graph_is_an_error():
    plan, data = tiny.cell().plan, tiny.dataset()
    ready = prepare(plan.data, data, SEEDS, **plan.preparing)
    assert with_structures(ready, ()) is ready
    none = dataclasses.replace(data, graphs={}, default_graph="")
    plan = tiny.cell(model__layer__name="none", model__layers=0).plan
    plain = prepare(plan.data, none, SEEDS, **plan.preparing)
    with pytest.raises(ValueError, match=r"needs partition\(parts=4\), windows\(parts=4\), made from a graph"):
        with_structures(plain, [DECLARED["partition"]], [DECLARED["windows"]])


@pytest.mark.parametrize(
    "keys, said",
    [
        (dict(fusion__name="fsatfusion", fusion__options=dict(heads=1)), "fusion 'fsatfusion'"),  # reads structures
        (dict(fusion__name="coordinate_graph"), "fusion 'coordinate_graph'"),
        (dict(encoder__name="dfyp"), "encoder 'dfyp'"),
        (dict(readout__name="gl_dmnet", readout__options=dict(heads=1)), "readout 'gl_dmnet'"),
        (dict(placement="after", layer__name="fsatfusion", layer__options=dict(heads=1)), "layer 'fsatfusion'"),
    ],
)
def test_who_needs_a_graph_that_is_not_there_is_named_once(keys, said):
    told = {"layer__name": "none", "layers": 1} | keys
    plan = tiny.cell(**{f"model__{key}": value for key, value in told.items()}).plan
    none = dataclasses.replace(tiny.dataset(), graphs={}, default_graph="")
    with pytest.raises(ValueError, match=f"^{said} needs a graph, this data set has none"):
        train_model(plan, none, prepare(plan.data, none, SEEDS, **plan.preparing))
