"""Attention to all nodes of a graph: against dense attention, graph by graph, absent nodes; refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.graphs import Graph
from fusion_jax.layers.long_sequence_unified import LongSequenceUnified
from fusion_jax.nn.attention import attend
from tests.helpers import drawn, run

N, D, H = 7, 8, 2
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, D)))
PRESENT = np.array([1, 0, 1, 1, 1, 0, 1], bool)
ONE = Graph.create(np.array([0, 4]), np.array([1, 3]), N)
TWO = Graph.create(np.array([0, 4]), np.array([1, 3]), np.array([3, 4]))
MIXERS = ("softmax", "linear")


def layer(**options):
    return drawn(lambda: LongSequenceUnified(D, **{"heads": H, **options}, rngs=nnx.Rngs(0)))


def test_softmax_is_dense_attention_to_the_nodes_that_are_there():
    """An absent node hears of them too, as one without a feature of its own: all weigh alike."""
    module = layer()
    x = jnp.where(PRESENT[:, None], X, 0)
    q, k, v = (
        (x @ f.kernel[...]).reshape(N, H, -1) for f in (module.mixer.query, module.mixer.key, module.mixer.value)
    )
    expected = attend(q, k, v, jnp.asarray(PRESENT))[0].reshape(N, D) @ module.out.kernel[...]
    found = run(module, X, ONE, PRESENT)
    np.testing.assert_allclose(found, expected, rtol=1e-11, atol=1e-12)
    np.testing.assert_allclose(run(layer(block=2), X, ONE, PRESENT), expected, rtol=1e-11, atol=1e-12)
    mean = v.reshape(N, D)[PRESENT].mean(0) @ module.out.kernel[...]
    np.testing.assert_allclose(found[~PRESENT], np.stack([mean] * 2), rtol=1e-11)


@pytest.mark.parametrize("mixer", MIXERS)
def test_a_graph_in_a_batch_is_that_graph_alone(mixer):
    found, present = run(layer(mixer=mixer), X, TWO, PRESENT), jnp.asarray(PRESENT)
    for rows in (slice(0, 3), slice(3, N)):
        alone = Graph.create(*np.zeros((2, 1), int), rows.stop - rows.start)
        np.testing.assert_allclose(
            found[rows], run(layer(mixer=mixer), X[rows], alone, present[rows]), rtol=1e-11, atol=1e-12
        )
    assert np.abs(found - run(layer(mixer=mixer), X, ONE, PRESENT)).max() > 1e-3


@pytest.mark.parametrize("mixer", MIXERS)
def test_rows_that_stand_for_no_node_are_not_seen(mixer):
    graph = dataclasses.replace(ONE, present=jnp.asarray(PRESENT))
    spoilt = jnp.where(PRESENT[:, None], X, jnp.nan)
    expected = run(layer(mixer=mixer), X, ONE, PRESENT)[PRESENT]
    np.testing.assert_allclose(run(layer(mixer=mixer), spoilt, graph)[PRESENT], expected, rtol=1e-12)


def test_who_is_reached_is_who_shares_a_graph_with_somebody():
    present = jnp.zeros(N, bool).at[4].set(True)
    np.testing.assert_array_equal(layer().reached(present, TWO), np.arange(N) >= 3)
    found = np.asarray(run(layer(), X, TWO, present))
    np.testing.assert_array_equal(found.any(1), np.arange(N) >= 3)


def test_the_residual_adds_what_goes_in():
    plain, added = (run(layer(residual=residual), X, ONE, PRESENT) for residual in (False, True))
    np.testing.assert_allclose(added, plain + np.where(PRESENT[:, None], X, 0), rtol=1e-12)


@pytest.mark.parametrize(
    "options, said",
    [
        (dict(mixer="fourier"), "mixer='fourier'; expected one of softmax, linear"),
        (dict(heads=3), "heads=3 does not divide the width D=8"),
        (dict(heads=0), "heads=0, expected at least 1"),
        (dict(shards=99), "shards=99, expected 1 to "),
        (dict(mixer="linear", shards=2), "shards=2 needs mixer='softmax'"),
        (dict(out=4, residual=True), "residual=True needs one width, got 8 to 4"),
    ],
)
def test_what_is_not_there_is_refused_by_name(options, said):
    with pytest.raises(ValueError) as error:
        LongSequenceUnified(D, **options, rngs=nnx.Rngs(0))
    assert str(error.value).startswith("graph layer 'long_sequence_unified'") and said in str(error.value)


def test_features_in_large_units_have_finite_gradients_when_compiled():
    """Scores of 1e10: rounded as float32 they are hundreds apart."""
    rng, present = np.random.default_rng(0), np.arange(12) % 5 != 3
    graph = Graph.create([], [], np.array([6, 1, 5]))
    layer = LongSequenceUnified(8, rngs=nnx.Rngs(0))
    graphdef, params = nnx.split(layer)

    def loss(params, x):
        return jnp.tanh(nnx.merge(graphdef, params)(x, graph, jnp.asarray(present))).sum()

    slopes = jax.jit(jax.grad(loss, argnums=(0, 1)))
    for _ in range(4):
        for leaf in jax.tree.leaves(slopes(params, jnp.asarray(1e6 * rng.normal(size=(12, 8)), jnp.float32))):
            assert np.isfinite(leaf).all()


def test_what_is_not_said_and_what_is_handed_on():
    wanted = dict(mixer="softmax", heads=4, residual=False, shards=1, block=256)
    assert zoo.options("layer", "long_sequence_unified") == wanted
    assert layer(block=7).mixer.block == 7
