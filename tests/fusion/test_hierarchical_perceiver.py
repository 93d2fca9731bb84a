"""The card's checks of HiP that the golden cases do not show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax.fusion.hierarchical_perceiver import HierarchicalPerceiver
from fusion_jax.fusion.hierarchical_perceiver.blocks import Block, Grouping, HiP, regroup
from fusion_jax.records import Context
from tests.helpers import to_float64

N, M, D = 5, 3, 8


@pytest.fixture(scope="module")
def inputs():
    rng = np.random.default_rng(0)
    mask = rng.random((N, M)) < 0.6
    mask[0], mask[1], mask[2] = False, True, [True, False, True]
    return jnp.asarray(np.where(mask[..., None], rng.normal(size=(N, M, D)), 0)), jnp.asarray(mask)


def build(**options):
    return to_float64(HierarchicalPerceiver(M, D, rngs=nnx.Rngs(0), **({"embed_dim": 8} | options)))


def block(how=None, **options):
    return to_float64(Block(6, 3, 2, 8, self_attends=1, heads=2, how=how, rngs=nnx.Rngs(0), **options))


def test_groups_are_isolated_bit_for_bit():
    layer, rng = block(), np.random.default_rng(1)
    x = jnp.asarray(rng.normal(size=(3, 4, 6)))
    run = jax.jit(lambda x: layer.process(layer.read(x)[0]))
    a, b = run(x), run(x.at[0].multiply(x[0]))
    assert not np.allclose(a[0], b[0])
    np.testing.assert_array_equal(a[1:], b[1:])


def test_groups_have_latents_of_their_own():
    x = jnp.ones((3, 4, 6))  # the groups differ by their latents only
    z, _ = block().read(x)
    assert not np.allclose(z[0], z[1]) and not np.allclose(z[1], z[2])


@pytest.mark.parametrize("counts,groups", [((8, 3, 1), 5), ((2, 7), 6), ((4, 4), 2), ((3, 2), 1)])
def test_ungroup_inverts_group(counts, groups):
    rng = np.random.default_rng(2)
    tokens = [jnp.asarray(rng.normal(size=(2, n, 3))) for n in counts]
    grouping = Grouping(counts, groups)
    grouped = grouping.group(tokens)
    assert grouped.shape == (2, groups, grouping.size, 3)
    for a, b in zip(grouping.ungroup(grouped), tokens, strict=True):
        np.testing.assert_array_equal(a, b)


def test_regroup_to_the_same_number_is_the_identity_only_for_reshape():
    x = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    np.testing.assert_array_equal(regroup(x, 4), x)
    assert (regroup(x, 4, "transpose_reshape") != x).any()
    with pytest.raises(ValueError, match="regroup='shuffle'"):
        regroup(x, 4, "shuffle")


def test_reconstruction_starts_as_the_bias(inputs):
    x, mask = inputs
    module = build()
    for m, layer in enumerate(module.hip.unembed):
        layer.bias[...] += m + 1.0
    out = jax.jit(lambda x: module.hip(module._inputs(x), mask))(x)
    for m, guess in enumerate(out.reconstruction):
        np.testing.assert_array_equal(guess, jnp.full((N, 1, D), m + 1.0))


def test_loss_is_the_mean_over_present_entries(inputs):
    x, mask = inputs
    losses = build(hide=0.0, reconstruction=0.5)(x, mask, context=Context(key=jax.random.key(0))).losses
    present = np.asarray(x)[np.asarray(mask)]  # the reconstruction starts at 0
    np.testing.assert_allclose(losses["reconstruction"], 0.5 * (present**2).mean(), rtol=1e-12)
    assert build()(x, mask).losses == {}
    assert build(reconstruction=0.0)(x, mask, context=Context(key=jax.random.key(0))).losses == {}


def test_hiding_changes_the_loss_and_not_the_output(inputs):
    x, mask = inputs
    outs = []
    for hide in (0.0, 0.9):
        module = build(hide=hide)
        for layer in module.hip.unembed:
            layer.kernel[...] += 0.1
        outs.append(jax.jit(lambda x, module=module: module(x, mask, context=Context(key=jax.random.key(0))))(x))
    np.testing.assert_array_equal(outs[0].out, outs[1].out)
    assert not np.allclose(outs[0].losses["reconstruction"], outs[1].losses["reconstruction"])


def test_a_missing_modality_is_latents_and_bias_and_unseen(inputs):
    x, mask = inputs
    module = build()
    out = jax.jit(lambda x: module.hip(module._inputs(x), mask))(x)
    first = out.latents[0]  # [N, M, n, C]
    np.testing.assert_array_equal(first[2, 1], first[0, 1])  # missing in both nodes, whatever else is there
    assert not np.allclose(first[2, 0], first[0, 0])
    latents = first.shape[-2]
    weights = np.asarray(out.weights).reshape(N, -1, M, latents)  # keys: the modalities' latents in order
    assert not weights[2, :, 1].any() and not weights[0].any()
    np.testing.assert_allclose(weights[1].sum((-2, -1)), 1, atol=1e-12)


def test_padding_takes_part_only_without_mask_padding():
    rng = np.random.default_rng(3)
    inputs = [jnp.asarray(rng.normal(size=(2, n, 3))) for n in (4, 1)]  # one modality is filled by three zeros
    levels = dict(
        embed_dim=4,
        groups=(2, 1, 2),
        latents=(2, 4, 2),
        dims=(4, 4, 4),
        self_attends=(1, 1, 1),
        heads=(2, 2, 2),
        widening=(1, 1, 1),
        cross_heads=(1, 1, 1),
        cross_widening=(1, 1, 1),
    )
    outs = []
    for masked in (True, False):
        module = to_float64(HiP((4, 1), (3, 3), mask_padding=masked, rngs=nnx.Rngs(0), **levels))
        module.blocks[0].cross.norm_input.bias[...] += 0.5  # what a zero becomes in the layer norm
        outs.append(jax.jit(lambda x, module=module: module(x))(inputs).latents[0])
    np.testing.assert_allclose(outs[0][:, 0], outs[1][:, 0], atol=1e-12)  # no padding there
    assert not np.allclose(outs[0][:, 1], outs[1][:, 1])
    there = jnp.array([[True, True], [True, False]])
    present = jax.jit(lambda x: module(x, there))(inputs).latents[0]
    np.testing.assert_allclose(present[0], outs[1][0], atol=1e-12)  # not masked: the padding of what is there
    assert not np.allclose(present[1, 1], outs[1][1, 1])


def test_more_groups_than_modalities_and_no_tokens_for_one_group(inputs):
    x, mask = inputs
    module, alone = build(groups=(6, 2, 1, 2, 6), latents=(2, 3, 6, 3, 2)), build(groups=(1,), latents=(4,))
    assert module.hip.grouping.groups == (2, 2, 2)
    assert jax.eval_shape(lambda x: module(x, mask), x).tokens.shape == (N, M, D)
    assert jax.eval_shape(lambda x: alone(x, mask), x).tokens is None


@pytest.mark.parametrize(
    "options,message",
    [
        (dict(heads=3), "heads=3"),
        (dict(groups=(2, 1, 2)), "2 groups for 3 modalities"),
        (dict(groups=(3, 2, 3)), "middle one 1"),
        (dict(latents=(4, 5, 4)), "1 groups of 5 latents"),
        (dict(latents=(4, 6, 3)), "skip joins levels 0 and 2"),
        (dict(latents=(4, 6)), "latents has 2 levels"),
        (dict(dims=(8, 16, 8)), "width D=8"),
    ],
)
def test_levels_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=f"hierarchical_perceiver.*{message}"):
        build(**options)
