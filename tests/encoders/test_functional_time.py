"""Functional time: the kernel's identities, what an event may tell, and that the times are read."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.data import synthetic_temporal
from fusion_jax.encoders.functional_time import CODES, FunctionalTime
from fusion_jax.encoders.functional_time.time_codes import Bochner, FlexibleMercer, Mercer
from fusion_jax.graphs import Graph
from fusion_jax.records import Context, needs_of
from tests.helpers import assign, to_float64

T = np.random.default_rng(0).uniform(0, 300, size=12)


def test_initial_values_are_the_codes():
    """Scales of 1 ... 1e8: log10 from 0 to 8 (Bochner, Mercer), 2 pi 1e8^(i / (k - 1)) / j (flexible)."""
    rngs = nnx.Rngs(0)
    line = np.linspace(0, 8, 4)
    bochner = Bochner(8, rngs=rngs)
    for ours in (bochner.sin_scale, bochner.cos_scale, Mercer(4, 3, rngs=rngs).scale):
        np.testing.assert_allclose(ours[...], line, rtol=1e-7)
    np.testing.assert_array_equal(bochner.beta[...], np.ones(8))
    expected = 2 * np.pi * 1e8 ** (np.arange(4) / 3)[:, None] / np.arange(1, 4)
    np.testing.assert_allclose(FlexibleMercer(4, 3, rngs=rngs).scale[...], expected, rtol=1e-6)
    for cls in (Mercer, FlexibleMercer):
        coefficients = np.asarray(cls(40, 5, rngs=rngs).coefficients[...])
        assert np.abs(coefficients).max() <= np.sqrt(6 / 50) and coefficients.std() > 0.15
        assert not np.asarray(cls(4, 3, rngs=rngs).bias[...]).any()


def test_tied_bochner_is_translation_invariant():
    code = to_float64(Bochner(8, tied=True, rngs=nnx.Rngs(0)))
    scale = np.random.default_rng(1).normal(size=4)
    assign(code, {"sin_scale": scale}, partial=True)
    z = np.asarray(code(T))
    expected = np.cos((T[:, None] - T)[..., None] * 10.0**-scale).sum(-1)
    np.testing.assert_allclose(z @ z.T, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose((z**2).sum(-1), 4)  # D / 2 on the diagonal
    np.testing.assert_array_equal(assign(code, {"beta": np.zeros(8)}, partial=True)(T), np.zeros((12, 8)))


def test_untied_bochner_is_not():
    code = to_float64(Bochner(4, rngs=nnx.Rngs(0)))
    assign(code, {"sin_scale": np.array([0.0, 1.0]), "cos_scale": np.array([0.3, 0.9])}, partial=True)

    def kernel(a, b):
        return code(np.array(a)) @ code(np.array(b))

    assert abs(kernel(1.0, 3.0) - kernel(2.0, 4.0)) > 0.1


@pytest.mark.parametrize("cls", [Mercer, FlexibleMercer])
def test_mercer_at_zero(cls):
    """All sines are 0 and all cosines 1: the sum of the cosine coefficients and the bias."""
    code = to_float64(cls(5, 3, rngs=nnx.Rngs(0)))
    bias = np.arange(5.0)
    assign(code, {"bias": bias}, partial=True)
    np.testing.assert_allclose(code(np.zeros(())), np.asarray(code.coefficients[...])[:, 3:].sum(1) + bias, rtol=1e-12)


def test_mercer_multiplies_the_frequency():
    """Degree j has the frequency j 10^-p, so that 2 pi 10^p is a period of every degree."""
    code = to_float64(Mercer(3, 4, scales=(0.5, 0.5), rngs=nnx.Rngs(0)))
    np.testing.assert_allclose(code(T + np.pi), code(T), rtol=1e-5, atol=1e-5)  # the scale is a float32
    alone = np.zeros((3, 8))
    alone[:, 3] = 1
    assign(code, {"coefficients": alone, "scale": np.zeros(3)}, partial=True)
    np.testing.assert_allclose(code(T), np.repeat(np.sin(4 * T)[:, None], 3, 1), rtol=1e-9)


def test_degree_one_mercer_is_bochner_up_to_order():
    scale = np.random.default_rng(2).normal(size=3)
    bochner = to_float64(Bochner(6, rngs=nnx.Rngs(0)))
    assign(bochner, {"sin_scale": scale, "cos_scale": scale}, partial=True)
    mercer = to_float64(Mercer(6, 1, rngs=nnx.Rngs(0)))
    choose = np.repeat(np.eye(2), 3, axis=0)  # three sines, then three cosines
    assign(mercer, {"scale": np.tile(scale, 2), "coefficients": choose}, partial=True)
    np.testing.assert_allclose(mercer(T), bochner(T), rtol=1e-12)


@pytest.mark.parametrize("code", CODES)
def test_far_times_are_finite(code):
    encoder = to_float64(FunctionalTime(3, 4, code=code, rngs=nnx.Rngs(0)))
    value, grad = jax.value_and_grad(lambda t: encoder.code(t).sum())(jnp.asarray(1e9))
    assert np.isfinite(value) and np.isfinite(grad)


def events(n=6, seed=0, times=None):
    """Every node but the last receives three events."""
    rng = np.random.default_rng(seed)
    senders, receivers = rng.integers(0, n, 3 * (n - 1)), np.repeat(np.arange(n - 1), 3)
    keep = senders != receivers
    times = rng.uniform(0, 20, keep.sum()) if times is None else times
    return Graph.create(senders[keep], receivers[keep], n, {"time": times.astype(np.float32)})


def run(times="edges", graph=None, x=None, **options):
    encoder = FunctionalTime(5, 8, times=times, scales=(1.0, 10.0), heads=2, rngs=nnx.Rngs(0), **options)
    x = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32) if x is None else x
    graph = events() if graph is None else graph
    return np.asarray(encoder(jnp.asarray(x), graph))


@pytest.mark.parametrize("code, times", [("bochner", "edges"), ("mercer", "nodes"), ("mercer_flexible", "edges")])
def test_shape_gradients_and_seeds(code, times):
    """Float32 [N, D]; finite gradients in training; a seed alone equals the seed in a batch."""

    def build(seed):
        return FunctionalTime(5, 8, code=code, times=times, scales=(1.0, 10.0), rngs=nnx.Rngs(seed))

    graph, x = events(), np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    graphdef, first = nnx.split(build(0))
    both = jax.tree.map(lambda *a: jnp.stack(a), first, nnx.split(build(1))[1])

    def loss(state):
        y = nnx.merge(graphdef, state, copy=True)(x, graph, context=Context(key=jax.random.key(0)))
        assert y.shape == (6, 8) and y.dtype == jnp.float32
        return (y * jnp.arange(8, dtype=jnp.float32)).sum()

    values, grads = jax.jit(jax.vmap(jax.value_and_grad(loss)))(both)
    alone, _ = jax.jit(jax.value_and_grad(loss))(first)
    np.testing.assert_allclose(values[0], alone, rtol=1e-5)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert any(np.abs(g).max() > 0 for g in jax.tree.leaves(grads.code))


def test_node_order_does_not_matter():
    graph, order = events(), np.random.default_rng(4).permutation(6)
    rank = np.argsort(order)
    moved = Graph.create(
        rank[np.asarray(graph.senders)], rank[np.asarray(graph.receivers)], 6, {"time": np.asarray(graph.edges["time"])}
    )
    x = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    for times in ("edges", "nodes"):
        np.testing.assert_allclose(run(times, moved, x[order]), run(times, graph, x)[order], rtol=2e-5, atol=2e-5)


def test_the_times_change_what_is_said():
    graph = events()
    other = events(times=np.asarray(graph.edges["time"])[::-1])
    assert np.abs(run(graph=graph) - run(graph=other))[:-1].max() > 0.01
    np.testing.assert_array_equal(run(graph=graph)[-1], run(graph=other)[-1])  # which receives nothing


def test_the_future_is_not_seen():
    """Edges of negative span, or senders that are later, are as if they were not there."""
    graph = events()
    s, r = np.asarray(graph.senders), np.asarray(graph.receivers)
    time = np.asarray(graph.edges["time"])
    late = np.where(np.arange(len(time)) % 2, time, -time)
    rest = Graph.create(s[late >= 0], r[late >= 0], 6, {"time": late[late >= 0]})
    np.testing.assert_allclose(run(graph=events(times=late)), run(graph=rest), rtol=1e-6, atol=1e-6)
    x = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    x[:, -1] = np.arange(6)
    earlier = s <= r
    past = Graph.create(s[earlier], r[earlier], 6)
    np.testing.assert_allclose(run("nodes", graph, x), run("nodes", past, x), rtol=1e-6, atol=1e-6)
    assert np.abs(run("nodes", graph, x) - run("nodes", graph, -x)).max() > 0.01


def test_a_missing_node_is_not_seen():
    """times="nodes": a row of zeros, which has no time, is no event of others."""
    graph = events()
    x = np.random.default_rng(3).normal(size=(6, 5)).astype(np.float32)
    x[:, -1], x[2] = 1.0, 0.0
    there = np.asarray(graph.senders) != 2
    rest = Graph.create(np.asarray(graph.senders)[there], np.asarray(graph.receivers)[there], 6)
    keep = np.arange(6) != 2
    np.testing.assert_allclose(run("nodes", graph, x)[keep], run("nodes", rest, x)[keep], rtol=1e-6, atol=1e-6)


def test_refusals_name_the_encoder():
    def make(**options):
        return FunctionalTime(5, 8, rngs=nnx.Rngs(0), **options)

    for wrong in (
        dict(code="bochnr"),
        dict(times="node"),
        dict(heads=3),
        dict(scales=(2.0, 1.0)),
        dict(code="bochner", time_dim=5),
    ):
        with pytest.raises(ValueError, match="functional_time"):
            make(**wrong)
    with pytest.raises(ValueError, match="functional_time"):
        FunctionalTime(1, 8, times="nodes", rngs=nnx.Rngs(0))
    assert needs_of(make()) == ("graph", "edge_time")
    assert needs_of(make(times="nodes")) == ("graph",), "the times are the nodes' own"


def test_it_reads_what_a_time_blind_encoder_cannot():
    """Planted periodicity: far above 1/C after short training, where the linear encoder stays there."""
    from configs.ablations import temporal
    from fusion_jax import data, study
    from fusion_jax.results.recorded import metric_table
    from fusion_jax.run.model import train_model
    from tests import tiny

    config = temporal.get_config()
    config.model.dim, config.training.epochs, config.training.patience, config.training.chunk = 16, 60, 60, 60
    config.data.options = dict(nodes=400, degree=5, signal=0.9, cycles=3)
    accuracy = {}
    planted = data.load("synthetic_temporal", **config.data.options)
    for cell in study.expand(config, temporal.sweep):
        if cell.label in ("linear (no times)", "mercer"):
            with jax.numpy_dtype_promotion("standard"), jax.enable_x64(False):  # as outside tests
                ready = tiny.prepared(cell.plan, planted, (0,))
                table = metric_table(train_model(cell.plan, planted, ready).prediction, planted, ready)
            accuracy[cell.label] = float(table[(table.part == "test") & (table.metric == "accuracy")].value.iloc[0])
    bound = synthetic_temporal.bayes_accuracy(degree=5, signal=0.9)
    assert accuracy["linear (no times)"] < 0.4
    assert accuracy["linear (no times)"] + 0.3 < accuracy["mercer"] <= bound + 0.02
    assert zoo.get("encoder", "functional_time") is FunctionalTime
