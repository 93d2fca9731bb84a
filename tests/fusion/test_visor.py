"""VISOR beyond its golden numbers: what a budget switches off, the joint layer as a transformer, costs, refusals."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.visor import CHOSEN, DRAWN, VISOR, with_mode
from fusion_jax.graphs import Graph
from fusion_jax.records import EVALUATION
from tests.helpers import parameters, shown, small_graph, to_float64

RNG = np.random.default_rng(5)
N, M, D = 7, 3, 8


def drawn(module):
    module = to_float64(module)
    for path, variable in parameters(module).items():
        if path != "mode":
            variable.set_value(jnp.asarray(0.4 * RNG.normal(size=variable.shape)))
    return module


def fusion(**options):
    return drawn(VISOR(M, D, heads=2, hidden=12, **options, rngs=nnx.Rngs(0)))


def inputs():
    mask = RNG.random((N, M)) < 0.7
    mask[0], mask[1] = True, False
    return jnp.asarray(np.where(mask[..., None], RNG.normal(size=(N, M, D)), 0)), jnp.asarray(mask)


def test_without_an_active_layer_the_modalities_are_never_written():
    x, mask = inputs()
    found = fusion(budget=0)(x, mask, small_graph(N))
    np.testing.assert_array_equal(found.tokens, x)
    assert not shown(found, "self 1").any() and not shown(found, "self 2").any()


def test_an_inactive_layer_is_a_text_layer_of_the_same_weights():
    (x, mask), graph, module = inputs(), small_graph(N), fusion(layers=3, budget=0)
    present = mask.any(1)

    def there(h):
        return jnp.where(present[:, None], h, 0)

    h = there(x.sum(1) / np.maximum(np.asarray(mask).sum(1), 1.0)[:, None])
    h = there(module.blocks[0].state(h, graph, present))
    h = there(module.readings[0](h[:, None], x + module.codes[0][...], mask)[0][:, 0])
    h = there(module.blocks[1].state(h, graph, present))
    h = there(module.blocks[2].state(h, graph, present))
    np.testing.assert_allclose(module(x, mask, graph).out, h, rtol=1e-12)


def test_a_reading_without_an_output_projection_leaves_a_text_layer():
    (x, mask), graph, module = inputs(), small_graph(N), fusion(layers=3, budget=0)
    for variable in (module.readings[0].ca.out.kernel, module.readings[0].ca.out.bias):
        variable[...] = jnp.zeros_like(variable[...])
    other = module(x, mask, graph).out
    module.codes[0][...] = 100 + module.codes[0][...]  # nothing is read, so no code matters
    np.testing.assert_array_equal(module(x, mask, graph).out, other)


def test_without_edges_the_joint_layer_is_a_plain_transformer_on_tokens_and_state():
    (x, mask), module = inputs(), fusion(layers=3)
    nobody, h = Graph.create([], [], N), jnp.asarray(RNG.normal(size=(N, D)))
    present, block = mask.any(1), module.blocks[2]
    tokens, state, weights = block.joint(x, h, mask, nobody, present)
    both = block.sequence(jnp.concatenate([x, h[:, None]], axis=1), jnp.concatenate([mask, present[:, None]], axis=1))
    seen = np.asarray(mask)
    np.testing.assert_allclose(np.asarray(tokens)[seen], np.asarray(both[:, :M])[seen], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(state)[seen.any(1)], np.asarray(both[:, M])[seen.any(1)], rtol=1e-12)
    assert not np.any(np.asarray(weights)[~np.broadcast_to(seen[:, None], weights.shape)])


def test_with_edges_the_state_shares_one_softmax_over_tokens_and_senders():
    (x, mask), graph, module = inputs(), small_graph(N), fusion(layers=3)
    h, present, block = jnp.asarray(RNG.normal(size=(N, D))), mask.any(1), module.blocks[2]
    _, state, weights = block.joint(x, h, mask, graph, present)
    sa = block.sa
    i = int(np.flatnonzero(np.bincount(np.asarray(graph.receivers), minlength=N) > 1)[0])
    senders = [int(s) for s, r in zip(graph.senders, graph.receivers, strict=True) if int(r) == i and int(s) != i]
    keys = [block.norm1(x[i, m]) for m in range(M) if mask[i, m]]
    keys += [block.norm1(h[j]) for j in (*senders, i) if present[j]]
    rows = jnp.stack(keys)
    read, _ = sa(block.norm1(h[i])[None], rows)
    np.testing.assert_allclose(state[i], block.feed_forward(h[i] + read[0]), rtol=1e-10)
    assert 0 < np.asarray(weights)[i].sum(-1).max() < 1  # the rest is on the states


def test_a_later_cross_layer_reads_what_a_self_layer_wrote():
    (x, mask), graph, module = inputs(), small_graph(N), fusion()
    with_mode(module, 0)
    never = module(x, mask, graph)
    with_mode(module, 1)
    once = module(x, mask, graph)
    assert np.any(shown(never, "cross 2") != shown(once, "cross 2"))
    np.testing.assert_array_equal(shown(never, "cross 1"), shown(once, "cross 1"))
    assert np.any(np.asarray(once.tokens) != np.asarray(x)) and not shown(once, "self 2").any()


def test_a_drawn_budget_is_a_function_of_the_key_and_full_in_evaluation():
    module, logits = fusion(), jnp.zeros((N, 3))
    with_mode(module, DRAWN)

    def budget(key=None):
        found = np.unique(module.budgets(logits, dataclasses.replace(EVALUATION, key=key)))
        assert len(found) == 1  # one for all nodes
        return int(found[0])

    keys = [jax.random.key(k) for k in range(40)]
    found = [budget(key) for key in keys]
    assert set(found) == {0, 1, 2} and found == [budget(key) for key in keys]
    assert budget() == 2


def test_a_chosen_budget_is_each_nodes_own():
    (x, mask), graph, module = inputs(), small_graph(N), fusion()
    with_mode(module, CHOSEN)
    found = module(x, mask, graph)
    (said,) = (a for a in found.attention if a.name == "budget")
    budget = np.asarray(said.scores).argmax(-1)
    np.testing.assert_array_equal(shown(found, "self 1").any((1, 2)), (budget > 0) & np.asarray(mask).any(1))
    np.testing.assert_array_equal(shown(found, "self 2").any((1, 2)), (budget > 1) & np.asarray(mask).any(1))


def test_operations_grow_with_the_budget_by_the_same_step():
    costs = np.array(VISOR(M, D, layers=9, rngs=nnx.Rngs(0)).operations(5.0, M))
    assert len(costs) == 4 and (np.diff(costs) > 0).all()
    np.testing.assert_allclose(np.diff(costs), np.diff(costs)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(heads=3), "heads=3 does not divide"),
        (dict(layers=4), "layers=4; expected a multiple of 3"),
        (dict(layers=0), "layers=0; expected a multiple of 3"),
        (dict(budget=3), "budget=3; expected 0 to 2"),
        (dict(budget=-1), "budget=-1; expected 0 to 2"),
    ],
)
def test_what_cannot_be_is_refused(options, message):
    with pytest.raises(ValueError, match=f"fusion 'visor': {message}"):
        VISOR(M, D, **options, rngs=nnx.Rngs(0))
