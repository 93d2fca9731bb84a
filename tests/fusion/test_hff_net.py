"""HFF-Net: what the golden cases cannot show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.hff_net import HFFNet
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from tests import helpers
from tests.helpers import shown

N, M, D, C = 7, 3, 16, 2


def net(**options):
    return helpers.to_float64(HFFNet(M, D, outputs=C, rngs=nnx.Rngs(0), **options))


def inputs(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(N, M, D)))


MASK = jnp.ones((N, M), bool).at[2, 0].set(False).at[4].set(False)


def test_heads_and_prediction():
    fused = net()(inputs(), MASK, helpers.small_graph(N))
    assert [head.name for head in fused.heads] == ["low", "high"]
    np.testing.assert_allclose(fused.prediction, sum(head.values for head in fused.heads) / 2, rtol=1e-12)


def test_gates():
    """The product gate contains R and is bounded by the clip; the sigmoid gate lies in (0, 1)."""
    graph = helpers.small_graph(N)
    product = shown(net()(inputs(), MASK, graph), "high gates")
    assert product.min() < 0
    assert np.abs(product).max() < 1
    unbounded = shown(net(clip=None)(4 * inputs(), MASK, graph), "high gates")
    assert np.abs(unbounded).max() > 1
    sigmoid = shown(net(gate="sigmoid")(inputs(), MASK, graph), "high gates")
    there = np.broadcast_to(MASK[:, None, None], sigmoid.shape)
    assert (sigmoid[there] > 0).all()
    assert (sigmoid[there] < 1).all()
    assert not sigmoid[~there].any()


def test_scale():
    """Normalised, the gates do not depend on the scale of what they gate."""
    one, other = (net(clip=None), net(clip=None, normalise=False))
    graph, s = helpers.small_graph(N), jnp.where(MASK[..., None], jnp.abs(inputs()), 0)
    for fusion, same in ((one, True), (other, False)):
        gates = [fusion.attend(fusion.fdca[0], c * s, MASK, graph, None)[1] for c in (1.0, 3.0)]
        assert np.allclose(*gates, rtol=1e-4) is same


def test_uncertainty_is_drawn_in_training_only():
    fusion, graph, x = net(), helpers.small_graph(N), inputs()
    contexts = [Context(key=jax.random.key(i), step=jnp.int32(0), total=10) for i in range(2)]
    drawn = [fusion(x, MASK, graph, c).out for c in contexts]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    np.testing.assert_array_equal(fusion(x, MASK, graph).out, fusion(x, MASK, graph).out)
    still = net(uncertainty=False)
    np.testing.assert_array_equal(*(still(x, MASK, graph, c).out for c in contexts))


def test_no_gradient_passes_through_the_sample():
    graphdef, params, rest = nnx.split(net(reduction=2), nnx.Param, ...)
    context = Context(key=jax.random.key(0), step=jnp.int32(0), total=10)

    def loss(params):
        out = nnx.merge(graphdef, params, rest, copy=True)(inputs(), MASK, helpers.small_graph(N), context).out
        return (out * inputs(1)[:, 0]).sum()

    slopes = nnx.to_flat_state(jax.grad(loss)(params))
    size = {".".join(map(str, path)): float(jnp.abs(v[...]).max()) for path, v in slopes}
    assert all(v == 0 for path, v in size.items() if ".slice." in path)
    assert size["fdca.0.semantic.fc2.kernel"] > 0
    assert size["alc.kernel"] > 0


def test_losses():
    """The focal weight grows with the epoch; the pull is 0 while W is the Laplacian."""
    fusion, graph, x = net(uncertainty=False), helpers.small_graph(N), inputs()

    def losses(step):
        return fusion(x, MASK, graph, Context(step=jnp.int32(step), total=10)).losses

    first, last = losses(0), losses(9)
    assert first["laplacian"] == 0
    np.testing.assert_allclose(10 * first["focal"], last["focal"], rtol=1e-6)
    assert first["focal"] > 0
    fusion.alc.kernel[...] = fusion.alc.kernel[...] + 2
    np.testing.assert_allclose(losses(0)["laplacian"], 5e-6 * 4 * D * D, rtol=1e-6)
    assert net(focal=0.0)(x, MASK, graph).losses["focal"] == 0


def test_graphs_of_a_batch_do_not_meet():
    a, b = helpers.small_graph(N, 18, 0), helpers.small_graph(N, 15, 1)
    ends = [
        np.concatenate([np.asarray(getattr(a, e)), N + np.asarray(getattr(b, e))]) for e in ("senders", "receivers")
    ]
    both = Graph.create(*ends, np.array([N, N]))
    fusion, x, y = net(), inputs(), inputs(1)
    together = fusion(jnp.concatenate([x, y]), jnp.concatenate([MASK, MASK]), both).out
    np.testing.assert_allclose(together[:N], fusion(x, MASK, a).out, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(together[N:], fusion(y, MASK, b).out, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("width", [32, 128])
def test_numbers_are_sane_at_the_start(width):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(40, M, width)))
    fusion = helpers.to_float64(HFFNet(M, width, outputs=C, rngs=nnx.Rngs(0)))
    out = np.asarray(fusion(x, jnp.ones((40, M), bool), helpers.small_graph(40, 160)).out)
    assert 0.1 < out.std() < 10
    assert (out.std(0) > 1e-3).mean() > 0.9


@pytest.mark.parametrize("options", [{"gate": "tanh"}, {"clip": 0.0}, {"levels": 0}, {"rank": 0}, {"focal": -1.0}])
def test_refusals(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"fusion 'hff_net': {name}="):
        HFFNet(M, D, outputs=C, rngs=nnx.Rngs(0), **options)
