"""The rules of an encoder."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.checking import inputs
from fusion_jax.checking.base import expect
from fusion_jax.checking.compared import check_attention, close, differ, equal, finite, not_finite
from fusion_jax.checking.inputs import PADDING, PRESENT, D, N

GUARD = "where messages pass, a node that is not `present` is no sender, no key and no count"


class Case:
    """One encoder, its compiled form and its inputs; of a stack of graph convolutions one."""

    kind = "encoder"
    given = ("in_dim", "dim"), ("rngs",)

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("encoder", name)
        self.fixed = {"hidden": ()} if name == "gcn" else {}
        self.x = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
        self.forward = jax.jit(self.run)

    @functools.cached_property
    def made(self):
        """The encoder and the graph: made at once, outside of what is traced."""
        module = self.build()
        return module, inputs.graphs(1, module.structures)

    @property
    def module(self):
        return self.made[0]

    @property
    def graph(self):
        return self.made[1]

    def build(self, **options):
        return self.mechanism(D, D, **{**self.fixed, **options}, rngs=nnx.Rngs(0))

    def context(self, rows, key=None):
        return inputs.context(rows, key).told(self.mechanism.info.needs)

    def run(self, x, graph, present=None):
        return self.module(x, graph, present, self.context(len(x)))

    @functools.cached_property
    def out(self) -> np.ndarray:
        return np.asarray(self.forward(self.x, self.graph))

    @property
    def shown(self) -> np.ndarray:
        """x with 0 in the rows of nodes that lack the modality."""
        return np.where(PRESENT[:, None], self.x, 0)


def it_returns_an_array_of_the_right_shape(case):
    found, shape = case.forward(case.x, case.graph), (N, case.mechanism.width(D, D))
    expect(isinstance(found, jax.Array), f"returned {type(found).__name__}, expected an array [N, D]", "return y")
    expect(found.shape == shape, f"returned the shape {found.shape}, expected {shape}", "[N, D], or say another width")
    expect(found.dtype == jnp.float32, f"returned {found.dtype}, expected float32 as x is", "y.astype(x.dtype)")
    expect(finite(found), "returned a number that is not finite", "guard divisions, roots and logarithms")


def compiled_is_as_run_line_by_line(case):
    do = "no NumPy draw, no Python state and no branch on values inside the call"
    eager = case.run(jnp.asarray(case.x), case.graph)
    close(eager, case.out, "compiled it returns another result than run line by line", do)


def padding_changes_nothing(case):
    """Nodes without the modality, joined to each other only."""
    big = inputs.padded(case.graph, case.module.structures)
    found = case.forward(np.concatenate([case.x, np.zeros((PADDING, D), np.float32)]), big)[:N]
    close(
        found, case.out, "two nodes of padding change the output of the others", "let no node see another without edge"
    )


def permuting_the_nodes_permutes_the_output(case):
    order = np.random.default_rng(2).permutation(N)
    found = case.forward(case.x[order], inputs.permuted(case.graph, order))
    close(found, case.out[order], "nodes in another order get other outputs", "nothing may depend on a node's number")


def gradients_are_finite(case):
    """Where nodes lack the modality too."""
    graphdef, params, rest = nnx.split(case.module, nnx.Param, ...)

    def loss(params, x, key):
        module = nnx.merge(graphdef, params, rest, copy=True)
        return (module(x, case.graph, jnp.asarray(PRESENT), case.context(N, key)) ** 2).sum()

    found = jax.jit(jax.grad(loss, argnums=(0, 1)))(params, case.shown, jax.random.key(0))
    bad = ", ".join(not_finite(nnx.to_pure_dict(found[0])))
    expect(finite(found), f"the gradient of {bad or 'x'} is not finite", "jnp.where before the division, root or log")


def a_node_that_lacks_the_modality_is_not_there(case):
    """The others get what they get in the graph without it."""
    y = np.asarray(case.forward(case.shown, case.graph, PRESENT))
    if not case.module.structures:
        alone = case.forward(case.shown[PRESENT], inputs.of_present(case.graph, PRESENT))
        close(y[PRESENT], alone, "a node that lacks the modality influences the output of others", GUARD)
    everybody = case.forward(case.shown, case.graph, np.ones(N, bool))
    close(everybody, case.forward(case.shown, case.graph), "present=None is not everybody", "None: all are present")


def it_says_who_is_reached(case):
    """Those who have the modality, and, of one that needs the graph, those who hear from one of them."""
    s, r = np.asarray(case.graph.senders), np.asarray(case.graph.receivers)
    hears = np.bincount(r[PRESENT[s]], minlength=N) > 0
    expected = PRESENT | hears if "graph" in case.mechanism.info.needs else PRESENT
    found = np.asarray(case.module.reached(jnp.asarray(PRESENT), case.graph))
    do = 'an encoder that passes messages says Info(needs=("graph",)) and who is reached; else return present'
    equal(found, expected, "reached(present, graph) is not who has something behind it", do)


def its_attention_and_its_losses_are_some(case):
    """States have a row a node; losses are finite scalars, and do not look at nodes that lack the modality."""
    present = jnp.asarray(PRESENT)
    check_attention(case.module.attention(case.shown, case.graph, present, case.context(N)), N)
    for state in case.module.states(case.shown, case.graph, present, case.context(N)):
        t, w = state.values.shape[1:]
        expect(state.values.shape == (N, t, w), f"state {state.name!r}: values are no [N, T, W]", "a row a node")
        expect(state.mask.shape == (N, t), f"state {state.name!r}: mask is no bool [N, T]", "which of them there are")
        expect(finite(state.values), f"state {state.name!r} is not finite", "guard divisions, roots and logarithms")
    losses = case.module.losses(case.shown, present, case.context(N))
    for name, value in losses.items():
        expect(value.shape == () and finite(value), f"loss {name!r} is no finite scalar", "take its mean")
    other = case.module.losses(np.where(PRESENT[:, None], case.x, 7).astype(np.float32), present, case.context(N))
    equal(losses, other, "losses look at nodes that lack the modality", "average over `present`")


def a_rate_and_a_key_make_something_random(case):
    """Each of its rates above 0. Without a key nothing is: evaluation does not know of the rate."""
    deep = {"hidden": (D,)} if case.name == "gcn" else {}  # no dropout behind the last
    graph = case.graph  # made here: not while the program is traced, where its numbers cannot be read
    for rate in inputs.rates("encoder", case.name):
        options = {**deep, **inputs.only("encoder", case.name, rate)}
        with_rate, without = (case.build(**{**options, rate: r}) for r in (0.5, 0.0))
        run = jax.jit(lambda key, own=with_rate: own(case.x, graph, None, case.context(N, key)))
        expect(differ(*(run(jax.random.key(k)) for k in range(2))), f"{rate}=0.5 and a key change nothing")
        still = without(jnp.asarray(case.x), graph, None, case.context(N))
        close(run(None), still, f"without a key {rate}=0.5 changes the output", "dropout(x, rate, context.key)")


def without_a_key_nothing_is_random(case):
    first, second = (case.run(jnp.asarray(case.x), case.graph) for _ in range(2))
    equal(first, second, "two calls without a key differ", "draw with context.key only, and nothing where it is None")
