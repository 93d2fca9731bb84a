"""The rules of a graph layer."""

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

GUARD = "begin with zero_absent(x, present) (fusion_jax.nn.presence), and leave absent senders out of counts"


class Case:
    """One layer, its compiled forms and its inputs; of several rounds one where that is an option."""

    kind = "layer"
    given = ("dim", "out"), ("rngs",)

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("layer", name)
        self.x = np.random.default_rng(1).normal(size=(N, D)).astype(np.float32)
        self.run = jax.jit(self.forward)

    @property
    def one_round(self) -> dict[str, int]:
        return {"hops": 1} if "hops" in zoo.options("layer", self.name) else {}

    @functools.cached_property
    def module(self):
        return self.mechanism(D, **self.one_round, rngs=nnx.Rngs(0))

    @functools.cached_property
    def made(self):
        """The definition, the parameters, what else is kept, and the graph: made at once, outside of what is traced."""
        return *nnx.split(self.module, nnx.Param, ...), inputs.graphs(1, self.module.structures)

    @property
    def params(self):
        return self.made[1]

    @property
    def graph(self):
        return self.made[3]

    def layer(self, params):
        return nnx.merge(self.made[0], params, self.made[2], copy=True)

    def forward(self, params, x, graph, present=None, key=None):
        return self.layer(params)(x, graph, present, inputs.context(len(x), key).told(self.mechanism.info.needs))

    @functools.cached_property
    def out(self) -> np.ndarray:
        return np.asarray(self.run(self.params, self.x, self.graph))

    @functools.cached_property
    def eager(self) -> jax.Array:
        """The same run line by line."""
        return self.forward(self.params, jnp.asarray(self.x), self.graph)

    @property
    def absent(self) -> np.ndarray:
        """x with NaN in the rows of nodes that are absent."""
        return np.where(PRESENT[:, None], self.x, np.nan)


def it_returns_an_array_of_the_right_shape(case):
    found = case.run(case.params, case.x, case.graph)
    expect(isinstance(found, jax.Array), f"returned {type(found).__name__}, expected an array [N, D']", "return y")
    expect(found.shape == (N, D), f"returned the shape {found.shape}, expected {(N, D)}", "[N, D'], D' = out")
    expect(found.dtype == jnp.float32, f"returned {found.dtype}, expected float32 as x is", "y.astype(x.dtype)")
    expect(finite(found), "returned a number that is not finite", "a node may have no neighbour: guard divisions")


def compiled_is_as_run_line_by_line(case):
    do = "no NumPy draw, no Python state and no branch on values inside the call"
    close(case.eager, case.out, "compiled it returns another result than run line by line", do)


def padding_changes_nothing(case):
    """Nodes joined to each other only."""
    big = inputs.padded(case.graph, case.module.structures)
    found = case.run(case.params, np.concatenate([case.x, np.ones((PADDING, D), np.float32)]), big)[:N]
    close(
        found, case.out, "two nodes of padding change the output of the others", "let no node see another without edge"
    )


def permuting_the_nodes_permutes_the_output(case):
    order = np.random.default_rng(2).permutation(N)
    found = case.run(case.params, case.x[order], inputs.permuted(case.graph, order))
    close(found, case.out[order], "nodes in another order get other outputs", "nothing may depend on a node's number")


def gradients_are_finite(case):
    grads = jax.jit(jax.grad(lambda p, x: (case.forward(p, x, case.graph) ** 2).sum(), argnums=(0, 1)))
    found = grads(case.params, case.x)
    bad = ", ".join(not_finite(nnx.to_pure_dict(found[0])))
    expect(finite(found), f"the gradient of {bad or 'x'} is not finite", "jnp.where before the division, root or log")


def two_seeds_at_once(case):
    two = jax.tree.map(lambda a: np.stack([a, a]), case.params)
    found = jax.jit(jax.vmap(case.forward, (0, None, None), axis_size=2))(two, case.x, case.graph)
    close(np.asarray(found)[1], case.out, "a seed beside another gets another output", "the axis of seeds is jax.vmap")


def from_one_width_to_another(case):
    """By the second argument, which is no option."""

    def make(*widths):
        return zoo.make("layer", case.name, *widths, rngs=nnx.Rngs(0))

    x, graph = jnp.ones((N, D), jnp.float32), inputs.graphs(1, make(D).structures)
    found = make(D, 12)(x, graph, None, inputs.context().told(case.mechanism.info.needs))
    expect(found.shape == (N, 12), f"out=12 returns the shape {found.shape}", "its width is `out`, `dim` where None")
    expect(found.dtype == jnp.float32, f"returned {found.dtype}, expected float32 as x is")
    same = not differ(nnx.state(make(D)), nnx.state(make(D, D)))
    expect(same, "out=None and out=dim make other parameters", "out = dim if out is None else out")


def absent_nodes_are_not_there(case):
    """NaN in their rows: present nodes get what they get in the graph without them, where it says nothing else."""
    y = np.asarray(case.run(case.params, case.absent, case.graph, PRESENT))
    expect(y.shape == (N, D) and y.dtype == np.float32, f"with absent nodes it returns {y.dtype} {y.shape}")
    expect(finite(y), "NaN in the row of an absent node reaches the output", GUARD)
    everybody = case.run(case.params, case.x, case.graph, np.ones(N, bool))
    close(everybody, case.out, "present=None is not everybody", "None: all are present")
    if not case.module.structures:  # else those of the whole edge set are given
        alone = case.run(case.params, case.x[PRESENT], inputs.of_present(case.graph, PRESENT))
        close(y[PRESENT], alone, "absent nodes influence the output of present ones", GUARD)


def absent_nodes_get_no_gradient(case):
    def loss(p, x, key):
        return (case.forward(p, x, case.graph, PRESENT, key) ** 2).sum()

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))
    for key in (None, jax.random.key(0)):
        found, other = (grads(case.params, x, key) for x in (case.x, case.absent))
        expect(not np.asarray(found[1])[~PRESENT].any(), "the gradient of an absent node's row is not 0", GUARD)
        expect(finite(found), "a gradient is not finite where nodes are absent", GUARD)
        equal(found, other, "NaN in the row of an absent node reaches gradients", GUARD)


def other_nodes_may_be_absent_in_every_seed(case):
    many = np.stack([PRESENT, np.roll(PRESENT, 1)])
    together = np.asarray(jax.jit(jax.vmap(case.forward, (None, None, None, 0)))(case.params, case.x, case.graph, many))
    for i in range(2):
        close(
            together[i], case.run(case.params, case.x, case.graph, many[i]), "a seed's absent nodes reach another seed"
        )


def it_says_who_is_reached(case):
    """Those who are there, those who hear from one of them along an edge, and nobody whom none of them moves."""
    s, r = np.asarray(case.graph.senders), np.asarray(case.graph.receivers)
    hears = np.bincount(r[PRESENT[s]], minlength=N) > 0
    first, second = (np.asarray(case.run(case.params, x, case.graph, PRESENT)) for x in (case.x, 2 - case.x))
    least, most = PRESENT | hears, PRESENT | (first != second).any(1)
    if "graph" not in case.mechanism.info.needs:
        least = most = PRESENT
    found = np.asarray(case.module.reached(jnp.asarray(PRESENT), case.graph))
    do = 'Info(needs=("graph",)) of a layer that passes messages; else return present'
    equal(found & least, least, "reached(present, graph) leaves out who has something behind it", do)
    equal(found & ~most, np.zeros(N, bool), "reached(present, graph) says more than who has something behind it", do)


def its_attention_and_its_losses_are_some(case):
    """What it attends to, whoever is there; what it adds to the training loss are finite scalars."""

    @jax.jit
    def said(params, x, present):
        layer, told = case.layer(params), inputs.context(len(x)).told(case.mechanism.info.needs)
        return layer.attention(x, case.graph, present, told), layer.losses(x, case.graph, present, told)

    for present in (None, PRESENT):
        attention, losses = said(case.params, case.x if present is None else case.absent, present)
        check_attention(attention, N)
        for name, value in losses.items():
            expect(value.shape == () and finite(value), f"loss {name!r} is no finite scalar", "take its mean")


def a_rate_and_a_key_make_something_random(case):
    """Each of its rates above 0. Without a key nothing is: evaluation does not know of the rate."""
    for rate in inputs.rates("layer", case.name):
        layer = case.mechanism(D, **case.one_round, **inputs.only("layer", case.name, rate), rngs=nnx.Rngs(0))
        made, told, graph = nnx.split(layer), functools.partial(inputs.context, N), case.graph

        @jax.jit
        def run(key, made=made, told=told, graph=graph):  # a copy, since batch statistics are changed
            return nnx.merge(*made, copy=True)(case.x, graph, None, told(key))

        expect(differ(*(run(jax.random.key(k)) for k in range(2))), f"{rate}=0.5 and a key change nothing")
        close(run(None), case.out, f"without a key {rate}=0.5 changes the output", "dropout(x, rate, context.key)")


def without_a_key_nothing_is_random(case):
    again = case.forward(case.params, jnp.asarray(case.x), case.graph)
    equal(
        case.eager, again, "two calls without a key differ", "draw with context.key only, and nothing where it is None"
    )
