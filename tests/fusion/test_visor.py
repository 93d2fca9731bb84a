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
from tests.helpers import filled, run, shown, small_graph

RNG = np.random.default_rng(5)
N, M, D = 7, 3, 8


def fusion(**options):
    def make():
        return VISOR(M, D, heads=2, hidden=12, **options, rngs=nnx.Rngs(0))

    mode = np.asarray(jax.jit(lambda: make().mode[...])())
    return filled(make, lambda path, shape: mode if path == "mode" else 0.4 * RNG.normal(size=shape))


def inputs():
    mask = RNG.random((N, M)) < 0.7
    mask[0], mask[1] = True, False
    return np.where(mask[..., None], RNG.normal(size=(N, M, D)), 0), mask


def test_without_an_active_layer_the_modalities_are_never_written():
    (x, mask), module = inputs(), fusion()
    with_mode(module, 0)
    found = run(module, x, mask, small_graph(N))
    np.testing.assert_array_equal(found.tokens, x)
    assert not shown(found, "self 1").any() and not shown(found, "self 2").any()


def test_an_inactive_layer_is_a_text_layer_of_the_same_weights():
    (x, mask), graph, module = inputs(), small_graph(N), fusion(layers=3, budget=0)
    present = jnp.asarray(mask.any(1))

    def there(h):
        return jnp.where(present[:, None], h, 0)

    def by_hand(module, x):
        h = there(x.sum(1) / np.maximum(mask.sum(1), 1.0)[:, None])
        h = there(module.blocks[0].state(h, graph, present))
        h = there(module.readings[0](h[:, None], x + module.codes[0][...], jnp.asarray(mask))[0][:, 0])
        h = there(module.blocks[1].state(h, graph, present))
        return there(module.blocks[2].state(h, graph, present))

    np.testing.assert_allclose(run(module, x, mask, graph).out, run(module, x, by=by_hand), rtol=1e-12)


def test_a_reading_without_an_output_projection_leaves_a_text_layer():
    (x, mask), graph, module = inputs(), small_graph(N), fusion(layers=3, budget=0)
    for variable in (module.readings[0].ca.out.kernel, module.readings[0].ca.out.bias):
        variable.set_value(jnp.asarray(np.zeros(variable.shape)))
    other = run(module, x, mask, graph).out
    module.codes[0].set_value(jnp.asarray(100 + np.asarray(module.codes[0][...])))  # nothing is read: no code matters
    np.testing.assert_array_equal(run(module, x, mask, graph).out, other)


def test_without_edges_the_joint_layer_is_a_plain_transformer_on_tokens_and_state():
    (x, mask), module = inputs(), fusion(layers=3)
    nobody, h = Graph.create([], [], N), RNG.normal(size=(N, D))

    def joint_and_plain(module, x, h, mask):
        present, block = mask.any(1), module.blocks[2]
        tokens = jnp.concatenate([x, h[:, None]], axis=1)
        both = block.sequence(tokens, jnp.concatenate([mask, present[:, None]], axis=1))
        return *block.joint(x, h, mask, nobody, present), both

    tokens, state, weights, both = (np.asarray(a) for a in run(module, x, h, mask, by=joint_and_plain))
    np.testing.assert_allclose(tokens[mask], both[:, :M][mask], rtol=1e-12)
    np.testing.assert_allclose(state[mask.any(1)], both[:, M][mask.any(1)], rtol=1e-12)
    assert not np.any(weights[~np.broadcast_to(mask[:, None], weights.shape)])


def test_with_edges_the_state_shares_one_softmax_over_tokens_and_senders():
    (x, mask), graph, module = inputs(), small_graph(N), fusion(layers=3)
    h, present = RNG.normal(size=(N, D)), mask.any(1)
    receivers, senders = np.asarray(graph.receivers), np.asarray(graph.senders)
    i = int(np.flatnonzero(np.bincount(receivers, minlength=N) > 1)[0])
    heard = [int(s) for s in senders[receivers == i] if s != i]

    def joint_and_by_hand(module, x, h):
        block = module.blocks[2]
        keys = [block.norm1(x[i, m]) for m in range(M) if mask[i, m]]
        keys += [block.norm1(h[j]) for j in (*heard, i) if present[j]]
        read, _ = block.sa(block.norm1(h[i])[None], jnp.stack(keys))
        _, state, weights = block.joint(x, h, jnp.asarray(mask), graph, jnp.asarray(present))
        return state[i], block.feed_forward(h[i] + read[0]), weights[i]

    state, expected, weights = run(module, x, h, by=joint_and_by_hand)
    np.testing.assert_allclose(state, expected, rtol=1e-10)
    assert 0 < np.asarray(weights).sum(-1).max() < 1  # the rest is on the states


def test_a_later_cross_layer_reads_what_a_self_layer_wrote():
    (x, mask), graph, module = inputs(), small_graph(N), fusion()
    with_mode(module, 0)
    never = run(module, x, mask, graph)
    with_mode(module, 1)
    once = run(module, x, mask, graph)
    assert np.any(shown(never, "cross 2") != shown(once, "cross 2"))
    np.testing.assert_array_equal(shown(never, "cross 1"), shown(once, "cross 1"))
    assert np.any(np.asarray(once.tokens) != x) and not shown(once, "self 2").any()


def test_a_drawn_budget_is_a_function_of_the_key_and_full_in_evaluation():
    module, logits = fusion(), jnp.zeros((N, 3))
    with_mode(module, DRAWN)
    budgets = jax.jit(lambda key: module.budgets(logits, dataclasses.replace(EVALUATION, key=key)))

    def budget(key=None):
        found = np.unique(budgets(key))
        assert len(found) == 1  # one for all nodes
        return int(found[0])

    keys = [jax.random.key(k) for k in range(40)]
    found = [budget(key) for key in keys]
    assert set(found) == {0, 1, 2} and found == [budget(key) for key in keys]
    assert budget() == 2


def test_a_chosen_budget_is_each_nodes_own():
    (x, mask), graph, module = inputs(), small_graph(N), fusion()
    with_mode(module, CHOSEN)
    found = run(module, x, mask, graph)
    (said,) = (a for a in found.attention if a.name == "budget")
    budget = np.asarray(said.scores).argmax(-1)
    np.testing.assert_array_equal(shown(found, "self 1").any((1, 2)), (budget > 0) & mask.any(1))
    np.testing.assert_array_equal(shown(found, "self 2").any((1, 2)), (budget > 1) & mask.any(1))


def test_operations_grow_with_the_budget_by_the_same_step():
    costs = np.array(nnx.eval_shape(lambda: VISOR(M, D, layers=9, rngs=nnx.Rngs(0))).operations(5.0, M))
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
        nnx.eval_shape(lambda: VISOR(M, D, **options, rngs=nnx.Rngs(0)))
