"""The encoder of DFYP: one modality, and nodes that lack it."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.encoders.dfyp import DFYP
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from fusion_jax.structures.base import derive
from tests import helpers


def net(**options):
    return helpers.to_float64(DFYP(5, 4, **options, rngs=nnx.Rngs(0)))


def line(encoder, senders=(0, 1, 2, 3), receivers=(1, 2, 3, 4)):
    return derive([Graph.create(np.array(senders), np.array(receivers), 6)], encoder.structures)[0]


def features():
    return jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)))


def test_it_is_the_fusions_first_part_and_a_linear_map():
    encoder, x = net(), features()
    _, blended, _ = encoder.filtered(
        x[:, None], jnp.ones((6, 1), bool), line(encoder), line(encoder).structure(encoder.structures[0])
    )
    np.testing.assert_allclose(encoder(x, line(encoder)), encoder.linear(blended[:, 0]), rtol=1e-13)


def test_a_node_that_lacks_the_modality_is_cut_out():
    """Not as a neighbour, and not two edges away over another either: node 4 hears of 2 over 3."""
    encoder, x = net(resolution="fine"), features()
    present = jnp.ones(6, bool).at[2].set(False)
    y = encoder(jnp.where(present[:, None], x, jnp.nan), line(encoder), present)
    alone = encoder(x, line(encoder, (0, 3), (1, 4)), present)
    kept = np.array([0, 1, 3, 4, 5])
    far = np.array([0, 1, 4, 5])  # node 3 keeps its pair with 1, over the node that is gone
    np.testing.assert_allclose(y[far], alone[far], rtol=1e-12)
    assert np.isfinite(y[kept]).all()
    np.testing.assert_array_equal(encoder.reached(present, line(encoder)), present)


def test_without_a_blend_and_gates_it_is_linear():
    encoder, x = net(), features()
    encoder.filtered.weight.set_value(jnp.asarray(0.0))
    encoder.filtered.attention.fc2.kernel.set_value(jnp.zeros((1, 5)))
    np.testing.assert_allclose(encoder(x, line(encoder)), encoder.linear(x / 2), rtol=1e-13)
    gates, operators = encoder.attention(x, line(encoder), None, Context())
    np.testing.assert_array_equal(gates.weights, np.full((1, 1, 5), 0.5))
    assert operators.weights.shape == (1, 1)


@pytest.mark.parametrize("options", [{"resolution": "medium"}, {"select": "gate", "operator": "sobel"}])
def test_refusals(options):
    with pytest.raises(ValueError, match="encoder 'dfyp'"):
        net(**options)
