"""The rules of a token mixer, asked in attention over tokens, along edges, and in a small fusion it can stand in."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.checking import inputs
from fusion_jax.checking.base import expect
from fusion_jax.checking.compared import close, equal, finite
from fusion_jax.checking.inputs import D, M, N
from fusion_jax.model import Model
from fusion_jax.nn.attention import MultiHeadAttention, Tokens
from fusion_jax.nn.mixing import Building, Mixing
from fusion_jax.nn.segment import edge_attend, segment_sum
from fusion_jax.plan import LayerPlan, MixerPlan, Named
from fusion_jax.records import Batch, Context, Target

MASKED = "keys that cannot be seen have weight 0: weigh with keys.softmax or keys.share"
FUSION = Named("deconstructing_attention", {"layers": 2, "heads": 2, "rate": 0.0})


class Case:
    """One mixer, in two layers of attention over the modalities of N nodes, of which some lack some."""

    kind = "mixer"
    given = ("modalities", "dim"), ("rngs",)

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("mixer", name)
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(N, M, D)).astype(np.float32)
        self.mask = rng.random((N, M)) < 0.6
        self.mask[0], self.mask[1], self.mask[2] = False, True, [True] + [False] * (M - 1)

    @functools.cached_property
    def module(self):
        return self.mechanism(M, D, rngs=nnx.Rngs(0))

    @functools.cached_property
    def attentions(self):
        def made():
            return nnx.List([MultiHeadAttention(D, 2, rngs=nnx.Rngs(i)) for i in range(2)])

        if not self.module.replaces:
            return made()
        with Building(None).inside():
            return made()

    def run(self, x, mask):
        """The outputs and weights of both layers, [N, M, D] and [N, H, M, M]."""
        tokens = self.module.sequence()
        stream, both = None, self.attentions
        if tokens is not None:
            with Mixing("a check").inside() as kept:
                both[1](both[0](tokens)[0])
            stream = [tuple(jnp.broadcast_to(a, (*x.shape[:-2], *a.shape)) for a in pair) for pair in kept.seen]
        with Mixing("a check", self.module, {1, 2}, stream=stream).inside():
            first, weights = both[0](x, mask=mask)
            second, more = both[1](first, mask=mask)
        return (first, second), (weights, more)

    @functools.cached_property
    def forward(self):
        _ = self.module, self.attentions  # made outside of what is traced
        return jax.jit(self.run)

    @functools.cached_property
    def found(self):
        return jax.tree.map(np.asarray, self.forward(self.x, self.mask))

    def model(self, layers: str = "uniform") -> Model:
        target = Target("classes", labels=jnp.zeros(N, jnp.int32), num_outputs=2)
        parts = dict(encoder=Named("linear"), layer=LayerPlan("none"), readout=Named("last"))
        widths = {f"m{i}": D for i in range(M)}
        mixer = MixerPlan(self.name, {}, layers)
        parts |= dict(dim=D, placement="before", fusion=FUSION, layers=0, mixer=mixer)
        return Model(widths, target, **parts, rngs=nnx.Rngs(0))

    def batch(self, x=None, mask=None) -> Batch:
        x = self.x if x is None else x
        mask = self.mask if mask is None else mask
        return Batch({f"m{i}": jnp.asarray(x[:, i]) for i in range(M)}, jnp.asarray(mask), None)


def rows_of_weights_sum_to_one(case):
    for weights in case.found[1]:
        seen = np.broadcast_to(case.mask.any(1)[:, None, None], weights.shape[:-1])
        if case.module.replaces:
            seen = seen & case.mask[:, None, :]  # a token looks at itself alone
        close(weights.sum(-1)[seen], np.ones(seen.sum(), np.float32), "rows of weights do not sum to 1", tol=1e-5)
        close(weights.sum(-1)[~seen], np.zeros((~seen).sum(), np.float32), "a row without keys is not 0", tol=0)


def a_masked_key_has_weight_exactly_0(case):
    for weights in case.found[1]:
        hidden = np.broadcast_to(~case.mask[:, None, None, :], weights.shape)
        expect((weights[hidden] == 0).all(), "a masked key has a weight", MASKED)


def what_stands_at_a_masked_key_has_no_influence(case):
    """NaN there too: neither on outputs of other tokens nor on their gradients."""
    spoiled = np.where(case.mask[..., None], case.x, np.nan)
    (out, _), _ = case.forward(spoiled, case.mask)
    equal(np.asarray(out)[case.mask], case.found[0][0][case.mask], "a masked key changes other tokens")


def numbers_and_gradients_are_finite_where_all_keys_are_masked(case):
    def loss(x):
        (_, out), _ = case.run(x, case.mask)
        return jnp.where(case.mask[..., None], out, 0).sum()

    expect(finite(case.found[0][1]), "outputs are not finite")
    expect(finite(jax.jit(jax.grad(loss))(case.x)), "gradients are not finite", "jnp.where before what is divided by")


def one_key_has_all_of_the_weight(case):
    for weights in case.found[1]:
        alone = weights[2, :, 0, 0]  # the one token of node 2 that is there
        close(alone, np.ones_like(alone), "the weight of the only key is not 1", tol=1e-6)


def it_keeps_the_dtype(case):
    q, k = (jnp.asarray(case.x).reshape(N, M, 2, -1) for _ in range(2))
    for dtype in (jnp.bfloat16, jnp.float32):
        keys = Tokens(jnp.asarray(case.mask)[:, None, None], jnp.asarray(case.mask)[..., None, None])
        weights = case.module.weights(keys, q.astype(dtype), k.astype(dtype), 0.5, None)
        expect(weights.dtype == dtype, f"weights of {jnp.dtype(dtype)} are {weights.dtype}")


def it_weighs_along_edges_too(case):
    """Senders that are masked have weight 0, and a receiver's weights sum to 1; or it is refused by name."""
    if case.module.replaces or case.module.static or case.module.streams:
        return  # it does not weigh by itself
    graph, rng = inputs.small_graph(N, 20), np.random.default_rng(3)
    q, k, v = (jnp.asarray(rng.normal(size=(N, 2, 4)), jnp.float32) for _ in range(3))
    seen = jnp.asarray(rng.random(graph.num_edges) < 0.7)
    with Mixing("a check", case.module, {1}).inside():
        _, weights = edge_attend(q, k, v, graph, seen)
    expect((np.asarray(weights)[~np.asarray(seen)] == 0).all(), "a masked sender has a weight", MASKED)
    some = np.asarray(segment_sum(seen[:, None].astype(jnp.float32), graph))[:, 0] > 0
    total = np.asarray(segment_sum(weights, graph))
    close(total[some], np.ones_like(total[some]), "weights of a receiver do not sum to 1", tol=1e-5)


def it_stands_in_a_fusion_and_nothing_is_left_behind(case):
    """Two models alike but for it: after it was called, the plain one computes what it did before."""
    plain = Case("standard").model()
    before = plain(case.batch()).prediction
    mine = case.model()
    first, second = (mine(case.batch()).prediction for _ in range(2))
    expect(finite(first), "predictions of a fusion are not finite")
    equal(first, second, "the same call gives other numbers")
    equal(plain(case.batch()).prediction, before, "a plain model computes something else after it")


def a_masked_modality_has_no_influence_in_a_fusion(case):
    model = case.model()
    spoiled = np.where(case.mask[..., None], case.x, np.nan)
    call = jax.jit(lambda batch: model(batch).prediction)
    equal(call(case.batch(spoiled)), call(case.batch()), "a masked modality changes predictions")


def nodes_are_independent_in_a_fusion(case):
    model, order = case.model(), np.random.default_rng(2).permutation(N)
    call = jax.jit(lambda batch: model(batch).prediction)
    moved = call(case.batch(case.x[order], case.mask[order]))
    close(moved, np.asarray(call(case.batch()))[order], "nodes in another order get other predictions", tol=1e-6)


def it_is_random_only_by_the_key(case):
    """Nothing random in evaluation; a key changes nothing where all rates are 0."""
    model = case.model()
    keyed = model(case.batch(), context=Context(key=jax.random.key(1), step=jnp.int32(0), total=1))
    equal(keyed.prediction, model(case.batch()).prediction, "a key changes predictions though all rates are 0")
