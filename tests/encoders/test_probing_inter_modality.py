"""Parsing as dense attention, and which nodes are masked with a seed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.probing_inter_modality import ProbingInterModality
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from fusion_jax.nn.masked_groups import AXIS
from fusion_jax.nn.mlp import gelu
from fusion_jax.records import Context
from tests.helpers import drawn, run, small_graph
from tests.nn.test_masked_groups import expected_groups

N, IN, D, H = 7, 5, 8, 2
GRAPH = small_graph(N, 24)
X = np.random.default_rng(0).normal(size=(N, IN))
PRESENT = np.arange(N) != 2


@pytest.fixture(scope="module")
def encoder():
    return drawn(lambda: ProbingInterModality(IN, D, heads=H, rate=0.4, share=0.5, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def contexts():
    return [Context(key=jax.random.key(k), step=jnp.int32(1), total=5) for k in range(4)]


def test_parsing_is_dense_attention_where_everybody_is_a_neighbour(encoder):
    senders, receivers = np.nonzero(~np.eye(N, dtype=bool))
    graph = Graph.create(senders, receivers, N)
    t = encoder.embed(jnp.asarray(X))
    q, k, v = (f(encoder.norm1(t)).reshape(N, H, -1) for f in (encoder.query, encoder.key, encoder.value))
    s = t + encoder.out(attend(q, k, v)[0].reshape(N, D))
    z = s + encoder.linear2(gelu(encoder.linear1(encoder.norm2(s))))
    np.testing.assert_allclose(run(encoder, X, graph), encoder.norm(encoder.project(z)), rtol=1e-9)


def test_in_evaluation_nothing_is_masked(encoder):
    y = run(encoder, X, GRAPH, PRESENT)
    (state,) = run(encoder, X, GRAPH, PRESENT, Context(), by=ProbingInterModality.states)
    np.testing.assert_array_equal(state.values[:, 0], y)
    assert state.axis == AXIS and not state.mask.any()


def test_in_training_the_masked_are_one_vector_and_the_rest_as_they_were(encoder, contexts):
    y, weights = run(encoder, X, GRAPH, PRESENT, by=ProbingInterModality.parse)
    loops, seen = GRAPH.looped, set()
    senders, receivers = np.asarray(loops.senders), np.asarray(loops.receivers)
    guide = np.where(PRESENT[senders] & (senders != receivers), np.asarray(weights).mean(1), -np.inf)
    others = np.bincount(receivers[np.isfinite(guide)], minlength=N)
    count = np.maximum(others // 2, 1)  # share is 1/2
    for context in contexts:
        (state,) = run(encoder, X, GRAPH, PRESENT, context, by=ProbingInterModality.states)
        mask = np.asarray(state.mask)[:, 0]
        seeds = PRESENT & np.asarray(jax.random.bernoulli(context.key, 0.4, (N,)))
        np.testing.assert_array_equal(mask, expected_groups(seeds, guide, loops, count))
        out = run(encoder, X, GRAPH, PRESENT, context)
        np.testing.assert_allclose(out[~mask], y[~mask], rtol=1e-9)
        np.testing.assert_array_equal(out[mask], np.tile(encoder.mask_vector[...], (mask.sum(), 1)))
        np.testing.assert_allclose(state.values[:, 0], y, rtol=1e-9)
        seen.add(tuple(mask))
    assert len(seen) > 1 and all(not mask[2] for mask in seen), "who is not there is not masked"


def test_what_is_masked_is_learned_from_nowhere_else(encoder, contexts):
    """No parameter but the vector moves what stands for a masked node, and none the target."""

    def value(state, of):
        module = nnx.merge(graphdef, state)
        (shown,) = module.states(X, GRAPH, None, contexts[0])
        out = module(X, GRAPH, None, contexts[0])
        return (jnp.where(shown.mask, out, 0) ** 2).sum() if of == "out" else (shown.values**2).sum()

    graphdef, state = nnx.split(encoder)
    grads = jax.jit(jax.grad(value), static_argnums=1)(state, "out")
    moving = {path[0] for path, g in nnx.to_flat_state(grads) if np.asarray(g[...]).any()}
    assert moving == {"mask_vector"}
    targets = jax.jit(jax.grad(value), static_argnums=1)(state, "target")
    assert not any(np.asarray(g[...]).any() for _, g in nnx.to_flat_state(targets))


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(heads=3), "heads=3 do not divide the width D=8"),
        (dict(rate=1.5), "rate=1.5, expected a number from 0 to 1"),
        (dict(share=-0.1), "share=-0.1, expected a number from 0 to 1"),
    ],
)
def test_a_bad_option_is_named(options, message):
    with pytest.raises(ValueError, match=f"encoder 'probing_inter_modality': {message}"):
        ProbingInterModality(IN, D, **options, rngs=nnx.Rngs(0))
