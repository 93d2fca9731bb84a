"""What every graph layer must satisfy, for every file found in the folder."""

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
    """One layer, its compiled forms and its inputs; of several rounds one where that is an option."""

    def __init__(self, name: str):
        self.name, self.cls = name, zoo.get("layer", name)
        one_round = {"hops": 1} if "hops" in zoo.options("layer", name) else {}
        self.module = self.cls(D, **one_round, rngs=nnx.Rngs(0))
        self.graphdef, self.params, self.rest = nnx.split(self.module, nnx.Param, ...)
        self.graph = cases.graphs(1, self.module.structures)
        self.x = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
        self.run = jax.jit(self.forward)

    def layer(self, params):
        return nnx.merge(self.graphdef, params, self.rest, copy=True)

    def forward(self, params, x, graph, present=None, key=None):
        return self.layer(params)(x, graph, present, cases.context(len(x), key).told(self.cls.info.needs))

    @functools.cached_property
    def out(self) -> np.ndarray:
        return np.asarray(self.run(self.params, self.x, self.graph))


@functools.cache
def case(name: str) -> Case:
    return Case(name)


@pytest.mark.parametrize("name", each("layer"))
def test_shapes_padding_permutation_gradients_and_seeds(name):
    c = case(name)
    assert c.out.shape == (N, D) and c.out.dtype == np.float32 and np.isfinite(c.out).all()
    big = cases.padded(c.graph, c.module.structures)
    close(c.run(c.params, np.concatenate([c.x, np.ones((PADDING, D), np.float32)]), big)[:N], c.out)
    order = np.random.default_rng(2).permutation(N)
    close(c.run(c.params, c.x[order], cases.permuted(c.graph, order)), c.out[order])
    grads = jax.jit(jax.grad(lambda p, x: (c.forward(p, x, c.graph) ** 2).sum(), argnums=(0, 1)))(c.params, c.x)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    two = jax.tree.map(lambda a: jnp.stack([a, a]), c.params)
    close(jax.jit(jax.vmap(c.forward, (0, None, None)))(two, c.x, c.graph)[1], c.out)


@pytest.mark.parametrize("name", each("layer"))
def test_widths(name):
    """From one width to another, the second argument; not an option of the mechanism."""
    assert "out" not in zoo.options("layer", name)

    def make(*widths):
        return zoo.make("layer", name, *widths, rngs=nnx.Rngs(0))

    y = make(D, 12)(jnp.ones((N, D), jnp.float32), cases.graphs(1, make(D).structures))
    assert y.shape == (N, 12) and y.dtype == jnp.float32
    same = jax.tree.map(jnp.array_equal, nnx.state(make(D)), nnx.state(make(D, D)))
    assert all(jax.tree.leaves(same))


@pytest.mark.parametrize("name", each("layer"))
def test_absent_nodes_are_not_there(name):
    """NaN in their rows: present nodes get what they get in the graph without them, where it says nothing else."""
    c = case(name)
    s, r = np.asarray(c.graph.senders), np.asarray(c.graph.receivers)
    assert (PRESENT[r] & ~PRESENT[s]).any()
    nan = np.where(PRESENT[:, None], c.x, np.nan)
    y = np.asarray(c.run(c.params, nan, c.graph, PRESENT))
    assert y.shape == (N, D) and y.dtype == np.float32 and np.isfinite(y).all()
    close(c.run(c.params, c.x, c.graph, np.ones(N, bool)), c.out)
    if not c.module.structures:  # else those of the whole edge set are given
        close(y[PRESENT], c.run(c.params, c.x[PRESENT], cases.of_present(c.graph, PRESENT)))

    def loss(p, x, key):
        return (c.forward(p, x, c.graph, PRESENT, key) ** 2).sum()

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))
    for key in (None, jax.random.key(0)):
        (dparams, dx), other = (grads(c.params, a, key) for a in (c.x, nan))
        assert not np.asarray(dx)[~PRESENT].any()
        assert all(np.isfinite(a).all() for a in jax.tree.leaves((dparams, dx)))
        cases.equal((dparams, dx), other)
    many = np.stack([PRESENT, np.roll(PRESENT, 1)])
    together = jax.jit(jax.vmap(c.forward, (None, None, None, 0)))(c.params, c.x, c.graph, many)
    for i in range(2):
        close(together[i], c.run(c.params, c.x, c.graph, many[i]))
    after = np.asarray(c.module.reached(jnp.asarray(PRESENT), c.graph))
    hears = np.bincount(r[PRESENT[s]], minlength=N) > 0
    np.testing.assert_array_equal(after, PRESENT | hears if "graph" in c.cls.info.needs else PRESENT)


@pytest.mark.parametrize("name", each("layer"))
def test_attention_and_losses(name):
    """What it attends to, whoever is there; what it adds to the training loss are finite scalars."""
    c = case(name)

    @jax.jit
    def said(x, present):
        layer, told = c.layer(c.params), cases.context(len(x)).told(c.cls.info.needs)
        return layer.attention(x, c.graph, present, told), layer.losses(x, c.graph, present, told)

    for present in (None, PRESENT):
        x = c.x if present is None else np.where(present[:, None], c.x, np.nan)
        attention, losses = said(x, present)
        cases.check_attention(attention, N)
        assert all(v.shape == () and np.isfinite(v) for v in losses.values())


@pytest.mark.parametrize("name, rate", cases.with_rates("layer"))
def test_a_rate_above_0_and_a_key_make_something_random(name, rate):
    """Without a key nothing is: evaluation does not know of the rate."""
    c = case(name)
    layer = c.cls(D, **cases.only("layer", name, rate), rngs=nnx.Rngs(0))
    run = jax.jit(lambda key: layer(c.x, c.graph, None, cases.context(N, key)))
    assert cases.differ(*(run(jax.random.key(k)) for k in range(2)))
    close(run(None), c.out)
