"""The mixers: what they do with masks and groups, their limits, their symmetries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy.special import erf

from fusion_jax.graphs import Graph
from fusion_jax.nn import long_sequence as mixers
from fusion_jax.nn.long_sequence import Groups, graphs_of
from tests.helpers import drawn, run

L, D, H = 7, 4, 2
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(L, D)))
MASK = jnp.asarray([True, False, True, True, True, False, True])
EVERYBODY = jnp.ones(L, bool)
OF = jnp.asarray([0, 0, 0, 0, 2, 2, 2])

SETS = {
    "softmax": lambda: mixers.Softmax(D, D, H, rngs=nnx.Rngs(0)),
    "blocks": lambda: mixers.Softmax(D, D, H, block=2, rngs=nnx.Rngs(0)),
    "linear": lambda: mixers.Linear(D, D, H, rngs=nnx.Rngs(0)),
}
SEQUENCES = {
    "low_rank": lambda: mixers.LowRank(L, D, D, H, rank=3, rngs=nnx.Rngs(0)),
    "fourier": mixers.Fourier,
    "mlp": lambda: mixers.MLPMix(L, rngs=nnx.Rngs(0)),
    "mlp of two": lambda: mixers.MLPMix(L, hidden=5, rngs=nnx.Rngs(0)),
    "convolution": lambda: mixers.Convolution(3, rngs=nnx.Rngs(0)),
}


def mixed(name, x, mask, *groups):
    return np.asarray(run(drawn({**SETS, **SEQUENCES}[name]), x, mask, *groups, by=lambda m, *args: m.mix(*args)))


@pytest.mark.parametrize("name", SETS)
def test_with_a_mask_a_set_is_mixed_as_the_positions_that_are_there_alone(name):
    alone = mixed(name, X[MASK], EVERYBODY[MASK])
    np.testing.assert_allclose(mixed(name, X, MASK)[MASK], alone, rtol=1e-12)
    assert np.abs(mixed(name, X, EVERYBODY)[MASK] - alone).max() > 1e-3


@pytest.mark.parametrize("name", SETS)
def test_groups_are_mixed_each_by_itself(name):
    together = mixed(name, X, MASK, Groups(OF, 3))
    for group in (0, 2):
        of = np.asarray(OF) == group
        np.testing.assert_allclose(together[of], mixed(name, X[of], MASK[of]), rtol=1e-12)
    nobody = mixed(name, X, MASK & (OF != 2), Groups(OF, 3))
    assert np.isfinite(nobody).all() and not nobody[np.asarray(OF) == 2].any()


@pytest.mark.parametrize("name", SEQUENCES)
def test_what_is_not_there_is_zeros_in_a_sequence(name):
    spoilt = jnp.where(MASK[:, None], X, jnp.nan)
    found = mixed(name, spoilt, MASK)
    there = np.asarray(MASK)
    zeros = mixed(name, jnp.where(MASK[:, None], X, 0), EVERYBODY)
    np.testing.assert_allclose(found[there], zeros[there], rtol=1e-12)
    assert np.abs(found - mixed(name, X, EVERYBODY)).max() > 1e-3


@pytest.mark.parametrize("name", [*SETS, *SEQUENCES])
def test_sets_have_no_order_and_sequences_have_one(name):
    order = RNG.permutation(L)
    found, other = mixed(name, X, EVERYBODY)[order], mixed(name, X[order], EVERYBODY)
    if name in SETS:
        np.testing.assert_allclose(other, found, rtol=1e-11)
    else:
        assert np.abs(other - found).max() > 1e-3


def test_a_convolution_is_circulant_and_shifts_with_its_input():
    np.testing.assert_allclose(
        mixed("convolution", jnp.roll(X, 2, 0), EVERYBODY), np.roll(mixed("convolution", X, EVERYBODY), 2, 0)
    )
    kernel = drawn(SEQUENCES["convolution"]).kernel[...]
    expected = [sum(kernel[t] * X[(i - t) % L] for t in range(3)) for i in range(L)]
    np.testing.assert_allclose(mixed("convolution", X, EVERYBODY), expected, rtol=1e-12)
    short = mixed("convolution", X[:2], EVERYBODY[:2])  # longer than the sequence it goes around more than once
    np.testing.assert_allclose(short[0], (kernel[0] + kernel[2]) * X[0] + kernel[1] * X[1], rtol=1e-12)


def test_linear_attention_is_the_kernel_summed_over_all_pairs():
    module = drawn(SETS["linear"])
    q, k, v = (a.reshape(L, H, -1) for a in (X @ f.kernel[...] for f in (module.query, module.key, module.value)))
    gram = jnp.einsum("ihd,jhd->hij", jax.nn.elu(q) + 1, jax.nn.elu(k) + 1) * MASK.astype(X.dtype)
    expected = jnp.einsum("hij,jhd->ihd", gram / gram.sum(-1, keepdims=True), v).reshape(L, -1)
    np.testing.assert_allclose(mixed("linear", X, MASK), expected, rtol=1e-12)


def test_low_rank_with_every_position_its_own_combination_is_attention():
    low = drawn(lambda: mixers.LowRank(L, D, D, H, rank=L, rngs=nnx.Rngs(0)))
    low.combine[...] = jnp.eye(L)
    full = drawn(SETS["softmax"])
    for name in ("query", "key", "value"):
        getattr(full, name).kernel[...] = getattr(low, name).kernel[...]
    np.testing.assert_allclose(low.mix(X, EVERYBODY), full.mix(X, EVERYBODY), rtol=1e-12)


def test_the_weights_are_those_that_are_mixed_with():
    module = drawn(SETS["blocks"])
    weights = module.weights(X, MASK)
    np.testing.assert_allclose(weights.sum(-1), 1, rtol=1e-12)
    value = (X @ module.value.kernel[...]).reshape(L, H, -1)
    mean = jnp.einsum("hij,jhd->ihd", weights, value).reshape(L, -1)
    np.testing.assert_allclose(module.mix(X, MASK), mean, rtol=1e-12)


@pytest.mark.parametrize("name", [*SETS, *SEQUENCES])
def test_bfloat16_stays_and_gradients_are_finite(name):
    graphdef, state = nnx.split(drawn({**SETS, **SEQUENCES}[name]))
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), state)
    for mask in (MASK, jnp.zeros(L, bool)):
        exact = nnx.merge(graphdef, state).mix(X, mask)
        found = nnx.merge(graphdef, low).mix(X.astype(jnp.bfloat16), mask)
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.asarray(found, np.float64), exact, atol=0.05 * (1 + float(abs(exact).max())))
        grads = jax.grad(lambda s, x, mask=mask: (nnx.merge(graphdef, s).mix(x, mask) ** 2).sum(), (0, 1))(state, X)
        assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))


def test_the_graphs_of_a_batch_are_the_groups():
    two = Graph.create(np.array([0, 3]), np.array([1, 4]), np.array([2, 3]))
    np.testing.assert_array_equal(graphs_of(two, 2).of, [0] * 4 + [1] * 6)
    assert graphs_of(two).count == 2 and graphs_of(None) == graphs_of(Graph.create(*np.zeros((2, 1), int), 3))


def test_combinations_and_kernels_start_with_the_size_of_what_they_sum():
    """A sum of n terms of size one has the size one."""
    combine = mixers.LowRank(100, D, D, H, rank=50, rngs=nnx.Rngs(0)).combine[...]
    kernel = mixers.Convolution(400, rngs=nnx.Rngs(0)).kernel[...]
    assert combine.shape == (50, 100) and kernel.shape == (400,)
    np.testing.assert_allclose([combine.std(), kernel.std()], [0.1, 0.05], rtol=0.1)


def test_the_mlp_of_two_has_the_exact_gelu():
    module = drawn(SEQUENCES["mlp of two"])
    inner = np.asarray(X).T @ np.asarray(module.fc1.kernel[...])
    inner = inner * (1 + erf(inner / np.sqrt(2))) / 2
    expected = (inner @ np.asarray(module.fc2.kernel[...])).T
    np.testing.assert_allclose(mixed("mlp of two", X, EVERYBODY), expected, rtol=1e-10)


@pytest.mark.parametrize("groups", [(), (Groups(OF, 3),)], ids=["one", "groups"])
def test_linear_attention_in_bfloat16_is_rounded_once_behind_its_sums(groups):
    module = drawn(SETS["linear"])
    graphdef, state = nnx.split(module)
    halves = nnx.merge(graphdef, jax.tree.map(lambda a: a.astype(jnp.bfloat16), state))
    x = X.astype(jnp.bfloat16)
    q, k, v = (np.asarray(a, float) for a in halves.projected(x))
    q, k = (np.asarray(jax.nn.elu(jnp.asarray(a, jnp.bfloat16)) + 1, float) for a in (q, k))
    seen = np.asarray(MASK) & (np.asarray(OF)[:, None] == np.asarray(OF) if groups else True)
    weights = np.einsum("lhd,mhd->hlm", q, k) * seen
    expected = np.einsum("hlm,mhd->lhd", weights / weights.sum(-1, keepdims=True), v).reshape(L, D)
    found = np.asarray(halves.mix(x, MASK, *groups), float)
    np.testing.assert_allclose(found, expected, rtol=2**-8, atol=1e-5)  # one rounding to bfloat16
