"""The rules of a fusion.

Compilation is what costs time: each mechanism is compiled a few times (evaluation with padding, without, training
gradient, two seeds, each of its rates) and every rule is read from those programs.
"""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.checking import inputs
from fusion_jax.checking.base import Broken, expect
from fusion_jax.checking.compared import check_attention, close, differ, equal, finite, not_finite
from fusion_jax.checking.inputs import PADDING, D, M, N
from fusion_jax.checking.traced import in_words, reads
from fusion_jax.records import Fused, needs_of

DEPTHS = dict(layers=2, memory_layers=2, blocks=2, depth=2, levels=2, self_attends=2, stacks=1)  # stacks hold layers
SYMMETRIES = ("nodes", "modalities")
PLACEMENTS = ("before", "after", "interleaved", "decision")
GUARD = "give x through jnp.where(mask[..., None], x, 0) before anything is computed from it"


def outputs(name: str) -> dict[str, int | tuple[int, ...]]:
    """The number of outputs, or those of each target, for a fusion that is given it."""
    needs = zoo.get("fusion", name).info.needs
    return {k: v for k, v in dict(outputs=inputs.C, targets=(inputs.C,)).items() if k in needs}


def shallow(name: str, modalities: int) -> dict[str, int]:
    """Two layers where the default has more, if the mechanism exists so: a third takes time and shows nothing new."""
    given = {k: v for k, v in zoo.options("fusion", name).items() if k in DEPTHS and isinstance(v, int)}
    deep = {k: DEPTHS[k] for k, v in given.items() if v > DEPTHS[k]}
    if not deep:
        return {}
    try:
        nnx.eval_shape(lambda: zoo.get("fusion", name)(modalities, D, **deep, **outputs(name), rngs=nnx.Rngs(0)))
    except ValueError:
        return {}
    return deep


class Case:
    """One fusion, its compiled forms and its inputs."""

    kind = "fusion"

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("fusion", name)
        self.given = ("modalities", "dim"), ("rngs", *outputs(name))
        self.m = self.mechanism.info.modalities[0] if self.mechanism.info.modalities else M
        rng = np.random.default_rng(1)
        self.x = rng.normal(size=(N, self.m, D)).astype(np.float32)
        self.mask = rng.random((N, self.m)) < 0.7
        self.mask[0] = False  # a node with nothing
        self.mask[1] = True
        self.mask[2:4, 0] = True
        self.forward = jax.jit(self.run)
        self.train = jax.jit(jax.value_and_grad(self.train_loss, argnums=(0, 1)))

    @functools.cached_property
    def fixed(self) -> dict[str, int | tuple[int, ...]]:
        return {**shallow(self.name, self.m), **outputs(self.name)}

    @functools.cached_property
    def module(self):
        return self.build(0)

    @functools.cached_property
    def made(self):
        """The definition, the parameters, what else is kept, and the graph: made at once, outside of what is traced."""
        return *nnx.split(self.module, nnx.Param, ...), inputs.graphs(self.m, self.module.structures)

    @property
    def needs(self):
        return self.mechanism.info.needs

    @property
    def params(self):
        return self.made[1]

    @property
    def graph(self):
        return self.made[3]

    def build(self, seed: int, **options):
        return self.mechanism(self.m, D, **{**self.fixed, **options}, rngs=nnx.Rngs(seed))

    def merge(self, params):
        return nnx.merge(self.made[0], params, self.made[2], copy=True)

    def run(self, params, x, mask, graph, context) -> Fused:
        return self.merge(params)(x, mask, graph, context.told(self.needs))

    def train_loss(self, params, x, mask, graph):
        fused = self.run(params, x, mask, graph, inputs.context(len(x), jax.random.key(3)))
        return (fused.out**2).sum() + sum(fused.losses.values(), jnp.float32(0))

    def pad(self, a):
        fill = np.zeros((PADDING, *a.shape[1:]), a.dtype)
        return np.concatenate([a, fill])

    def evaluate(self, x, mask, graph, context=None) -> Fused:
        return self.forward(self.params, x, mask, graph, inputs.context(len(x)) if context is None else context)

    @functools.cached_property
    def padded(self):
        """x, mask and graph with nodes of padding behind the others."""
        return self.pad(self.x), self.pad(self.mask), inputs.padded(self.graph, self.module.structures)

    @functools.cached_property
    def out(self) -> Fused:
        return self.evaluate(*self.padded)

    @functools.cached_property
    def program(self) -> tuple:
        """What `out` is computed by, in words."""
        return in_words(self.forward.trace(self.params, *self.padded, inputs.context(N + PADDING)).jaxpr)

    @functools.cached_property
    def eager(self) -> Fused:
        """The same run line by line."""
        x, mask, graph = self.padded
        return self.module(jnp.asarray(x), jnp.asarray(mask), graph, inputs.context(len(x)).told(self.needs))

    def spoiled(self, modalities=slice(None)) -> np.ndarray:
        """x with NaN in the masked slots of some modalities."""
        x, mask, _ = self.padded
        gone = np.zeros_like(mask)
        gone[:, modalities] = ~mask[:, modalities]
        return np.where(gone[..., None], np.nan, x).astype(np.float32)

    def in_words(self, breaks) -> str:
        """Which modalities break a rule, by number; `breaks(modality)` says whether."""
        guilty = [str(m) for m in range(self.m) if breaks(m)]
        return f"modality {', '.join(guilty)}" if 0 < len(guilty) < self.m else "a modality"


def it_returns_Fused_of_the_right_shapes(case):
    fused, n = case.out, N + PADDING
    expect(isinstance(fused, Fused), f"returned {_type(fused)}, expected Fused", "return Fused(out)")
    for field, shape in (("out", (n, D)), ("tokens", (n, case.m, D))):
        found = getattr(fused, field)
        if found is None and field == "tokens":
            continue
        names = "[N, D]" if field == "out" else "[N, M, D]"
        expect(found.shape == shape, f"{field} has the shape {found.shape}, expected {shape}", f"{names}, D={D}")
        say = f"cast it back: {field}.astype(x.dtype)"
        expect(found.dtype == jnp.float32, f"{field} is {found.dtype}, expected float32 as x is", say)
    for name, value in fused.losses.items():
        expect(value.shape == (), f"loss {name!r} has the shape {value.shape}, expected a scalar", "take its mean")
    for state in fused.states:
        fits = state.values.ndim == 3 and state.values.shape[:2] == state.mask.shape and len(state.mask) == n
        found = f"state {state.name!r}: values {state.values.shape}, mask {state.mask.shape}"
        expect(fits, found, "expected [N, T, W] and [N, T]")


def it_can_stand_where_it_says(case):
    """At its placements; interleaved with graph layers only with tokens."""
    placements = case.mechanism.placements
    expect(isinstance(placements, tuple) and placements, f"placements={placements!r}", "expected a tuple of words")
    unknown = [p for p in placements if p not in PLACEMENTS]
    expect(not unknown, f"placement {unknown} is none", f"of {', '.join(PLACEMENTS)}")
    if "interleaved" in placements:
        do = "return Fused(out, tokens=[N, M, D]), or take it out of placements"
        expect(case.out.tokens is not None, "placement interleaved needs tokens, and it returns none", do)


def compiled_is_as_run_line_by_line(case):
    do = "no NumPy draw, no Python state and no branch on values inside the call"
    close(case.eager.out, case.out.out, "compiled it returns another result than run line by line", do)


def its_attention_is_one(case):
    check_attention(case.out.attention, N + PADDING, case.m)


def padding_changes_nothing(case):
    """Nodes without modalities, joined to each other only."""
    plain = case.evaluate(case.x, case.mask, case.graph)
    do = "let no node see another but along edges; a mean over nodes counts those with mask.any(1)"
    close(case.out.out[:N], plain.out, "two nodes of padding change the output of the others", do)
    for k, v in plain.losses.items():
        close(case.out.losses[k], v, f"two nodes of padding change the loss {k!r}", do)


def a_masked_modality_has_no_influence(case):
    """NaN in its slot, neither on outputs nor on tokens; a node with none is finite."""
    x, mask, graph = case.padded
    shown = (case.out.out, case.out.tokens, case.out.losses)
    expect(finite(shown), "a node without modality gets a number that is not finite", "guard divisions and softmax")
    if differ(case.out, case.evaluate(case.spoiled(), mask, graph)):
        which = case.in_words(lambda m: differ(case.out, case.evaluate(case.spoiled([m]), mask, graph)))
        raise Broken(f"{which}, where it is masked, influences the output (NaN in its slot reaches it)", GUARD)
    if case.out.tokens is not None:
        expect(not np.asarray(case.out.tokens)[~mask].any(), "tokens of masked modalities are not 0", GUARD)


def the_mask_is_read(case):
    """What it computes depends on the mask, by tracing it, beside the zeros that stand in masked slots."""
    x, mask, graph = case.padded
    told = inputs.context(len(x)).told(case.needs)

    def numbers(mask):
        fused = case.module.nodes(jnp.where(case.padded[1][..., None], x, 0), mask, graph, told)
        return [a for a in (fused.out, fused.tokens, fused.prediction) if a is not None]

    (read,), declared = reads(numbers, jnp.asarray(mask)), case.module.reads_mask
    if declared and not read:
        do = "intended, a missing modality being a vector of zeros? set reads_mask = False"
        raise Broken("mask never read: zeros count as values", do)
    expect(declared or not read, "reads_mask = False, and the output depends on the mask", "take reads_mask away")


def gradients_are_finite(case):
    """In training, with NaN in masked slots too, and exactly 0 there."""
    x, mask, graph = case.padded
    value, grads = case.train(case.params, x, mask, graph)
    expect(np.isfinite(value), "the training loss is not finite")
    bad = ", ".join(not_finite(nnx.to_pure_dict(grads[0])))
    expect(finite(grads), f"the gradient of {bad or 'x'} is not finite", "jnp.where before the division, root or log")
    expect(not np.asarray(grads[1])[~mask].any(), "the gradient of a masked slot is not 0", GUARD)
    value2, grads2 = case.train(case.params, case.spoiled(), mask, graph)
    if value2 != value or differ(grads, grads2):

        def breaks(m):
            return differ(grads, case.train(case.params, case.spoiled([m]), mask, graph)[1])

        raise Broken(f"{case.in_words(breaks)}, where it is masked, influences gradients (NaN in its slot)", GUARD)


def permuting_the_nodes_permutes_the_output(case):
    symmetries = case.module.symmetries
    unknown = sorted({*symmetries} - {*SYMMETRIES})
    expect(not unknown, f"symmetries={unknown}", f"of {', '.join(SYMMETRIES)}")
    if "nodes" not in symmetries:
        return
    order = np.random.default_rng(2).permutation(N)
    order = np.concatenate([order, np.arange(N, N + PADDING)])
    told = inputs.reordered(inputs.context(N + PADDING), order)
    x, mask, graph = case.padded
    other = case.evaluate(x[order], mask[order], inputs.permuted(graph, order), told)
    do = "nothing may depend on a node's number; set symmetries = () if it is meant to"
    close(other.out, case.out.out[order], "nodes in another order get other outputs", do)


def permuting_the_modalities_leaves_the_output(case):
    """Where it is declared; the edge sets of the modalities go along with them."""
    if "modalities" not in case.module.symmetries:
        return
    x, mask, graph = case.padded
    for order in ([*range(1, case.m), 0], [1, 0, *range(2, case.m)]):  # in a circle; the first two
        moved = jax.tree.map(lambda a: a, graph)
        object.__setattr__(moved, "views", tuple(graph.views[m] for m in order))
        other = case.evaluate(x[:, order], mask[:, order], moved)
        do = "take 'modalities' out of symmetries"
        close(other.out, case.out.out, "modalities in another order change the output", do)


def what_it_does_not_need_has_no_influence(case):
    """One that does not say that it needs the graph reads no edge."""
    if {"graph", "edge_time", "views"} & set(needs_of(case.module)):
        return
    x, mask, graph = case.padded
    other = case.evaluate(x, mask, jax.tree.map(jnp.zeros_like, graph))
    equal(other, case.out, "it reads the graph and does not say so", 'Info(needs=("graph",))')


def without_a_graph_it_is_refused_by_name(case):
    if "graph" not in case.needs:
        return
    try:
        case.module(case.x, case.mask, None, inputs.context())
    except ValueError as error:
        kept = zoo.short(case.name) in str(error) and "needs a graph" in str(error)
        expect(kept, f"without a graph: {error}", "leave that to Fusion.__call__")
        return
    raise Broken("it needs a graph and runs without one", "leave __call__ to Fusion, or take 'graph' out of needs")


def a_rate_and_a_key_make_something_random(case):
    """Each of its rates above 0. Without a key nothing is: evaluation does not know of the rate."""
    for rate in inputs.rates("fusion", case.name):
        module = case.build(0, **inputs.only("fusion", case.name, rate))
        first, second = _drawn(case, module)
        expect(differ(first, second), f"{rate}=0.5 and a key change nothing", f"use {rate}, or take the option away")
        if _program(case, module) != case.program:
            still = jax.jit(_run(case, module))(nnx.state(module, nnx.Param), *case.padded).out
            close(still, case.out.out, f"without a key {rate}=0.5 changes the output", "dropout(x, rate, context.key)")


def _run(case, module):
    """The module as a function of its parameters and what it is given, keys among them."""
    graphdef, _, rest = nnx.split(module, nnx.Param, ...)

    def run(params, x, mask, graph, key=None) -> Fused:
        told = inputs.context(len(x), key).told(case.needs)
        return nnx.merge(graphdef, params, rest, copy=True)(x, mask, graph, told)

    return run


def _program(case, module) -> tuple:
    """What evaluation computes, in words; equal words are the same numbers, without compiling them."""
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    def run(params, x, mask, graph, context) -> Fused:
        return nnx.merge(graphdef, params, rest, copy=True)(x, mask, graph, context.told(case.needs))

    return in_words(jax.jit(run).trace(params, *case.padded, inputs.context(N + PADDING)).jaxpr)


def _drawn(case, module) -> tuple:
    """What a module returns under two keys, each out and tokens."""
    params, run = nnx.state(module, nnx.Param), _run(case, module)

    def one(params, x, mask, graph, key):
        fused = run(params, x, mask, graph, key)
        return fused.out, fused.tokens

    keys = jax.random.split(jax.random.key(0), 2)
    drawn = jax.jit(jax.vmap(one, (None, None, None, None, 0)))(params, *case.padded, keys)
    return tuple(jax.tree.map(lambda a, i=i: np.asarray(a)[i], drawn) for i in range(2))


def without_a_key_nothing_is_random(case):
    """A second call line by line is made only where tracing another one gives another program than the first."""
    first = case.eager.out
    if _program(case, case.module) == case.program:
        return
    x, mask, graph = case.padded
    told = inputs.context(len(x)).told(case.needs)
    again = case.module(jnp.asarray(x), jnp.asarray(mask), graph, told).out
    do = "draw with context.key only, and nothing where it is None"
    equal(first, again, "two calls without a key differ", do)


def a_call_leaves_its_parameters_as_they_are(case):
    """Whatever the number of nodes, there are as many of the same shapes; by tracing, which computes nothing."""
    for x, mask, graph in ((case.x, case.mask, case.graph), case.padded):
        before, after = _around_a_call(case, x, mask, graph)
        new = ", ".join(sorted(k for k in after if after[k] != before.get(k)))
        do = "make all parameters in __init__; none can have an axis of nodes"
        expect(after == before, f"a call of {len(x)} nodes makes or changes the parameters {new}", do)


def _around_a_call(case, x, mask, graph) -> list[dict[str, tuple]]:
    """The shapes of the parameters before and after a call."""
    found = []

    def call(params, x, mask, graph):
        module = case.merge(params)
        found.append(_shapes(module))
        module(x, mask, graph, inputs.context(len(x)).told(case.needs))
        found.append(_shapes(module))

    jax.eval_shape(call, case.params, x, mask, graph)
    return found


def _shapes(module) -> dict[str, tuple]:
    return {".".join(map(str, path)): v.shape for path, v in nnx.to_flat_state(nnx.state(module))}


def a_seed_alone_is_that_seed_among_others(case):
    """Also in training: the axis of seeds is jax.vmap."""
    other = nnx.split(case.build(1), nnx.Param, ...)[1]
    both = jax.tree.map(lambda a, b: np.stack([a, b]), case.params, other)
    train = jax.value_and_grad(case.train_loss)
    # axis_size: a mechanism without parameters has nothing to read the number of seeds from
    seeds = jax.jit(jax.vmap(train, (0, None, None, None), axis_size=2))
    value, dparams = jax.tree.map(np.asarray, seeds(both, *case.padded))
    found = "a seed trained beside another gets another"
    for i, params in enumerate((case.params, other)):
        alone, (grads, _) = case.train(params, *case.padded)
        close(value[i], alone, f"{found} loss", tol=1e-4)
        for a, b in zip(jax.tree.leaves(dparams), jax.tree.leaves(grads), strict=True):
            close(a[i], b, f"{found} gradient", tol=1e-3)


def any_number_of_modalities_or_a_refusal(case):
    """By name, where the published form has a fixed one."""
    expect(case.out, "it returns nothing")  # what cannot be called at all breaks another rule
    for m in (1, 2, 6):
        fixed = case.mechanism.info.modalities
        if fixed and m not in fixed:
            _refused(case, m)
            continue
        try:
            shape = _shape(case, m)
        except Exception as error:
            first = str(error).splitlines()[0]
            raise Broken(
                f"M={m}: {type(error).__name__}: {first}", "Info(modalities=...) names those it is for"
            ) from error
        expect(shape == (N, D), f"M={m}: out has the shape {shape}, expected {(N, D)}")


def _shape(case, m: int) -> tuple[int, ...]:
    """Of `out`, for m modalities that are all there; built and called in one trace."""
    deep = case.fixed if m == case.m else {**shallow(case.name, m), **outputs(case.name)}

    def call(x):
        module = case.mechanism(m, D, **deep, rngs=nnx.Rngs(0))
        with jax.ensure_compile_time_eval():  # what is made on the host is no part of what is traced
            graph, told = inputs.graphs(m, module.structures), inputs.context().told(case.needs)
        return module(x, jnp.ones((N, m), bool), graph, told).out

    return nnx.eval_shape(call, jax.ShapeDtypeStruct((N, m, D), jnp.float32)).shape


def _refused(case, m: int) -> None:
    try:
        case.mechanism(m, D, **outputs(case.name), rngs=nnx.Rngs(0))
    except ValueError as error:
        expect(zoo.short(case.name) in str(error), f"M={m} is refused without its name: {error}")
        return
    raise Broken(f"M={m} is taken, Info.modalities is {case.mechanism.info.modalities}", "leave __new__ to Fusion")


def who_has_a_modality_is_reached(case):
    reached = np.asarray(case.module.reached(jnp.asarray(case.mask), case.graph))
    expect(reached.shape == (N,) and reached.dtype == bool, f"reached is {reached.dtype} {reached.shape}", "bool [N]")
    expect((reached >= case.mask.any(1)).all(), "a node that has a modality is not reached", "mask.any(1) | ...")


def _type(found) -> str:
    return "an array" if isinstance(found, jax.Array | np.ndarray) else f"{type(found).__name__}"
