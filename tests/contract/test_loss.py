"""What every loss must satisfy, for every file found in the folder."""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fusion_jax import zoo
from fusion_jax.records import Context, Output, Target
from tests.contract import cases
from tests.contract.cases import C, D, M, close, each

N, MORE = 12, 3
CONTEXT = Context(step=jnp.int32(3), total=10)


def inputs(kind: str) -> tuple[Output, Target, jax.Array]:
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


def takes(name: str, kind: str) -> bool:
    output, target, weight = inputs(kind)
    try:
        jax.eval_shape(functools.partial(zoo.get("loss", name), context=CONTEXT), output, target, weight)
    except ValueError:
        return False
    return True


class Case:
    """One loss on the first kind of target that it takes, compiled with its gradient."""

    def __init__(self, name: str):
        kind = next(kind for kind in ("classes", "values", "survival", "labels", "several") if takes(name, kind))
        self.output, self.target, self.weight = inputs(kind)
        loss = zoo.get("loss", name)

        def value(read, output, target, weight):
            return loss(dataclasses.replace(output, **read), target, weight, context=CONTEXT)

        self.value = jax.jit(jax.value_and_grad(value))
        self.read = {field: getattr(self.output, field) for field in ("prediction", "streams", "embeddings", "hidden")}

    def run(self, read=None, target=None, weight=None, output=None):
        given = (read, output, target, weight), (self.read, self.output, self.target, self.weight)
        return self.value(*(b if a is None else a for a, b in zip(*given, strict=True)))


@functools.cache
def case(name: str) -> Case:
    return Case(name)


def rows(tree, change):
    return jax.tree.map(change, tree)


@pytest.mark.parametrize("name", each("loss"))
def test_it_is_a_finite_scalar_with_a_finite_gradient(name):
    value, grads = case(name).run()
    assert value.shape == () and np.isfinite(value)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads)) and any(g.any() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", each("loss"))
def test_rows_of_weight_0_have_no_influence(name):
    """Whatever is predicted for them, and whatever their target is."""
    c = case(name)
    value, grads = c.run()
    gone = np.asarray(c.weight) == 0

    def spoil(a):
        a = np.array(a)
        a[gone] = 3 - 2 * a[gone] if a.dtype.kind == "f" else 1 - a[gone] if a.dtype == np.int32 else ~a[gone]
        return jnp.asarray(a)

    other, other_grads = c.run(rows(c.read, spoil), rows(c.target, spoil))
    np.testing.assert_array_equal(value, other)
    cases.equal(grads, other_grads)
    assert not any(np.asarray(g)[gone].any() for g in jax.tree.leaves(grads))


@pytest.mark.parametrize("name", each("loss"))
def test_padding_changes_nothing(name):
    c = case(name)

    def pad(a):
        return jnp.concatenate([a, jnp.zeros((MORE, *a.shape[1:]), a.dtype)])

    value, grads = c.run()
    padded, padded_grads = c.run(*(rows(x, pad) for x in (c.read, c.target, c.weight, c.output)))
    close(padded, value)
    for a, b in zip(jax.tree.leaves(padded_grads), jax.tree.leaves(grads), strict=True):
        close(a[:N], b)


@pytest.mark.parametrize("name", each("loss"))
def test_without_any_row_that_counts_it_is_finite(name):
    c = case(name)
    value, grads = c.run(weight=jnp.zeros_like(c.weight))
    assert np.isfinite(value) and all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
