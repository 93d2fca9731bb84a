"""DFYP: what the golden cases cannot show of the branches and of how they are added."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.dfyp import DFYP
from fusion_jax.graphs import Graph
from fusion_jax.structures.base import derive
from tests import helpers
from tests.helpers import shown

N, M, D = 8, 3, 8


def net(modalities=M, seed=0, **options):
    given = {"depth": 1, "heads": 2, **options}
    return helpers.to_float64(DFYP(modalities, D, **given, rngs=nnx.Rngs(seed)))


def weighed(fusion, near, far):
    fusion.a1.set_value(jnp.asarray(near))
    fusion.a2.set_value(jnp.asarray(far))
    return fusion


def graph(fusion):
    """Two of four nodes each: a path 0 -> 1 -> 2 and an isolated node; a pair and two isolated ones."""
    return derive([Graph.create([0, 1, 4, 5], [1, 2, 5, 4], np.array([4, 4]))], fusion.structures)[0]


def features(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, M, D)))


def test_each_branch_alone_and_both():
    """out = a_1 local + a_2 global, and nothing holds the two in [0, 1]."""
    fusion, x, mask = net(), features(), jnp.ones((N, M), bool)
    near, far = (weighed(fusion, *a)(x, mask, graph(fusion)).out for a in ((1.0, 0.0), (0.0, 1.0)))
    both = weighed(fusion, 3.0, -1.5)(x, mask, graph(fusion)).out
    np.testing.assert_allclose(both, 3 * near - 1.5 * far, rtol=1e-10, atol=1e-12)
    assert np.abs(near).max() > 0.1 and np.abs(far).max() > 0.1
    start = net()
    assert float(start.a1[...]) == float(start.a2[...]) == float(start.filtered.weight[...]) == 0.5


def test_the_blend_feeds_the_local_branch_alone():
    fusion, x, mask = net(), features(), jnp.ones((N, M), bool)
    found = []
    for weight in (0.5, 2.0):
        fusion.filtered.weight.set_value(jnp.asarray(weight))
        found.append([weighed(fusion, *a)(x, mask, graph(fusion)).out for a in ((1.0, 0.0), (0.0, 1.0))])
    np.testing.assert_array_equal(found[0][1], found[1][1])
    assert np.abs(found[0][0] - found[1][0]).max() > 1e-3


def test_gradients_are_no_larger_where_a_node_has_nothing():
    """Layer norms of zeros have slopes of 1 / sqrt(1e-5) each: a token made of nothing went through two in a row."""
    fusion, x = net(), features()

    def largest(mask):
        gradients = nnx.grad(lambda f: f.global_branch.of_nodes(part(mask), mask.any(1), held, key=None)[:, 0].sum())
        return max(float(jnp.abs(g).max()) for g in jax.tree.leaves(gradients(fusion)))

    def part(mask):
        return jnp.where(mask[..., None], x, 0).reshape(N, -1)

    held, everybody = graph(fusion), jnp.ones((N, M), bool)
    assert largest(everybody.at[1].set(False)) < 10 * largest(everybody)


@pytest.mark.parametrize("tokens", ["nodes", "modalities"])
def test_who_is_seen_by_the_global_branch(tokens):
    """All nodes of the graph that have something, or the node alone; gates are left out, since they see the graph."""
    fusion = weighed(net(tokens=tokens), 0.0, 1.0)
    fusion.filtered.attention.fc2.kernel.set_value(jnp.zeros_like(fusion.filtered.attention.fc2.kernel[...]))
    x, mask = features(), jnp.ones((N, M), bool).at[3].set(False)

    def moved(node):
        """The nodes whose output changes with x of another."""
        one, two = (fusion(a, mask, graph(fusion)).out for a in (x, x.at[node].add(features(1)[node])))
        return np.flatnonzero(np.abs(one - two).max(1) > 1e-9).tolist()

    assert moved(0) == ([0, 1, 2, 3] if tokens == "nodes" else [0])
    assert moved(3) == []
    assert moved(5) == ([4, 5, 6, 7] if tokens == "nodes" else [5])


def test_modalities_as_tokens_leave_missing_ones_out():
    fusion, x = net(tokens="modalities"), features()
    mask = jnp.ones((N, M), bool).at[1, 0].set(False).at[2].set(False)
    weights = shown(fusion(x, mask, graph(fusion)), "tokens")
    np.testing.assert_allclose(weights.sum(-1), np.ones((N, 2)), rtol=1e-12)
    assert not weights[1, :, 1].any() and (weights[1, :, [0, 2, 3]] > 0).all()
    np.testing.assert_array_equal(weights[2, :, 0], np.ones(2))


@pytest.mark.parametrize("tokens", ["nodes", "modalities"])
def test_reached(tokens):
    """Over two edges in the local branch; all of a graph where its nodes are tokens."""
    fusion = net(tokens=tokens)
    mask = jnp.zeros((N, M), bool).at[0, 1].set(True)
    expected = [0, 1, 2, 3] if tokens == "nodes" else [0, 1, 2]
    assert np.flatnonzero(fusion.reached(mask, graph(fusion))).tolist() == expected


@pytest.mark.parametrize("modalities", [1, 2, 6])
@pytest.mark.parametrize("options", [{"select": "gate"}, {"operator": "scharr", "resolution": "fine"}])
def test_any_number_of_modalities(modalities, options):
    fusion = net(modalities, tokens="modalities", **options)
    x = jnp.asarray(np.random.default_rng(2).normal(size=(N, modalities, D)))
    out = fusion(x, jnp.ones((N, modalities), bool), graph(fusion)).out
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
        net(**options)
