"""DFYP: what the golden cases cannot show of the branches and of how they are added."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.dfyp import DFYP
from fusion_jax.graphs import Graph
from fusion_jax.structures.base import derive
from tests.helpers import built, filled, parameters, run, shown

N, M, D = 8, 3, 8


def made(modalities=M, **options):
    return DFYP(modalities, D, **{"depth": 1, "heads": 2, **options}, rngs=nnx.Rngs(0))


@functools.cache
def start(tokens):
    """The parameters at the start, by path."""
    return {path: np.asarray(value[...]) for path, value in parameters(built(lambda: made(tokens=tokens))).items()}


def net(tokens="nodes"):
    return filled(lambda: made(tokens=tokens), lambda path, _: start(tokens)[path])


def weighed(fusion, near, far):
    fusion.a1.set_value(jnp.asarray(near))
    fusion.a2.set_value(jnp.asarray(far))
    return fusion


def graph(fusion):
    """Two of four nodes each: a path 0 -> 1 -> 2 and an isolated node; a pair and two isolated ones."""
    return derive([Graph.create([0, 1, 4, 5], [1, 2, 5, 4], np.array([4, 4]))], fusion.structures)[0]


def features(seed=0):
    return np.random.default_rng(seed).normal(size=(N, M, D))


def test_each_branch_alone_and_both():
    """out = a_1 local + a_2 global, and nothing holds the two in [0, 1]."""
    fusion, x, mask = net(), features(), np.ones((N, M), bool)
    weights = (1.0, 0.0), (0.0, 1.0), (3.0, -1.5)
    near, far, both = (np.asarray(run(weighed(fusion, *a), x, mask, graph(fusion)).out) for a in weights)
    np.testing.assert_allclose(both, 3 * near - 1.5 * far, rtol=1e-10, atol=1e-12)
    assert np.abs(near).max() > 0.1 and np.abs(far).max() > 0.1
    start = net()
    assert float(start.a1[...]) == float(start.a2[...]) == float(start.filtered.weight[...]) == 0.5


def test_the_blend_feeds_the_local_branch_alone():
    fusion, x, mask = net(), features(), np.ones((N, M), bool)
    found = []
    for weight in (0.5, 2.0):
        fusion.filtered.weight.set_value(jnp.asarray(weight))
        outs = (run(weighed(fusion, *a), x, mask, graph(fusion)).out for a in ((1.0, 0.0), (0.0, 1.0)))
        found.append([np.asarray(out) for out in outs])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert np.abs(found[0][0] - found[1][0]).max() > 1e-3


def test_gradients_are_no_larger_where_a_node_has_nothing():
    """Layer norms of zeros have slopes of 1 / sqrt(1e-5) each: a token made of nothing went through two in a row."""
    fusion, x, everybody = net(), features(), np.ones((N, M), bool)
    held, (graphdef, state) = graph(fusion), nnx.split(fusion)

    @jax.jit
    @jax.grad
    def slopes(state, mask):
        part = jnp.where(mask[..., None], x, 0).reshape(N, -1)
        branch = nnx.merge(graphdef, state, copy=True).global_branch
        return branch.of_nodes(part, mask.any(1), held, key=None)[:, 0].sum()

    def largest(mask):
        return max(float(np.abs(g).max()) for g in jax.tree.leaves(slopes(state, mask)))

    less = everybody.copy()
    less[1] = False
    assert largest(less) < 10 * largest(everybody)


@pytest.mark.parametrize("tokens", ["nodes", "modalities"])
def test_who_is_seen_by_the_global_branch(tokens):
    """All nodes of the graph that have something, or the node alone; gates are left out, since they see the graph."""
    fusion = weighed(net(tokens), 0.0, 1.0)
    fusion.filtered.attention.fc2.kernel.set_value(jnp.zeros_like(fusion.filtered.attention.fc2.kernel[...]))
    x, mask = features(), np.ones((N, M), bool)
    mask[3] = False

    def moved(node):
        """The nodes whose output changes with x of another."""
        other = x.copy()
        other[node] += features(1)[node]
        one, two = (np.asarray(run(fusion, a, mask, graph(fusion)).out) for a in (x, other))
        return np.flatnonzero(np.abs(one - two).max(1) > 1e-9).tolist()

    assert moved(0) == ([0, 1, 2, 3] if tokens == "nodes" else [0])
    assert moved(3) == []
    assert moved(5) == ([4, 5, 6, 7] if tokens == "nodes" else [5])


def test_modalities_as_tokens_leave_missing_ones_out():
    fusion, x, mask = net("modalities"), features(), np.ones((N, M), bool)
    mask[1, 0] = mask[2] = False
    weights = shown(run(fusion, x, mask, graph(fusion)), "tokens")
    np.testing.assert_allclose(weights.sum(-1), np.ones((N, 2)), rtol=1e-12)
    assert not weights[1, :, 1].any() and (weights[1, :, [0, 2, 3]] > 0).all()
    np.testing.assert_array_equal(weights[2, :, 0], np.ones(2))


@pytest.mark.parametrize("tokens", ["nodes", "modalities"])
def test_reached(tokens):
    """Over two edges in the local branch; all of a graph where its nodes are tokens."""
    fusion, mask = net(tokens), np.zeros((N, M), bool)
    mask[0, 1] = True
    expected = [0, 1, 2, 3] if tokens == "nodes" else [0, 1, 2]
    assert np.flatnonzero(run(fusion, mask, graph(fusion), by=DFYP.reached)).tolist() == expected


FINE = {"operator": "scharr", "resolution": "fine"}


@pytest.mark.parametrize(
    ("modalities", "options"), [(1, {"select": "gate"}), (6, {"select": "gate"}), (1, FINE), (2, FINE)]
)
def test_any_number_of_modalities(modalities, options):
    fusion = built(lambda: made(modalities, tokens="modalities", **options))
    x = np.random.default_rng(2).normal(size=(N, modalities, D))
    out = np.asarray(run(fusion, x, np.ones((N, modalities), bool), graph(fusion)).out)
    assert out.shape == (N, D) and np.isfinite(out).all() and np.abs(out).max() < 20


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"resolution": "course"}, "resolution='course' .did you mean 'coarse'"),
        ({"reduction": 0}, "reduction=0"),
        ({"tokens": "node"}, "tokens='node' .did you mean 'nodes'"),
        ({"depth": 0}, "depth=0"),
        ({"select": "gate", "operator": "sobel"}, "select='gate' weighs all operators"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ValueError, match=f"fusion 'dfyp': {words}"):
        nnx.eval_shape(lambda: made(**options))
