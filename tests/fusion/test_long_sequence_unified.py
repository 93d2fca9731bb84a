"""All pairs as one sequence: against dense attention, graph by graph; mixers over modalities; devices; refusals."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.long_sequence_unified import ACTIVATIONS, LongSequenceUnified
from fusion_jax.graphs import Graph
from fusion_jax.nn.attention import attend
from tests.helpers import drawn, run
from tests.nn.test_ring_attention import on_four_devices

N, M, D, H = 6, 3, 8, 2
RNG = np.random.default_rng(0)
X = jnp.asarray(RNG.normal(size=(N, M, D)))
MASK = np.array([[1, 1, 1], [0, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1], [1, 1, 0]], bool)
TWO = Graph.create(np.array([0, 4]), np.array([1, 3]), np.array([2, 4]))
SETS = ("softmax", "linear")
SEQUENCES = ("fourier", "mlp", "low_rank", "convolution")


def fused(x=X, mask=MASK, graph=None, **options):
    module = drawn(lambda: LongSequenceUnified(M, x.shape[-1], **{"heads": H, **options}, rngs=nnx.Rngs(0)))
    return run(module, x, jnp.asarray(mask), graph)


def test_softmax_is_attention_of_every_pair_to_every_pair_that_is_there():
    module = drawn(lambda: LongSequenceUnified(M, D, heads=H, rngs=nnx.Rngs(0)))
    flat, there = X.reshape(N * M, D), jnp.asarray(MASK).reshape(-1)
    mixer = module.mixer
    q, k, v = ((flat @ f.kernel[...]).reshape(N * M, H, -1) for f in (mixer.query, mixer.key, mixer.value))
    y = attend(q, k, v, there)[0].reshape(N, M, D) @ module.out.kernel[...]
    y = np.where(MASK[..., None], y, 0)
    for block in (256, 4):
        found = fused(block=block)
        np.testing.assert_allclose(found.tokens, y, rtol=1e-11, atol=1e-12)
        np.testing.assert_allclose(found.out, y.sum(1) / np.maximum(MASK.sum(1), 1)[:, None], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("mixer", SETS)
def test_a_graph_in_a_batch_is_that_graph_alone(mixer):
    found = fused(graph=TWO, mixer=mixer)
    for rows in (slice(0, 2), slice(2, N)):
        alone = fused(X[rows], MASK[rows], mixer=mixer)
        np.testing.assert_allclose(found.out[rows], alone.out, rtol=1e-11, atol=1e-12)
    assert np.abs(found.out - fused(mixer=mixer).out).max() > 1e-3


@pytest.mark.parametrize("mixer", SETS)
def test_rows_that_stand_for_no_node_are_not_seen(mixer):
    present = np.arange(N) != 4
    alone = fused(X[present], MASK[present], mixer=mixer)
    graph = dataclasses.replace(Graph.create(*np.zeros((2, 1), int), N), present=jnp.asarray(present))
    np.testing.assert_allclose(fused(graph=graph, mixer=mixer).out[present], alone.out, rtol=1e-11)


@pytest.mark.parametrize("mixer", SEQUENCES)
def test_a_node_by_itself_where_order_and_length_count(mixer):
    """Another node's numbers change nothing; the order of the modalities does."""
    found = fused(mixer=mixer)
    np.testing.assert_array_equal(fused(X.at[0].add(1), mixer=mixer).out[1:], found.out[1:])
    order = np.array([1, 0, 2])  # no shift, which a convolution passes on
    assert np.abs(fused(X[:, order], MASK[:, order], mixer=mixer).tokens - found.tokens[:, order])[4].max() > 1e-3
    spoilt = fused(jnp.where(MASK[..., None], X, jnp.nan), mixer=mixer)
    np.testing.assert_array_equal(spoilt.out, found.out)


@pytest.mark.parametrize("mixer", SETS)
def test_sets_have_symmetries_that_sequences_do_not(mixer):
    assert LongSequenceUnified(M, D, mixer=mixer, rngs=nnx.Rngs(0)).symmetries == ("nodes", "modalities")
    assert LongSequenceUnified(M, D, mixer="mlp", rngs=nnx.Rngs(0)).symmetries == ("nodes",)
    order, nodes = np.array([2, 0, 1]), RNG.permutation(N)
    found = fused(mixer=mixer).out
    np.testing.assert_allclose(fused(X[:, order], MASK[:, order], mixer=mixer).out, found, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(fused(X[nodes], MASK[nodes], mixer=mixer).out, found[nodes], rtol=1e-10, atol=1e-12)


def test_without_activation_the_mean_of_a_fourier_mixer_is_the_first_modality_alone():
    """The sum of a transform over its frequencies is M times the first term; with gelu others come through."""
    everybody, other = np.ones((N, M), bool), X.at[:, 1:].add(1.0)
    plain, changed = (fused(x, everybody, mixer="fourier", activation="none").out for x in (X, other))
    np.testing.assert_allclose(plain, changed, rtol=1e-9, atol=1e-11)
    plain, changed = (fused(x, everybody, mixer="fourier").out for x in (X, other))
    assert np.abs(plain - changed).max() > 1e-2


@pytest.mark.parametrize("mixer", [*SETS, *SEQUENCES])
def test_the_residual_and_the_activation_are_what_they_say(mixer):
    plain = fused(mixer=mixer, activation="none").tokens
    np.testing.assert_allclose(
        fused(mixer=mixer, activation="none", residual=True).tokens,
        np.where(MASK[..., None], plain + X, 0),
        rtol=1e-12,
    )
    default = "gelu" if mixer in ("fourier", "mlp", "convolution") else "none"
    for given, name in ((None, default), ("relu", "relu"), ("gelu", "gelu")):
        np.testing.assert_allclose(fused(mixer=mixer, activation=given).tokens, ACTIVATIONS[name](plain), rtol=1e-12)


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
from flax import nnx
from fusion_jax.fusion.long_sequence_unified import LongSequenceUnified
from fusion_jax.layers.long_sequence_unified import LongSequenceUnified as Layer
from fusion_jax.graphs import Graph
from tests import tiny
from tests.helpers import drawn, run

rng = np.random.default_rng(0)
x, mask = jnp.asarray(rng.normal(size=(7, 3, 8))), jnp.asarray(rng.random((7, 3)) < 0.6)
graph = Graph.create(np.array([0, 4]), np.array([1, 3]), np.array([2, 5]))
outs, layers = [], []
for shards in (1, 4):
    outs.append(run(drawn(lambda: LongSequenceUnified(3, 8, shards=shards, rngs=nnx.Rngs(0))), x, mask, graph).out)
    layers.append(run(drawn(lambda: Layer(8, shards=shards, rngs=nnx.Rngs(0))), x[:, 0], graph, mask[:, 0]))
np.testing.assert_allclose(*outs, rtol=1e-11, atol=1e-12)
whole, part = LongSequenceUnified(3, 8, shards=4, rngs=nnx.Rngs(0)).mixer, Layer(8, shards=4, rngs=nnx.Rngs(0)).mixer
assert (whole.shards, whole.together, part.shards, part.together) == (4, 3, 4, 1)
np.testing.assert_allclose(*layers, rtol=1e-11, atol=1e-12)

with tiny.as_users_run():
    data, losses = tiny.dataset(), []
    for seeds in ((0,), (0, 1, 2, 3)):
        for shards in (1, 4):
            options = dict(shards=shards, residual=True)
            name = dict(model__fusion__name="long_sequence_unified", model__fusion__options=options)
            trained = tiny.train(data, seeds, training__epochs=3, training__chunk=3, **name)
            losses.append(np.asarray(trained.history["train_loss"])[0])
    for loss in losses[1:]:
        np.testing.assert_allclose(loss, losses[0], rtol=1e-4)  # three float32 steps, summed in another order
"""


def test_devices_give_the_numbers_of_one_in_models_that_train():
    on_four_devices(SHARDED)


@pytest.mark.parametrize(
    "options, said",
    [
        (dict(mixer="sofmax"), "mixer='sofmax' (did you mean 'softmax'?); expected one of softmax, linear"),
        (dict(heads=3), "heads=3 does not divide the width D=8"),
        (dict(activation="gleu"), "activation='gleu' (did you mean 'gelu'?)"),
        (dict(rank=0), "rank=0, expected at least 1"),
        (dict(hidden=0), "hidden=0, expected at least 1"),
        (dict(block=0), "block=0, expected at least 1"),
        (dict(shards=0), "shards=0, expected at least 1"),
        (dict(shards=99), "shards=99, expected 1 to "),
        (dict(mixer="linear", shards=2), "shards=2 needs mixer='softmax', got mixer='linear'"),
    ],
)
def test_what_is_not_there_is_refused_by_name(options, said):
    with pytest.raises(ValueError) as error:
        LongSequenceUnified(M, D, **options, rngs=nnx.Rngs(0))
    assert str(error.value).startswith("fusion 'long_sequence_unified'") and said in str(error.value)


def test_a_mixer_without_heads_takes_any_width():
    assert fused(X[..., :7], mixer="fourier").out.shape == (N, 7)


def test_what_is_not_said_and_what_is_handed_on():
    wanted = dict(mixer="softmax", heads=4, rank=2, hidden=None, kernel_size=3, activation=None, residual=False)
    assert zoo.options("fusion", "long_sequence_unified") == wanted | dict(shards=1, block=256)

    def mixer(**options):
        return nnx.eval_shape(lambda: LongSequenceUnified(M, D, **options, rngs=nnx.Rngs(0))).mixer

    assert mixer(block=7).block == 7
    assert mixer(mixer="low_rank", rank=5).combine.shape == (5, M)
    assert mixer(mixer="mlp", hidden=5).fc1.out_features == 5 and mixer(mixer="mlp").fc2 is None
    assert mixer(mixer="convolution", kernel_size=2).kernel.shape == (2,)
