"""Channel-attention modulation: crossed indices, limits, what is missing, batches of graphs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.fe_lsd import FeLsd
from fusion_jax.graphs import Graph
from fusion_jax.records import Context
from tests.fusion import fe_lsd_equations as equations
from tests.helpers import parameters, run, shown, small_graph

N, M, D = 7, 3, 8
SIZES = np.array([4, 4, 1])
TRAINING = Context(key=jax.random.key(0))


def inputs(n=N, m=M, seed=0):
    return np.random.default_rng(seed).normal(size=(n, m, D)), np.ones((n, m), bool)


def drawn(m=M, **options):
    return equations.drawn(lambda: FeLsd(m, D, rngs=nnx.Rngs(0), **{"reduction": 4, **options}))


def net(m=M, **options):
    return drawn(m, **options)[0]


def tokens(fusion, *given):
    return np.asarray(run(fusion, *given).tokens)


def swapped(fusion):
    """The same two streams with the parameters of one in the place of the other's."""
    other = net(2)
    for path, value in parameters(fusion).items():
        parts, new = path.split("."), np.asarray(value[...])
        at = {"ca": 1, "res": 2}.get(parts[0])
        if at is not None:
            parts[at] = str(1 - int(parts[at]))
        if path == "conv.kernel":
            new = np.roll(new, D, axis=0)
        parameters(other)[".".join(parts)].set_value(jnp.asarray(new))
    return other


@pytest.mark.parametrize("context", [Context(), TRAINING])
def test_swapped_streams(context):
    (x, mask), graph = inputs(m=2), small_graph(N)
    mask[2, 0] = False
    fusion = net(2)
    one, two = (
        tokens(fusion, x, mask, graph, context),
        tokens(swapped(fusion), x[:, ::-1], mask[:, ::-1], graph, context),
    )
    np.testing.assert_allclose(one, two[:, ::-1], rtol=1e-12, atol=1e-14)


def still(fusion):
    """R without its branch: R(z) = z."""
    for group in fusion.res.groups:
        for value in parameters(group.conv3).values():
            value.set_value(jnp.asarray(np.zeros(value.shape)))
    return fusion


def test_against_the_equations():
    """Modalities and nodes missing, senders among them; nodes that receive nothing; three graphs."""
    x, mask = inputs(9)
    mask[1, 2] = mask[4, 0] = mask[6] = False
    s, r = np.array([0, 1, 1, 2, 4, 6, 6, 5]), np.array([1, 0, 2, 2, 5, 5, 7, 4])
    graph, (fusion, p) = Graph.create(s, r, SIZES), drawn()
    expected = equations.shallow(p, x, mask, graph)
    found = tokens(fusion, np.where(mask[..., None], x, np.nan), mask, graph)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_gates_are_those_of_the_source():
    """x_m' = 2 x_m + sum of the OTHERS, each with its own gate."""
    (x, mask), graph = inputs(), small_graph(N)
    fused = run(still(net()), x, mask, graph)
    gates = shown(fused, "gates").swapaxes(1, 2)
    assert ((gates > 0) & (gates < 1)).all() and np.ptp(gates[0], axis=0).max() > 0.01
    total = (gates * x).sum(1, keepdims=True)
    np.testing.assert_allclose(fused.tokens, 2 * x + total - gates * x, rtol=1e-12)
    np.testing.assert_allclose(fused.out, np.asarray(fused.tokens).mean(1), rtol=1e-12)


def test_zero_attention_sends_a_half():
    (x, mask), graph = inputs(), small_graph(N)
    fusion = still(net())
    for attention in fusion.ca:
        attention.fc.fc2.kernel.set_value(jnp.asarray(np.zeros(attention.fc.fc2.kernel.shape)))
    total = x.sum(1, keepdims=True)
    np.testing.assert_allclose(tokens(fusion, x, mask, graph), 2 * x + (total - x) / 2, rtol=1e-12)


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_a_missing_modality_sends_nothing(norm):
    """It has no token, and what others receive is as if its slot held zeros in the joint map."""
    (x, mask), graph = inputs(), small_graph(N)
    mask[:, 1], x[:, 1] = False, np.nan
    fused = run(net(norm=norm), x, mask, graph, TRAINING)
    np.testing.assert_array_equal(np.asarray(fused.tokens)[:, 1], 0)
    pair, full = net(2, norm=norm), net(norm=norm)
    keep = {"0": "0", "2": "1"}
    for path, value in parameters(full).items():
        parts, new = path.split("."), np.asarray(value[...])
        at = {"ca": 1, "res": 2}.get(parts[0])
        if at is not None:
            if parts[at] not in keep:
                continue
            parts[at] = keep[parts[at]]
        if path == "conv.kernel":
            new = np.concatenate([new[:D], new[2 * D :]])
        parameters(pair)[".".join(parts)].set_value(jnp.asarray(new))
    alone = run(pair, x[:, [0, 2]], mask[:, [0, 2]], graph, TRAINING)
    np.testing.assert_allclose(np.asarray(fused.tokens)[:, [0, 2]], alone.tokens, rtol=1e-10)
    np.testing.assert_allclose(fused.out, alone.out, rtol=1e-10)


def test_batches_of_graphs_do_not_leak():
    """Each graph as by itself; the last graph is a node without modalities, the last node of the others is isolated."""
    x, mask = inputs(9)
    mask[1, 2] = mask[8] = False
    s, r = np.array([0, 1, 2, 0, 4, 5, 6, 4]), np.array([1, 2, 0, 2, 5, 6, 4, 6])
    fusion = net()
    both = run(fusion, x, mask, Graph.create(s, r, SIZES))
    for a, b in ((0, 4), (4, 8)):
        inside = (s >= a) & (s < b)
        alone = tokens(fusion, x[a:b], mask[a:b], Graph.create(s[inside] - a, r[inside] - a, b - a))
        np.testing.assert_allclose(np.asarray(both.tokens)[a:b], alone, rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(np.asarray(both.out)[8], 0)


def test_views():
    """Stream m hears along its own edge set."""
    (x, mask), nobody = inputs(), np.array([], int)
    empty = Graph.create(nobody, nobody, N)
    views = (empty, small_graph(N, seed=1), empty)
    shared = small_graph(N)
    plain = tokens(net(), x, mask, empty)
    with_views = Graph.create(np.asarray(shared.senders), np.asarray(shared.receivers), N, views=views)
    seen = tokens(net(), x, mask, with_views)
    np.testing.assert_allclose(seen[:, [0, 2]], plain[:, [0, 2]], rtol=1e-12)
    assert np.abs(seen[:, 1] - plain[:, 1]).max() > 1e-3


def refined(fusion, x, mask, graph):
    return fusion.res(x, mask, graph, training=False)


def test_one_modality():
    """Nobody to hear from: x + R(x)."""
    (x, mask), graph = inputs(m=1), small_graph(N)
    fusion = net(1)
    expected = x + run(fusion, x, mask, graph, by=refined)
    np.testing.assert_allclose(tokens(fusion, x, mask, graph), expected, rtol=1e-12)


@pytest.mark.parametrize("options", [{"reduction": 0}, {"norm": "group"}])
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'fe_lsd': {next(iter(options))}="):
        nnx.eval_shape(lambda: FeLsd(M, D, rngs=nnx.Rngs(0), **options))
