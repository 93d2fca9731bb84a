"""FSAT blocks: the spectral gate against the cosine transform, shared parts, and who is not there."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.graphs import Graph
from fusion_jax.nn.fsat import FSATStack, ITMBlock, Settings, Site, SpectralGate, columns, site_of
from fusion_jax.structures.base import Structure, derive
from tests import helpers
from tests.structures import cases

D = 8


def settings(**options):
    given = dict(
        heads=2,
        reduction=4,
        frequencies=4,
        coefficients="sum",
        window="neighbours",
        second_ring="pairs",
    )
    return Settings(**{**given, **options}).checked("stack", D)


def stack(blocks=2, seed=0, **options):
    return nnx.clone(_built(blocks, seed, tuple(options.items())))


@functools.cache
def _built(blocks, seed, options):
    return helpers.built(lambda: FSATStack.of(D, blocks, settings(**dict(options)), rngs=nnx.Rngs(seed)))


def at(here, **options):
    """A call of a stack at a site, to be run in one program."""
    return lambda module, x: module(x, here, **options)[0]


def site(graph, present=None, **options):
    own = settings(**options)
    there = jnp.ones(graph.num_nodes, bool) if present is None else jnp.asarray(present)
    structures = tuple(Structure(*wanted) for wanted in own.wanted)
    return site_of(derive([graph], structures)[0], there, own, structures)


def features(n, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(n, D)))


def cosines(n):
    """The orthonormal atoms of the cosine transform, one a column."""
    k, t = np.arange(n), np.arange(n)[:, None]
    return np.cos(np.pi * k * (t + 0.5) / n) * np.where(k == 0, np.sqrt(1 / n), np.sqrt(2 / n))


def grid(a, b):
    ids = np.arange(a * b).reshape(a, b)
    along, down = np.stack([ids[:, :-1], ids[:, 1:]]), np.stack([ids[:-1], ids[1:]])
    pairs = np.concatenate([along.reshape(2, -1), down.reshape(2, -1)], 1)
    return Graph.create(pairs[0], pairs[1], a * b)


def path(n):
    return Graph.create(np.arange(n - 1), np.arange(1, n), n)


def atoms(a, b):
    """Products of atoms [a b, a b], by ascending eigenvalue of the grid."""
    value = (2 - 2 * np.cos(np.pi * np.arange(a) / a))[:, None] + (2 - 2 * np.cos(np.pi * np.arange(b) / b))[None]
    both = np.einsum("iu,jv->ijuv", cosines(a), cosines(b)).reshape(a * b, a * b)
    return both[:, np.argsort(value.ravel(), kind="stable")]


@pytest.mark.parametrize(("graph", "modes"), [(path(11), cosines(11)), (grid(4, 7), atoms(4, 7))], ids=["path", "grid"])
def test_eigenvectors_give_the_gates_of_the_cosine_transform(graph, modes):
    """Up to the sign of the coefficients, which the gate leaves out."""
    declared = Structure("eigenvectors", {"k": D})
    spectrum = derive([graph], [declared])[0].structure(declared)
    assert (np.asarray(spectrum.multiplicity) == 1).all()
    gate = helpers.to_float64(SpectralGate(D, 3, range(D), rngs=nnx.Rngs(0)))
    signed = helpers.to_float64(SpectralGate(D, 3, range(D), absolute=False, rngs=nnx.Rngs(0)))
    x, there = features(graph.num_nodes), jnp.ones(graph.num_nodes, bool)
    ours = Site(graph, there, spectrum.vectors, lambda d: d, None)
    theirs = Site(graph, there, jnp.asarray(modes[:, :D]), lambda d: d, None)
    np.testing.assert_allclose(gate(x, ours)[1], gate(x, theirs)[1], rtol=1e-10)
    np.testing.assert_allclose(
        gate.coefficients(x, ours), jnp.abs(signed.coefficients(x, theirs)), rtol=1e-9, atol=1e-12
    )
    assert (np.asarray(signed.coefficients(x, theirs)) < 0).any()


def test_the_lowest_coefficient_is_the_sum_over_sqrt_n():
    """Of the mean over the nodes, where "mean" is asked for."""
    graph, x = grid(3, 4), features(12)
    gates = stack(frequencies=1).FAM_Attention.channel_attention
    z = gates.coefficients(x, site(graph, frequencies=1))
    np.testing.assert_allclose(z[0], np.abs(x.sum(0)) / np.sqrt(12), rtol=1e-10)
    averaged = stack(frequencies=1, coefficients="mean").FAM_Attention.channel_attention
    np.testing.assert_allclose(averaged.coefficients(x, site(graph, frequencies=1))[0], np.abs(x.mean(0)), rtol=1e-10)


def test_without_weights_all_gates_are_a_half():
    gate = stack().FAM_Attention.channel_attention
    gate.fc2.kernel.set_value(jnp.zeros_like(gate.fc2.kernel[...]))
    x = features(9)
    y, gates = gate(x, site(path(9)))
    np.testing.assert_array_equal(gates, np.full((1, D), 0.5))
    np.testing.assert_array_equal(y, x / 2)


def test_modes_that_a_small_graph_lacks_have_the_coefficient_0():
    z = stack().FAM_Attention.channel_attention.coefficients(features(3), site(path(3)))
    assert columns(D, range(4)) == (0, 0, 1, 1, 2, 2, 3, 3)
    assert (np.asarray(z)[0, :6] > 0).all() and not np.asarray(z)[0, 6:].any()


def test_channels_are_split_evenly():
    assert columns(7, (5, 0, 2)) == (5, 5, 5, 0, 0, 2, 2)
    assert columns(3, range(16)) == (0, 1, 2)


def test_a_single_node_is_its_own_mean():
    block, alone = helpers.to_float64(ITMBlock(D, 2, rngs=nnx.Rngs(0))), site(Graph.create([], [], 1))
    t = features(1)
    np.testing.assert_allclose(block.mix(t, alone), block.mlp(t), rtol=1e-14)


def test_the_window_of_one_token_is_the_value_path():
    """As one neighbourhood of the node alone."""
    block, x = helpers.to_float64(ITMBlock(D, 2, rngs=nnx.Rngs(0))), features(6)
    alone = Graph.create(np.array([], int), np.array([], int), 6)
    y, weights = block(x, site(path(6), window="self"))
    np.testing.assert_allclose(y, block(x, site(alone))[0], rtol=1e-13)
    assert weights is None and np.abs(y - block(x, site(path(6)))[0]).max() > 1e-3


def test_the_stack_is_its_steps_with_one_gate_and_one_norm():
    two, here, x = stack(), site(grid(3, 3)), features(9)
    y = x
    for block in two.blocks:
        y = two.join(block(y, here)[0], here)[0]
    np.testing.assert_array_equal(two(x, here)[0], y)
    own = {name for name in helpers.parameters(stack(3)) if not name.startswith("blocks.")}
    assert own == {name for name in helpers.parameters(stack(1)) if not name.startswith("blocks.")}
    start = np.asarray(two.bn.mean[...])
    two(x, here, training=True)
    once = stack()
    t = once.blocks[0](x, here)[0]
    once.join(t, here, training=True)
    moved = np.asarray(once.bn.mean[...])
    assert np.abs(moved - start).max() > 1e-4 and np.abs(np.asarray(two.bn.mean[...]) - moved).max() > 1e-4


@pytest.mark.parametrize("second_ring", ["pairs", "repeated"])
@pytest.mark.parametrize("training", [False, True])
def test_absent_nodes_are_as_if_cut_out(training, second_ring):
    """Given the same modes: the nodes left out are isolated, so that the rings of the others stay."""
    n, gone = 8, np.array([2, 5])
    kept = np.setdiff1d(np.arange(n), gone)
    graph = path(n)
    present = np.isin(np.arange(n), kept)
    whole = site(graph, present, second_ring=second_ring)
    rank = np.cumsum(present) - 1
    held = [(s, s + 1) for s in range(n - 1) if present[s] and present[s + 1]]
    small = Graph.create([rank[s] for s, _ in held], [rank[r] for _, r in held], len(kept))
    part = site(small, second_ring=second_ring)._replace(vectors=whole.vectors[kept])
    if second_ring == "pairs":  # on the whole path nodes 1 and 3 are two edges apart over node 2, which is gone
        near, far = _rings(n, present)
        part = part._replace(around=lambda d: jnp.concatenate([d, near @ d, far @ d], -1))
    x = features(n)
    nan = jnp.where(jnp.asarray(present)[:, None], x, 3.0)
    y = helpers.run(stack(), nan, by=at(whole, training=training))
    alone = helpers.run(stack(), x[kept], by=at(part, training=training))
    np.testing.assert_allclose(y[kept], alone, rtol=1e-10, atol=1e-12)


def _rings(n, present):
    """Means over nodes one and two steps back on a path, of those present, [K, K] each."""
    found = []
    for step in (1, 2):
        matrix = (np.eye(n, k=-step) * present)[present][:, present]
        found.append(jnp.asarray(matrix / np.maximum(matrix.sum(1, keepdims=True), 1)))
    return found


def test_graphs_of_a_batch_do_not_meet():
    graph = cases.batch(3)
    here, x = site(graph), features(graph.num_nodes)
    other = jnp.where(here.graph.graph_ids[:, None] == 0, x, 5 * x - 1)
    first = np.asarray(here.graph.graph_ids) == 0
    call = at(here)
    one, two = (np.asarray(helpers.run(stack(), x, by=call)) for x in (x, other))
    np.testing.assert_allclose(one[first], two[first], rtol=1e-12)
    assert np.abs(one[~first] - two[~first]).max() > 0.1


def test_gradients_where_all_channels_are_equal():
    here, module, x = site(path(5)), stack(), jnp.ones((5, D))
    fc2 = module.FAM_Attention.channel_attention.fc2
    fc2.kernel.set_value(jnp.zeros_like(fc2.kernel[...]))  # gates that are all a half leave them equal
    found = jax.jit(jax.grad(lambda x: (nnx.clone(module).join(x, here)[0] ** 2).sum()))(x)
    assert np.isfinite(found).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": "selves"}, "did you mean 'self'"),
        ({"coefficients": "max"}, "coefficients='max'"),
        ({"second_ring": "pair"}, "second_ring='pair'"),
        ({"heads": 3}, "heads=3 does not divide the width D=8"),
        ({"reduction": 0}, "reduction=0"),
        ({"frequencies": ()}, "frequencies="),
        ({"frequencies": (0, -1)}, "frequencies="),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ValueError, match=f"stack: .*{words}"):
        settings(**options)
