"""Channel-attention fusion: streams apart, limits, what is missing, batches of graphs."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.fe_lsd_ca_fusion import FeLsdCaFusion
from fusion_jax.graphs import Graph
from tests.helpers import shown, to_float64

N, M, D = 7, 3, 8


def inputs():
    return jnp.asarray(np.random.default_rng(0).normal(size=(N, M, D))), jnp.ones((N, M), bool)


def net():
    return to_float64(FeLsdCaFusion(M, D, reduction=4, rngs=nnx.Rngs(0)))


def test_streams_gate_themselves():
    x, mask = inputs()
    one, two = net()(x, mask), net()(x.at[:, 1].multiply(-2.0), mask)
    np.testing.assert_array_equal(one.tokens[:, [0, 2]], two.tokens[:, [0, 2]])
    gates = shown(one, "gates").swapaxes(1, 2)
    assert ((gates > 0) & (gates < 1)).all()
    np.testing.assert_allclose(one.tokens, gates * x, rtol=1e-12)
    np.testing.assert_allclose(one.out, (gates * x).sum(1), rtol=1e-12)


def test_zero_attention_is_half_the_sum():
    (x, mask), fusion = inputs(), net()
    for attention in fusion.ca:
        attention.fc.fc2.kernel.set_value(jnp.zeros_like(attention.fc.fc2.kernel[...]))
    np.testing.assert_allclose(fusion(x, mask).out, x.sum(1) / 2, rtol=1e-12)


def test_each_graph_by_itself_and_what_is_there():
    x, mask = inputs()
    mask = mask.at[2, 1].set(False).at[4:, 0].set(False)
    nobody = np.array([], int)
    both = net()(x.at[2, 1].set(jnp.nan), mask, Graph.create(nobody, nobody, np.array([4, 3])))
    for rows in (slice(0, 4), slice(4, 7)):
        np.testing.assert_allclose(both.out[rows], net()(x[rows], mask[rows]).out, rtol=1e-12)
    whole = np.array([0, 1, 3])  # the nodes that have modality 1 are the graph of its gate
    alone = net()(x[whole], mask[whole]).tokens
    np.testing.assert_allclose(both.tokens[whole, 1], alone[:, 1], rtol=1e-12)


def test_refusals():
    with pytest.raises(ValueError, match="fusion 'fe_lsd_ca_fusion': reduction="):
        FeLsdCaFusion(M, D, reduction=0, rngs=nnx.Rngs(0))
    widest = FeLsdCaFusion(M, D, reduction=1, rngs=nnx.Rngs(0))
    assert widest.ca[0].fc.fc1.out_features == D
