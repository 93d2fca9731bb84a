"""HFF-Net: what the golden cases cannot show."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.hff_net import HFFNet
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from tests.helpers import built, filled, parameters, run, shown, small_graph

N, M, D, C = 7, 3, 8, 2
GRAPH = small_graph(N)
MASK = np.ones((N, M), bool)
MASK[2, 0] = MASK[4] = False


def made(**options):
    return HFFNet(M, D, outputs=C, **{"levels": 2, "reduction": 2, **options}, rngs=nnx.Rngs(0))


@functools.cache
def start():
    """The parameters at the start, by path; no option of these tests makes others."""
    return {path: np.asarray(value[...]) for path, value in parameters(built(made)).items()}


def net(**options):
    return filled(lambda: made(**options), lambda path, _: start()[path])


def inputs(seed=0):
    return np.random.default_rng(seed).normal(size=(N, M, D))


def training(step=0, seed=0):
    return Context(key=jax.random.key(seed), step=np.int32(step), total=10)


def test_heads_and_prediction():
    fused = run(net(), inputs(), MASK, GRAPH)
    assert [head.name for head in fused.heads] == ["low", "high"]
    np.testing.assert_allclose(fused.prediction, sum(np.asarray(head.values) for head in fused.heads) / 2, rtol=1e-12)


def test_gates():
    """The product gate contains R and is bounded by the clip; the sigmoid gate lies in (0, 1)."""
    product = shown(run(net(), inputs(), MASK, GRAPH), "high gates")
    assert product.min() < 0
    assert np.abs(product).max() < 1
    unbounded = shown(run(net(clip=None), 4 * inputs(), MASK, GRAPH), "high gates")
    assert np.abs(unbounded).max() > 1
    sigmoid = shown(run(net(gate="sigmoid"), inputs(), MASK, GRAPH), "high gates")
    there = np.broadcast_to(MASK[:, None, None], sigmoid.shape)
    assert (sigmoid[there] > 0).all()
    assert (sigmoid[there] < 1).all()
    assert not sigmoid[~there].any()


def gates_of(fusion, s):
    return fusion.attend(fusion.fdca[0], s, jnp.asarray(MASK), GRAPH, None)[1]


def test_scale():
    """Normalised, the gates do not depend on the scale of what they gate."""
    s = np.where(MASK[..., None], np.abs(inputs()), 0)
    for fusion, same in ((net(clip=None), True), (net(clip=None, normalise=False), False)):
        gates = [run(fusion, c * s, by=gates_of) for c in (1.0, 3.0)]
        assert np.allclose(*gates, rtol=1e-4) is same


def test_uncertainty_is_drawn_in_training_only():
    fusion, x, contexts = net(), inputs(), [training(seed=i) for i in range(2)]
    drawn = [np.asarray(run(fusion, x, MASK, GRAPH, c).out) for c in contexts]
    assert np.abs(drawn[0] - drawn[1]).max() > 1e-3
    np.testing.assert_array_equal(*(run(fusion, x, MASK, GRAPH).out for _ in range(2)))
    still = net(uncertainty=False)
    np.testing.assert_array_equal(*(run(still, x, MASK, GRAPH, c).out for c in contexts))


def test_no_gradient_passes_through_the_sample():
    graphdef, params, rest = nnx.split(net(), nnx.Param, ...)

    @jax.jit
    @jax.grad
    def slopes(params):
        out = nnx.merge(graphdef, params, rest, copy=True)(inputs(), jnp.asarray(MASK), GRAPH, training()).out
        return (out * inputs(1)[:, 0]).sum()

    size = {".".join(map(str, path)): float(np.abs(v[...]).max()) for path, v in nnx.to_flat_state(slopes(params))}
    assert all(v == 0 for path, v in size.items() if ".slice." in path)
    assert size["fdca.0.semantic.fc2.kernel"] > 0
    assert size["alc.kernel"] > 0


def test_losses():
    """The focal weight grows with the epoch; the pull is 0 while W is the Laplacian."""
    fusion, x = net(uncertainty=False), inputs()

    def losses(step):
        return run(fusion, x, MASK, GRAPH, training(step)).losses

    first, last = losses(0), losses(9)
    assert first["laplacian"] == 0
    np.testing.assert_allclose(10 * first["focal"], last["focal"], rtol=1e-6)
    assert first["focal"] > 0
    fusion.alc.kernel.set_value(fusion.alc.kernel[...] + 2)
    np.testing.assert_allclose(losses(0)["laplacian"], 5e-6 * 4 * D * D, rtol=1e-6)
    assert run(net(focal=0.0), x, MASK, GRAPH).losses["focal"] == 0


def test_graphs_of_a_batch_do_not_meet():
    a, b = GRAPH, small_graph(N, seed=1)
    ends = [
        np.concatenate([np.asarray(getattr(a, e)), N + np.asarray(getattr(b, e))]) for e in ("senders", "receivers")
    ]
    both = Graph.create(*ends, np.array([N, N]))
    fusion, x, y = net(), inputs(), inputs(1)
    together = run(fusion, np.concatenate([x, y]), np.concatenate([MASK, MASK]), both).out
    np.testing.assert_allclose(together[:N], run(fusion, x, MASK, a).out, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(together[N:], run(fusion, y, MASK, b).out, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("width", [32, 128])
def test_numbers_are_sane_at_the_start(width):
    x = np.random.default_rng(0).normal(size=(40, M, width))
    fusion = built(lambda: HFFNet(M, width, outputs=C, rngs=nnx.Rngs(0)))
    out = np.asarray(run(fusion, x, np.ones((40, M), bool), small_graph(40, 160)).out)
    assert 0.1 < out.std() < 10
    assert (out.std(0) > 1e-3).mean() > 0.9


@pytest.mark.parametrize("options", [{"gate": "tanh"}, {"clip": 0.0}, {"levels": 0}, {"rank": 0}, {"focal": -1.0}])
def test_refusals(options):
    (name,) = options
    with pytest.raises(ValueError, match=f"fusion 'hff_net': {name}="):
        nnx.eval_shape(lambda: made(**options))
