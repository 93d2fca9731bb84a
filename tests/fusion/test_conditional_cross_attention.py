"""Conditional cross-attention: what a condition can and cannot do, and what the conditions are."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.checking.inputs import planted
from fusion_jax.fusion.conditional_cross_attention import ConditionalBlock, ConditionalCrossAttention
from fusion_jax.records import Target
from fusion_jax.training.build import plain_model
from tests.helpers import built, shown, state

M, D, K = 3, 4, 3
X = jnp.asarray(np.random.default_rng(0).normal(size=(5, M, D)))
MASK = jnp.asarray([[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 1, 1]], bool)


def net(targets=(5,), **options):
    made = dict(targets=targets, layers=1, heads=2, **options)
    return built(lambda: ConditionalCrossAttention(M, D, **made, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def block():
    return built(lambda: ConditionalBlock(D, K, 2, 6, 5, rate=0.0, rngs=nnx.Rngs(0)))


def test_equal_conditions_give_equal_embeddings(block):
    table = block.embedding[...]
    there = jnp.ones(M, bool)
    e, _ = block(X[0], there)
    assert np.abs(e[0] - e[2]).max() > 1e-3
    block.embedding.set_value(table.at[2].set(table[0]))
    again, weights = block(X[0], there)
    np.testing.assert_array_equal(again[0], again[2])
    np.testing.assert_array_equal(again[:2], e[:2])
    np.testing.assert_allclose(weights.sum(-1), np.ones((2, K)), rtol=1e-12)
    block.embedding.set_value(table)


def test_a_token_alone_gives_its_value_under_every_condition(block):
    mha = block.cross_attention
    a, weights = block.asked(X[0], jnp.asarray([True, False, False]))
    np.testing.assert_array_equal(weights, np.broadcast_to([1.0, 0.0, 0.0], weights.shape))
    value = mha.out(mha.value(block.ln_1(X[0, 0])))
    np.testing.assert_allclose(a, np.broadcast_to(value, (K, D)), rtol=1e-12)


def test_conditions_are_the_modalities_of_one_target():
    fusion = net()
    graphdef, params = nnx.split(fusion)
    fused = jax.jit(lambda x: nnx.merge(graphdef, params)(x, MASK))(X)
    weights, e = shown(fused, "conditions"), state(fused, "modalities")
    assert weights.shape == (5, 2, M, M + 1) and fused.prediction is None
    gone = np.broadcast_to(~np.asarray(MASK)[:, None, None], weights[..., 1:].shape)
    assert not weights[..., 1:][gone].any() and weights[..., 1:][~gone].all()
    np.testing.assert_allclose(fused.out[1], e[1, [0, 2]].mean(0), rtol=1e-12)
    np.testing.assert_allclose(fused.out[2], e[2, 1], rtol=1e-12)
    np.testing.assert_array_equal(fused.out[3], np.zeros(D))


def test_each_target_is_predicted_from_its_own_condition():
    fusion = net((3, 2))
    graphdef, params = nnx.split(fusion)
    run = jax.jit(lambda params: nnx.merge(graphdef, params)(X, MASK))
    one = run(params)
    e = state(one, "targets")
    np.testing.assert_allclose(one.out, e.mean(1), rtol=1e-12)
    by_hand = jnp.concatenate([head(e[:, k]) for k, head in enumerate(fusion.heads)], -1)
    np.testing.assert_allclose(one.prediction, by_hand, rtol=1e-12)
    fusion.block.embedding.set_value(fusion.block.embedding[...].at[1].add(1.0))
    other = run(nnx.state(fusion))
    np.testing.assert_array_equal(one.prediction[:, :3], other.prediction[:, :3])
    moved = np.abs(one.prediction[:, 3:] - other.prediction[:, 3:]).max(1) > 1e-9
    np.testing.assert_array_equal(moved, MASK.any(1))  # where the class token is alone there is nothing to choose


@pytest.mark.parametrize("targets, conditions, count", [((3, 2), "modalities", M), ((5,), "targets", 1)])
def test_conditions_can_be_chosen(targets, conditions, count):
    fusion = nnx.eval_shape(
        lambda: ConditionalCrossAttention(M, D, targets=targets, conditions=conditions, heads=2, rngs=nnx.Rngs(0))
    )
    assert fusion.block.embedding.shape == (count, D) and len(fusion.heads) == (conditions == "targets")


def test_a_model_tells_it_its_targets():
    both = Target("several", a=Target("classes", num_outputs=4), b=Target("values", num_outputs=2), num_outputs=6)
    assert both.widths == (4, 2) and both.fields["a"].widths == (4,)
    changes = {
        "data.name": "synthetic_several",
        "data.options": dict(nodes=60),
        "model.fusion.name": "conditional_cross_attention",
        "model.placement": "after",
        "model.head": "fusion",
    }
    data, plan = planted(changes)
    widths = {name: x.shape[1] for name, x in data.features.items()}
    model = nnx.eval_shape(lambda: plain_model(plan.model, data.target, widths, jax.random.key(0)))
    assert [head.out_features for head in model.fusions[0].heads] == [4, 2]


@pytest.mark.parametrize("options", [dict(heads=3), dict(layers=-1), dict(conditions="classes")])
def test_refusals(options):
    with pytest.raises(ValueError, match=f"fusion 'conditional_cross_attention': {next(iter(options))}"):
        ConditionalCrossAttention(M, D, targets=(2,), **options, rngs=nnx.Rngs(0))
