"""The rules of a loss, asked on the first kind of target that it takes."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax import zoo
from fusion_jax.checking.base import Broken, expect
from fusion_jax.checking.compared import close, equal, finite
from fusion_jax.checking.inputs import C, D, M
from fusion_jax.nn.masked_groups import AXIS
from fusion_jax.records import Context, Output, Target, Tokens

N, MORE = 12, 3
CONTEXT = Context(step=jnp.int32(3), total=10)
TARGETS = ("classes", "values", "survival", "labels", "several")
GUARD = "end with fusion_jax.losses.base.weighted_mean(values, weight)"


def of_target(kind: str) -> tuple[Output, Target, jax.Array]:
    """A model's output with all that a loss may read, a target of the kind, and weights with some 0."""
    rng = np.random.default_rng(0)
    outputs = {"survival": 1, "several": 2 * C}.get(kind, C)
    streams, embeddings = rng.normal(size=(N, M, outputs)), rng.normal(size=(N, M, D))
    mask = jnp.asarray(rng.random((N, M)) < 0.7)
    labels = jnp.asarray(np.arange(N, dtype=np.int32) % C)
    fields = dict(
        classes=dict(labels=labels),
        labels=dict(labels=jnp.asarray(rng.random((N, C)) < 0.4)),
        several={name: Target("classes", labels=labels, num_outputs=C) for name in ("z", "a")},
        values=dict(values=jnp.asarray(rng.normal(size=(N, C)))),
        survival=dict(time=jnp.asarray(rng.random(N) + 0.1), event=jnp.asarray(rng.random(N) < 0.6)),
    )[kind]
    hidden = jnp.asarray(rng.normal(size=(N, D)))
    output = Output(jnp.asarray(streams[:, 0]), jnp.asarray(streams), jnp.asarray(embeddings), hidden, mask)
    weight = jnp.asarray(np.where(np.arange(N) % 4 == 3, 0.0, 1.0 + np.arange(N) / N))
    return output, Target(kind, **fields, num_outputs=outputs), weight


def with_states(output: Output, read: dict[str, jax.Array]) -> Output:
    """The output with these fields, tokens, and for losses that look at them a vector of each node for every condition,
    and what each modality was before it was masked."""
    conditions = Tokens("fusion 1: modalities", read["embeddings"], output.mask, "condition")
    masked = Tokens(f"encoder a: {AXIS}", -read["embeddings"], output.mask, AXIS)
    return dataclasses.replace(output, **read, tokens=(read["embeddings"],), states=(masked, conditions))


def refusal(name: str, kind: str) -> str:
    """Why a loss does not take a kind of target; "" where it does."""
    output, target, weight = of_target(kind)
    output = with_states(output, {"embeddings": output.embeddings})
    try:
        jax.eval_shape(functools.partial(zoo.get("loss", name), context=CONTEXT), output, target, weight)
    except Exception as error:  # what a loss of one's own does with another target is its own
        return str(error).splitlines()[0]
    return ""


class Case:
    """One loss on the first kind of target that it takes, compiled with its gradient."""

    kind = "loss"
    given = ("output", "target", "weight"), ("context",)

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("loss", name)
        kind = next((kind for kind in TARGETS if not refusal(name, kind)), None)
        if kind is None:
            raise Broken(f"it takes no kind of target; of classes: {refusal(name, 'classes')}")
        self.output, self.target, self.weight = of_target(kind)

        def value(read, output, target, weight):
            return self.mechanism(with_states(output, read), target, weight, context=CONTEXT)

        self.plain, self.value = value, jax.jit(jax.value_and_grad(value))
        self.read = {field: getattr(self.output, field) for field in ("prediction", "streams", "embeddings", "hidden")}

    def run(self, read=None, target=None, weight=None, output=None):
        given = (read, output, target, weight), (self.read, self.output, self.target, self.weight)
        return self.value(*(b if a is None else a for a, b in zip(*given, strict=True)))


def it_is_a_finite_scalar(case):
    value = case.plain(case.read, case.output, case.target, case.weight)
    expect(np.shape(value) == (), f"returned the shape {np.shape(value)}, expected a scalar", GUARD)
    expect(finite(value), f"returned {value}", "guard logarithms and divisions")
    close(case.run()[0], value, "compiled it returns another result than run line by line")


def its_gradient_is_finite(case):
    """And not 0 everywhere."""
    _, grads = case.run()
    bad = ", ".join(name for name, g in grads.items() if not finite(g))
    expect(finite(grads), f"the gradient of output.{bad} is not finite", "jnp.where before the logarithm or division")
    do = "nothing is learned from it: read output.prediction"
    expect(any(np.asarray(g).any() for g in jax.tree.leaves(grads)), "its gradient is 0", do)


def rows_of_weight_0_have_no_influence(case):
    """Whatever is predicted for them, and whatever their target is."""
    value, grads = case.run()
    gone = np.asarray(case.weight) == 0

    def spoil(a):
        a = np.array(a)
        a[gone] = 3 - 2 * a[gone] if a.dtype.kind == "f" else 1 - a[gone] if a.dtype == np.int32 else ~a[gone]
        return jnp.asarray(a)

    other, other_grads = case.run(jax.tree.map(spoil, case.read), jax.tree.map(spoil, case.target))
    equal(value, other, "a row of weight 0 changes it: labels that must not be seen would be learned", GUARD)
    equal(grads, other_grads, "a row of weight 0 changes the gradient", GUARD)
    found = any(np.asarray(g)[gone].any() for g in jax.tree.leaves(grads))
    expect(not found, "a row of weight 0 has a gradient", GUARD)


def padding_changes_nothing(case):
    """More rows of weight 0."""

    def pad(a):
        return jnp.concatenate([a, jnp.zeros((MORE, *a.shape[1:]), a.dtype)])

    value, grads = case.run()
    given = (jax.tree.map(pad, part) for part in (case.read, case.target, case.weight, case.output))
    padded, padded_grads = case.run(*given)
    close(padded, value, "rows of padding change it", GUARD)
    for a, b in zip(jax.tree.leaves(padded_grads), jax.tree.leaves(grads), strict=True):
        close(a[:N], b, "rows of padding change the gradient", GUARD)


def without_any_row_that_counts_it_is_finite(case):
    value, grads = case.run(weight=jnp.zeros_like(case.weight))
    expect(finite((value, grads)), "where no row has a weight it is not finite", GUARD)
