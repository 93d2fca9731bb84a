"""What every encoder must satisfy, for every file found in the folder."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from tests.contract import cases
from tests.contract.cases import PADDING, D, N, close, each

PRESENT = np.array([1, 1, 0, 1, 0, 1, 1], bool)


class Case:
    """One encoder, its compiled form and its inputs; of a stack of graph convolutions one."""

    def __init__(self, name: str):
        self.cls = zoo.get("encoder", name)
        self.fixed = {"hidden": ()} if name == "gcn" else {}
        self.module = self.build()
        self.graph = cases.graphs(1, self.module.structures)
        self.x = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
        self.forward = jax.jit(lambda x, graph, present=None: self.module(x, graph, present, self.context(len(x))))

    def build(self, **options):
        return self.cls(D, D, **{**self.fixed, **options}, rngs=nnx.Rngs(0))

    def context(self, rows, key=None):
        return cases.context(rows, key).told(self.cls.info.needs)

    @functools.cached_property
    def out(self) -> np.ndarray:
        return np.asarray(self.forward(self.x, self.graph))


@functools.cache
def case(name: str) -> Case:
    return Case(name)


@pytest.mark.parametrize("name", each("encoder"))
def test_shapes_padding_and_permutation(name):
    c = case(name)
    assert c.out.shape == (N, c.cls.width(D, D)) and c.out.dtype == np.float32 and np.isfinite(c.out).all()
    big = cases.padded(c.graph, c.module.structures)
    close(c.forward(np.concatenate([c.x, np.zeros((PADDING, D), np.float32)]), big)[:N], c.out)
    order = np.random.default_rng(2).permutation(N)
    close(c.forward(c.x[order], cases.permuted(c.graph, order)), c.out[order])


@pytest.mark.parametrize("name", each("encoder"))
def test_a_node_that_lacks_the_modality_is_not_there(name):
    """The others get what they get in the graph without it."""
    c = case(name)
    x = np.where(PRESENT[:, None], c.x, 0)
    s, r = np.asarray(c.graph.senders), np.asarray(c.graph.receivers)
    y = np.asarray(c.forward(x, c.graph, PRESENT))
    if not c.module.structures:
        close(y[PRESENT], c.forward(x[PRESENT], cases.of_present(c.graph, PRESENT)))
    close(c.forward(x, c.graph, np.ones(N, bool)), c.forward(x, c.graph))
    after = np.asarray(c.module.reached(jnp.asarray(PRESENT), c.graph))
    hears = np.bincount(r[PRESENT[s]], minlength=N) > 0
    np.testing.assert_array_equal(after, PRESENT | hears if "graph" in c.cls.info.needs else PRESENT)


@pytest.mark.parametrize("name", each("encoder"))
def test_attention_and_losses(name):
    """Losses are finite scalars, and do not look at nodes that lack the modality."""
    c = case(name)
    x = np.where(PRESENT[:, None], c.x, 0)
    cases.check_attention(c.module.attention(x, c.graph, jnp.asarray(PRESENT), c.context(N)), N)
    losses = c.module.losses(x, jnp.asarray(PRESENT), c.context(N))
    assert all(v.shape == () and np.isfinite(v) for v in losses.values())
    cases.equal(losses, c.module.losses(np.where(PRESENT[:, None], x, 7).astype(np.float32), PRESENT, c.context(N)))


@pytest.mark.parametrize("name, rate", cases.with_rates("encoder"))
def test_a_rate_above_0_and_a_key_make_something_random(name, rate):
    """Without a key nothing is: evaluation does not know of the rate."""
    c = case(name)
    deep = {"hidden": (D,)} if name == "gcn" else {}  # no dropout behind the last
    encoders = [c.build(**deep, **{**cases.only("encoder", name, rate), rate: r}) for r in (0.5, 0.0)]
    run = jax.jit(lambda key: encoders[0](c.x, c.graph, None, c.context(N, key)))
    assert cases.differ(*(run(jax.random.key(k)) for k in range(2)))
    close(run(None), encoders[1](c.x, c.graph, None, c.context(N)))
