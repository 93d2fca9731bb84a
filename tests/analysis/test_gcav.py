"""GCAV: the identities of its parts, concepts, taps, and the command on a finished cell."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from flax import nnx

from fusion_jax.analysis.gcav import concept_vector, gcav, minibatches, modules, t_test
from fusion_jax.analysis.gcav.concepts import concept
from fusion_jax.analysis.gcav.report import RANDOM, report
from fusion_jax.analysis.gcav.taps import gradients, states
from fusion_jax.results.restore import restore
from fusion_jax.results.store import read_json
from tests.cells import tiny_cell, train_cells
from tests.tiny import as_users_run, command

QUICK = dict(repeats=3, examples=30, epochs=2, steps=20, fusion_epochs=4)


@pytest.fixture(scope="module", autouse=True)
def settings():
    with as_users_run():
        yield


@pytest.fixture(scope="module")
def trained(settings, tmp_path_factory):
    cells = [tiny_cell(), tiny_cell(model__placement="after", seeds=1, training__epochs=60, training__chunk=60)]
    return train_cells(tmp_path_factory.mktemp("gcav"), cells)


@pytest.fixture(scope="module")
def cell(trained):
    return restore(trained[0], trained[1][0])


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def test_flipping_a_vector_turns_the_score_around(rng):
    g, v = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((9, 4), (3, 4)))
    score = modules.tcav(g, v)
    assert ((score >= 0) & (score <= 1)).all() and 0 < float(score.mean()) < 1
    np.testing.assert_allclose(modules.tcav(g, -v), 1 - score, atol=1e-6)


def test_the_gradient_is_of_the_loss_so_falling_along_the_concept_counts():
    g = jnp.array([[-1.0, 0.0], [-2.0, 1.0], [1.0, 0.0]])
    np.testing.assert_allclose(modules.tcav(g, jnp.array([[1.0, 0.0]])), [2 / 3], rtol=1e-6)


def test_the_derivative_is_the_soft_scores(rng):
    g, v = (jnp.asarray(rng.normal(size=s), jnp.float32) for s in ((9, 4), (1, 4)))

    def soft(v):
        return jax.nn.sigmoid(-3.0 * modules.cosine(g, v)).mean()

    np.testing.assert_allclose(jax.grad(lambda v: modules.tcav(g, v, 3.0).sum())(v), jax.grad(soft)(v), atol=1e-6)
    steep = jax.nn.sigmoid(-1e6 * modules.cosine(g, v)).mean()
    np.testing.assert_allclose(steep, modules.tcav(g, v)[0], atol=1e-4)


def test_the_slope_grows_at_every_call_up_to_a_thousand():
    np.testing.assert_allclose(modules.temperature(jnp.array([1.0, 2.0, 100.0])), [1.2, 1.44, 1000], rtol=1e-6)


def test_one_layer_has_variance_zero_and_two_have_the_unbiased_one():
    assert (modules.variance(jnp.ones((1, 3))) == 0).all()
    np.testing.assert_allclose(modules.variance(jnp.array([[0.0], [1.0]])), [0.5])


def test_aligned_vectors_have_unit_length_and_zero_ones_finite_gradients(rng):
    module = modules.Alignment(8, 16, rngs=nnx.Rngs(0))
    x = jnp.asarray(rng.normal(size=(5, 8)), jnp.float32)
    np.testing.assert_allclose(jnp.linalg.norm(module(x), axis=-1), 1, rtol=1e-5)
    grad = jax.grad(lambda v: modules.reconstruction_loss(v, x))(jnp.zeros_like(x))
    assert np.isfinite(grad).all()


def test_a_concept_vector_points_into_the_concept(rng):
    inside, outside = rng.normal(size=(40, 3)) + [4, 0, 0], rng.normal(size=(40, 3)) - [4, 0, 0]
    vector, accuracy = concept_vector(inside, outside, 0.1, 0)
    assert vector[0] > 5 * np.abs(vector[1:]).max() and accuracy == 1


def test_an_epoch_has_every_row(rng):
    picks = np.asarray(minibatches(rng, 10, 4, 2))
    assert picks.shape == (6, 4)
    assert set(picks[:3].ravel()) == set(picks[3:].ravel()) == set(range(10))


def test_the_test_of_samples_without_spread():
    same, other = np.ones(3), np.zeros(3)
    assert t_test(same, same) == 1 and t_test(same, other) == 0
    assert 0 < t_test(np.array([0.0, 1, 2]), np.array([1.0, 2, 4])) < 1


def test_taps_are_the_models_own_states(cell):
    model, batch = cell.models[0], cell.batch(0)
    found, output = states(model, batch), model(batch)
    assert list(found) == ["encoder m0", "encoder m1", "encoder m2", "fusion", "layer 1"]
    np.testing.assert_allclose(found["encoder m1"], output.embeddings[:, 1], atol=1e-6)
    np.testing.assert_allclose(found["layer 1"], output.hidden, atol=1e-5)


def test_a_tapped_gradient_is_the_difference_quotient(cell):
    model, batch = cell.models[0], cell.batch(0)
    mask, nodes = np.asarray(batch.mask), np.array([3, 17])
    grads = gradients(model, batch, nodes, 1)

    def loss(name, node, m, delta):
        def tap(layer, x):
            if layer != name:
                return x
            return x.at[node, m].add(delta) if m is not None else x.at[node].add(delta)

        with jax.enable_x64(True):  # the quotient needs digits
            wide = jax.tree.map(lambda a: a.astype(jnp.float64) if a.dtype == jnp.float32 else a, (model, batch))
            return float(-jax.nn.log_softmax(wide[0](wide[1], tap=tap).prediction[node])[1])

    for name, layer, m in (("fusion", "fusion", None), ("encoder", "encoder m2", 2)):
        for i, node in enumerate(nodes):
            step = 1e-4 * np.eye(8)[5]
            quotient = (loss(name, node, m, step) - loss(name, node, m, -step)) / 2e-4
            np.testing.assert_allclose(grads[layer][i, 5], quotient, rtol=1e-3, atol=1e-5)
            if m is not None and not mask[node, m]:
                assert (grads[layer][i] == 0).all()


def test_concepts_by_rule(cell):
    mask = np.asarray(cell.prepared.batch.mask)
    np.testing.assert_array_equal(concept(cell, "missing:m1"), ~mask[:, 1])
    degree = np.diff(np.asarray(cell.prepared.batch.graph.row_ptr))
    top = concept(cell, "degree")
    assert degree[top].min() > degree[~top].max() and 10 <= top.sum() < 40
    np.testing.assert_array_equal(concept(cell, "label:2"), cell.data.target.labels == 2)


@pytest.mark.parametrize(
    "rule,match",
    [
        ("mising:m1", r"no concept rule 'mising:m1'.*missing:<modality>"),
        ("missing:m9", r"no 'm9'.*there are: m0, m1, m2"),
        ("label:7", r"no '7'.*there are: 0, 1, 2"),
    ],
)
def test_unknown_concepts_are_named(cell, rule, match):
    with pytest.raises(ValueError, match=match):
        concept(cell, rule)
    with pytest.raises(ValueError, match=r"gcav: target='7': no '7'.*there are: 0, 1, 2"):
        gcav(cell, 0, target="7")


def test_nodes_without_a_label_are_of_no_class(cell):
    labelled = np.arange(cell.data.num_nodes) % 4 > 0
    some = dataclasses.replace(cell, data=dataclasses.replace(cell.data, labelled=labelled))
    whole = concept(cell, "label:0", 0)
    assert (whole & ~labelled).any()
    np.testing.assert_array_equal(concept(some, "label:0", 0), whole & labelled)


def test_a_concept_with_too_few_nodes_is_refused(cell, monkeypatch):
    few = np.asarray(cell.prepared.batch.mask).copy()
    few[:, 0] = True
    few[:3, 0] = False
    monkeypatch.setitem(cell.prepared.batch.__dict__, "mask", few)
    with pytest.raises(ValueError, match="concept 'missing:m0': 3 of 120 nodes have it, at least 10 are needed"):
        concept(cell, "missing:m0")


@pytest.mark.parametrize(
    "concepts,options,match",
    [
        ((), {}, "expected one or more different ones"),
        (("degree", "degree"), {}, "expected one or more different ones"),
        (("degree",), dict(repeats=1), "at least 2"),
        (("degree",), dict(examples=9), "examples=9, expected at least 10"),
        (("degree",), dict(steps=0), "steps=0, expected at least 1"),
    ],
)
def test_bad_questions_are_refused(cell, concepts, options, match):
    with pytest.raises(ValueError, match=match):
        gcav(cell, 0, concepts=concepts, **options)


def test_every_concept_gets_scores_at_every_layer_of_streams_too(trained):
    after = restore(trained[0], trained[1][1])
    result = gcav(after, 0, concepts=("label:2",), target="2", **QUICK)
    table, summary = result.tables["layers"], result.tables["summary"]
    layers = [f"{kind} m{m}" for kind in ("encoder", "stream 1") for m in range(3)] + ["fusion"]
    assert list(table.layer) == layers * 2
    assert list(dict.fromkeys(table.concept)) == ["label:2", RANDOM]
    for score in ("tcav", "tgcav"):
        assert table[score].between(0, 1).all()
    own = table[table.concept == "label:2"].tcav.to_numpy()
    line = summary.query("concept == 'label:2' and score == 'tcav'").iloc[0]
    np.testing.assert_allclose([line["mean"], line["std"]], [own.mean(), own.std()])
    np.testing.assert_allclose(line["range_ratio"], np.ptp(own) / own.mean())
    accuracy = table.groupby("concept").cav_accuracy.mean()
    assert accuracy["label:2"] > accuracy[RANDOM] + 0.05  # the modalities carry the label


def test_a_report_says_which_concept_stands_out_and_what_was_looked_at(cell):
    result = gcav(cell, 0, concepts=("degree", "missing:m1"), target="1", **QUICK)
    means = result.tables["summary"].query("score == 'tgcav'").set_index("concept")["mean"]
    clearest = (means - means[RANDOM]).abs().idxmax()
    assert f"concept {clearest}, of 2 concepts the farthest from random sets" in result.sentence
    assert f"class 1 at {means[clearest]:.1%} of the nodes" in result.sentence
    assert result.facts == dict(target="1", examples=30, left_out=())
    assert "Class 1, 30 nodes" in result.note


@pytest.mark.parametrize("mean,side", [(0.9, "more than"), (0.2, "less than"), (0.5, "as much as")])
def test_a_concept_speaks_more_or_less_for_a_class_than_random_sets(mean, side):
    found = said_of_degree(mean, 0.7)
    start = f"The concept degree speaks for class 8 at {mean:.1%} of the nodes of that class on average over 1 layers"
    assert found.sentence.startswith(f"{start} (TGCAV), {side} random sets at 50.0%;")
    assert found.note.endswith("Left out, the class does not depend on them: encoder a.")


@pytest.mark.parametrize("accuracy,known", [(0.7, True), (0.5, False), (0.4, False)])
def test_a_concept_that_no_layer_tells_apart_is_said_to_be_unknown(accuracy, known):
    sentence = said_of_degree(0.9, accuracy).sentence
    assert f"from others in {accuracy:.1%} of cases, those of random sets in 50.0%" in sentence
    assert ("say nothing of it" in sentence) != known


def said_of_degree(mean, accuracy):
    both = (("degree", mean, accuracy), (RANDOM, 0.5, 0.5))
    rows = [dict(concept=c, score=s, mean=m) for c, m, _ in both for s in ("tcav", "tgcav")]
    table = pd.DataFrame([dict(concept=c, layer="fusion", cav_accuracy=a) for c, _, a in both])
    return report(table, pd.DataFrame(rows), "8", 30, ("encoder a",))


def test_bars_of_one_layer_stand_beside_each_other_and_none_is_cut():
    pytest.importorskip("matplotlib", reason="figures are an extra")
    scores = dict(tcav=0.95, tcav_std=0.3, tgcav=0.1, tgcav_std=0.4, cav_accuracy=0.6)
    table = pd.DataFrame([dict(concept=c, layer=l, **scores) for c in ("degree", RANDOM) for l in ("a", "b")])
    summary = pd.DataFrame([dict(concept=c, score=s, mean=0.4) for c in ("degree", RANDOM) for s in ("tcav", "tgcav")])
    (axes,) = report(table, summary, "1", 12, ()).figures["layers"]().axes
    at = sorted(x for line in axes.containers for x in line.lines[0].get_xdata())
    assert len(np.unique(np.round(at, 6))) == 8 and np.all(np.abs(np.array(at) - np.round(at)) < 0.5)
    low, high = axes.get_ylim()
    assert low < 0.1 - 0.4 and high > 0.95 + 0.3


def test_the_legend_shows_which_lines_are_dashed():
    """A gap has to fall beside the marker in the middle."""
    pytest.importorskip("matplotlib", reason="figures are an extra")
    scores = dict(tcav=0.5, tcav_std=0.1, tgcav=0.4, tgcav_std=0.1, cav_accuracy=0.6)
    table = pd.DataFrame([dict(concept=c, layer=l, **scores) for c in ("degree", RANDOM) for l in ("a", "b")])
    summary = pd.DataFrame([dict(concept=c, score=s, mean=0.4) for c in ("degree", RANDOM) for s in ("tcav", "tgcav")])
    legend = report(table, summary, "1", 12, ()).figures["layers"]().axes[0].get_legend()
    assert legend.handlelength >= 4 and [t.get_text() for t in legend.get_texts()][:2] == [
        "degree, TCAV",
        "degree, TGCAV",
    ]


def test_the_command_writes_tables_and_a_figure_into_the_cell(trained):
    store, identities = trained
    where = [f"--workdir={store.root}", f"--cell={identities[0]}", "--analysis=gcav"]
    quick = [f"--option={text}" for text in ("target=1", "repeats=2", "examples=12", "epochs=1", "steps=5")]
    status, text = command("experiments.analyse", *where, "--option", "concepts=degree", *quick)
    assert status == 0, text
    assert "| degree | tgcav |" in text
    folder = store.cell(identities[0]) / "analyses" / "gcav"
    names = ["analysis.json", "layers.csv", "layers.png", "report.md", "summary.csv"]
    assert sorted(p.name for p in folder.iterdir()) == names
    assert len(pd.read_csv(folder / "layers.csv")) == 2 * 5
    about = read_json(folder / "analysis.json")
    assert about["options"]["steps"] == 5 and about["options"]["concepts"] == ["degree"] and about["examples"] == 12
    best = restore(store, identities[0])
    assert about["cell"] == best.identity and about["seed"] == best.seeds[best.place()]
    status, text = command("experiments.analyse", *where, "--option=concepts=missing:m9")
    assert status == 2 and "error: concept 'missing:m9'" in text
    status, text = command("experiments.analyse", *where, "--seed=9")
    assert status == 2 and "has no seed 9" in text
