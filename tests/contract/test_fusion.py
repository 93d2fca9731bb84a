"""What every fusion must satisfy, for every file found in the folder.

Compilation is what costs time: each mechanism is compiled a few times (evaluation with padding, without,
training gradient, two seeds, each of its rates) and every property is read from those programs.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from fusion_jax import zoo
from fusion_jax.records import Fused, needs_of
from tests.contract import cases
from tests.contract.cases import PADDING, D, M, N, close, each

DEPTHS = ("layers", "memory_layers", "blocks", "depth", "self_attends")
SYMMETRIES = ("nodes", "modalities")


def outputs(name: str) -> dict[str, int]:
    return dict(outputs=cases.C) if "outputs" in zoo.get("fusion", name).info.needs else {}


def shallow(name: str, modalities: int) -> dict[str, int]:
    """Two layers where the default has more, if the mechanism exists so: a third takes time and shows nothing new."""
    deep = {k: 2 for k, v in zoo.options("fusion", name).items() if k in DEPTHS and isinstance(v, int) and v > 2}
    try:
        nnx.eval_shape(lambda: zoo.get("fusion", name)(modalities, D, **deep, **outputs(name), rngs=nnx.Rngs(0)))
    except ValueError:
        return {}
    return deep


class Case:
    """One fusion, its compiled forms and its inputs."""

    def __init__(self, name: str):
        self.name, self.cls = name, zoo.get("fusion", name)
        self.m = self.cls.info.modalities[0] if self.cls.info.modalities else M
        self.fixed = {**shallow(name, self.m), **outputs(name)}
        self.module = self.build(0)
        self.graphdef, self.params, self.rest = nnx.split(self.module, nnx.Param, ...)
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(N, self.m, D)).astype(np.float32)
        self.mask = rng.random((N, self.m)) < 0.7
        self.mask[0] = False  # a node with nothing
        self.mask[1] = True
        self.mask[2:4, 0] = True
        self.graph = cases.graphs(self.m, self.module.structures)
        self.padded_graph = cases.padded(self.graph, self.module.structures)
        self.forward = jax.jit(
            lambda params, x, mask, graph, context: self.merge(params)(x, mask, graph, context.told(self.needs))
        )
        self.train = jax.jit(jax.value_and_grad(self.train_loss, argnums=(0, 1)))

    @property
    def needs(self):
        return self.cls.info.needs

    def build(self, seed: int, **options):
        return self.cls(self.m, D, **{**self.fixed, **options}, rngs=nnx.Rngs(seed))

    def merge(self, params):
        return nnx.merge(self.graphdef, params, self.rest, copy=True)

    def train_loss(self, params, x, mask, graph):
        context = cases.context(len(x), jax.random.key(3)).told(self.needs)
        fused = self.merge(params)(x, mask, graph, context)
        return (fused.out**2).sum() + sum(fused.losses.values(), jnp.float32(0))

    def pad(self, a):
        fill = np.zeros((PADDING, *a.shape[1:]), a.dtype)
        return np.concatenate([a, fill])

    def evaluate(self, x, mask, graph, context=None) -> Fused:
        return self.forward(self.params, x, mask, graph, cases.context(len(x)) if context is None else context)

    @functools.cached_property
    def out(self) -> Fused:
        return self.evaluate(self.pad(self.x), self.pad(self.mask), self.padded_graph)


@functools.cache
def case(name: str) -> Case:
    return Case(name)


@pytest.mark.parametrize("name", each("fusion"))
def test_shapes(name):
    """Shapes and dtypes as the contract says; jit = eager; losses are scalars."""
    c = case(name)
    n = N + PADDING
    assert c.out.out.shape == (n, D) and c.out.out.dtype == jnp.float32
    if c.out.tokens is not None:
        assert c.out.tokens.shape == (n, c.m, D) and c.out.tokens.dtype == jnp.float32
    assert ("interleaved" in c.cls.placements) <= (c.out.tokens is not None), "interleaved needs tokens"
    assert all(v.shape == () for v in c.out.losses.values())
    for state in c.out.states:
        assert state.values.shape[:2] == state.mask.shape and state.values.ndim == 3, state.name
        assert len(state.mask) == n, state.name
    eager = c.module(jnp.asarray(c.pad(c.x)), jnp.asarray(c.pad(c.mask)), c.padded_graph, cases.context(n))
    close(eager.out, c.out.out)


@pytest.mark.parametrize("name", each("fusion"))
def test_attention(name):
    c = case(name)
    cases.check_attention(c.out.attention, N + PADDING, c.m)


@pytest.mark.parametrize("name", each("fusion"))
def test_padding(name):
    """Padding nodes and edges changes nothing."""
    c = case(name)
    plain = c.evaluate(c.x, c.mask, c.graph)
    close(c.out.out[:N], plain.out)
    for k, v in plain.losses.items():
        close(c.out.losses[k], v)


@pytest.mark.parametrize("name", each("fusion"))
def test_mask(name):
    """A masked modality, NaN in its slot, has exactly no influence; a node with none is finite."""
    c = case(name)
    nan = np.where(c.mask[..., None], c.x, np.nan).astype(np.float32)
    other = c.evaluate(c.pad(nan), c.pad(c.mask), c.padded_graph)
    cases.equal(c.out, other)
    assert c.out.tokens is None or not np.asarray(c.out.tokens)[~c.pad(c.mask)].any()
    assert all(np.isfinite(np.asarray(v)).all() for v in jax.tree.leaves((c.out.out, c.out.tokens, c.out.losses)))


@pytest.mark.parametrize("name", each("fusion"))
def test_gradients(name):
    """Training gradients are finite, with NaN in masked slots too, and exactly 0 there."""
    c = case(name)
    x, mask = c.pad(c.x), c.pad(c.mask)
    value, (dparams, dx) = c.train(c.params, x, mask, c.padded_graph)
    assert np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(dparams))
    assert not np.asarray(dx)[~mask].any()
    nan = np.where(mask[..., None], x, np.nan).astype(np.float32)
    value2, (dparams2, dx2) = c.train(c.params, nan, mask, c.padded_graph)
    np.testing.assert_array_equal(value, value2)
    cases.equal((dparams, dx), (dparams2, dx2))


@pytest.mark.parametrize("name", each("fusion"))
def test_permuting_the_nodes_permutes_the_output(name):
    c = case(name)
    assert set(c.module.symmetries) <= set(SYMMETRIES)
    if "nodes" not in c.module.symmetries:
        return
    order = np.random.default_rng(2).permutation(N)
    order = np.concatenate([order, np.arange(N, N + PADDING)])
    told = cases.reordered(cases.context(N + PADDING), order)
    other = c.evaluate(c.pad(c.x)[order], c.pad(c.mask)[order], cases.permuted(c.padded_graph, order), told)
    close(other.out, c.out.out[order])


@pytest.mark.parametrize("name", each("fusion"))
def test_permuting_the_modalities_leaves_the_output(name):
    """Where it is declared; the edge sets of the modalities go along with them."""
    c = case(name)
    if "modalities" not in c.module.symmetries:
        return
    graph = c.padded_graph
    for order in ([*range(1, c.m), 0], [1, 0, *range(2, c.m)]):  # in a circle; the first two
        moved = jax.tree.map(lambda a: a, graph)
        object.__setattr__(moved, "views", tuple(graph.views[m] for m in order))
        other = c.evaluate(c.pad(c.x)[:, order], c.pad(c.mask)[:, order], moved)
        close(other.out, c.out.out)


@pytest.mark.parametrize("name", each("fusion"))
def test_what_it_does_not_need_has_no_influence(name):
    """One that does not say that it needs the graph reads no edge."""
    c = case(name)
    if {"graph", "edge_time", "views"} & set(needs_of(c.module)):
        return
    other = jax.tree.map(jnp.zeros_like, c.padded_graph)
    cases.equal(c.evaluate(c.pad(c.x), c.pad(c.mask), other), c.out)


@pytest.mark.parametrize("name, rate", cases.with_rates("fusion"))
def test_a_rate_above_0_and_a_key_make_something_random(name, rate):
    """Without a key nothing is: evaluation does not know of the rate."""
    c = case(name)
    module = c.build(0, **cases.only("fusion", name, rate))
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    def run(params, x, mask, graph, keys):
        def one(key):
            told = cases.context(len(x), key).told(c.needs)
            fused = nnx.merge(graphdef, params, rest, copy=True)(x, mask, graph, told)
            return fused.out, fused.tokens

        still = nnx.merge(graphdef, params, rest, copy=True)(x, mask, graph, cases.context(len(x)).told(c.needs))
        return jax.vmap(one)(keys), still.out

    keys = jax.random.split(jax.random.key(0), 2)
    (out, tokens), still = jax.jit(run)(params, c.pad(c.x), c.pad(c.mask), c.padded_graph, keys)
    first, second = (jax.tree.map(lambda a, i=i: a[i], (out, tokens)) for i in range(2))
    assert cases.differ(first, second)
    close(still, c.out.out)


@pytest.mark.parametrize("name", each("fusion"))
def test_seeds(name):
    """A seed alone equals that seed in a batch of seeds, and vmap over seeds works in training too."""
    c = case(name)
    other = nnx.split(c.build(1), nnx.Param, ...)[1]
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), c.params, other)
    args = c.pad(c.x), c.pad(c.mask), c.padded_graph
    train = jax.value_and_grad(c.train_loss, argnums=(0, 1))
    # axis_size: a mechanism without parameters has nothing to read the number of seeds from
    value, (dparams, _) = jax.jit(jax.vmap(train, (0, None, None, None), axis_size=2))(both, *args)
    for i, params in enumerate((c.params, other)):
        alone, (grads, _) = c.train(params, *args)
        close(value[i], alone, 1e-4)
        for a, b in zip(jax.tree.leaves(dparams), jax.tree.leaves(grads), strict=True):
            close(a[i], b, 1e-3)


@pytest.mark.parametrize("m", [1, 2, 6])
@pytest.mark.parametrize("name", each("fusion"))
def test_modality_counts(name, m):
    """Any number of modalities, or a refusal by name where the published form has a fixed one."""
    cls = zoo.get("fusion", name)
    if cls.info.modalities and m not in cls.info.modalities:
        with pytest.raises(ValueError, match=name):
            cls(m, D, **outputs(name), rngs=nnx.Rngs(0))
        return

    def build():
        return cls(m, D, **outputs(name), rngs=nnx.Rngs(0))

    graph = cases.graphs(m, nnx.eval_shape(build).structures)
    shape = nnx.eval_shape(
        lambda x: build()(x, jnp.ones((N, m), bool), graph, cases.context()).out,
        jax.ShapeDtypeStruct((N, m, D), jnp.float32),
    )
    assert shape.shape == (N, D)


@pytest.mark.parametrize("name", each("fusion"))
def test_who_is_reached(name):
    """Who has a modality has something in the fused stream."""
    c = case(name)
    reached = np.asarray(c.module.reached(jnp.asarray(c.mask), c.graph))
    assert reached.shape == (N,) and reached.dtype == bool and (reached >= c.mask.any(1)).all()


@pytest.mark.parametrize("name", [n for n in zoo.names("fusion") if "graph" in zoo.get("fusion", n).info.needs])
def test_without_a_graph_it_is_refused_by_name(name):
    c = case(name)
    with pytest.raises(ValueError, match=f"{name}.*needs a graph"):
        c.module(c.x, c.mask, None, cases.context())
