"""Gradient-Blending: a head on every modality, and losses weighed by how much each generalises against overfits.

Reference: Wang, Tran and Feiszli, "What Makes Training Multi-modal Classification Networks Hard?", CVPR 2020
(arXiv 1905.12681), the offline algorithm. The released code has no estimation of the weights: this is a
reimplementation of equations 4 to 6 and algorithm 1.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import nnx

from fusion_jax import tasks
from fusion_jax.losses.cross_entropy import cross_entropy
from fusion_jax.records import EVALUATION, Array, Batch, Context, Head, Info, Output, Target
from fusion_jax.schemes.base import Make, Scheme, Stage

LEAST = 0.1  # the smallest share of the joint loss: weights are told to training as multiples of it


class Blended(nnx.Module):
    """A model, and a linear head on the encoded vector of every modality: z_m = W_m e_m + b_m, 0 where m is missing.

    `weights` [M + 1], of the modalities and the joint prediction, sum to 1. The training loss is that of the joint
    prediction + sum_m weights_m / weights_joint times that of z_m.

    Args:
        model: of the cell's config.
        modalities, width, classes: M, D and C.
    """

    def __init__(self, model: nnx.Module, modalities: int, width: int, classes: int, *, rngs: nnx.Rngs):
        self.model = model
        self.heads = nnx.List([nnx.Linear(width, classes, rngs=rngs) for _ in range(modalities)])
        self.weights = nnx.BatchStat(jnp.full(modalities + 1, 1 / (modalities + 1), jnp.float32))

    def __call__(self, batch: Batch, *, context: Context = EVALUATION) -> Output:
        output = self.model(batch, context=context)
        weights = self.weights[...]
        share = weights[:-1] / jnp.maximum(weights[-1], LEAST)
        own = [
            Head(f"modality {name}", jnp.where(output.mask[:, [m]], head(output.embeddings[:, m]), 0), share[m])
            for m, (name, head) in enumerate(zip(batch.names, self.heads, strict=True))
        ]
        return dataclasses.replace(output, heads=(*output.heads, *own))

    def begin(self, batch: Batch, context: Context = EVALUATION) -> None:
        """Lets the model's fusions begin."""
        self.model.begin(batch, context)


class Course(NamedTuple):
    """Cross-entropy of every prediction [M + 1] before and after a course of training, on rows it saw and not."""

    seen_before: Array
    seen_after: Array
    unseen_before: Array
    unseen_after: Array


class GradientBlend(Scheme):
    """w_k = (G_k / O_k^2) / sum_j (G_j / O_j^2), of every modality's own prediction and the joint one.

    G_k = L_k(unseen, before) - L_k(unseen, after) is what a course of training on L_k alone gains on rows it did not
    see, O_k = (L_k(unseen) - L_k(seen))(after) - (the same)(before) what it overfits by. The rows are the training
    rows, a share of them held out; validation and test rows have no part in it. A prediction that gains nothing has
    weight 0; where none gains, all are alike. Then the model is trained from its start with the weights (`Blended`).
    Training counts the joint weight as at least `LEAST`, and a modality's loss over all training rows: a row that lacks
    it adds a constant, so that a modality that is often missing weighs less there than in its estimate.

    Args:
        steps: >= 1, of a course, full batches; there are M + 1 courses. A long one measures little but overfitting.
        held_out: in (0, 1), share of the training rows that a course does not see.
        learning_rate: of Adam, in the courses.
        overfit: > 0, smallest |O_k| that is told from none.
    Raises:
        ValueError: an option out of range; a target that is no classes of nodes; fewer than two training rows.
    """

    info = Info(
        "Wang et al., What Makes Training Multi-modal Classification Networks Hard?",
        2020,
        cost="M + 1 more courses of training, and a head a modality",
    )

    def __init__(
        self,
        *,
        steps: int = 30,
        held_out: float = 0.2,
        learning_rate: float = 1e-2,
        overfit: float = 1e-2,
    ):
        inside = steps >= 1 and 0 < held_out < 1 and learning_rate > 0 and overfit > 0
        if not inside:
            raise ValueError(
                f"scheme 'gradient_blend': steps={steps}, held_out={held_out}, learning_rate={learning_rate}, "
                f"overfit={overfit}; expected at least one step, a share in (0, 1), and two numbers above 0"
            )
        self.steps, self.held_out, self.learning_rate, self.overfit = steps, held_out, learning_rate, overfit

    def build(self, make: Make, feature_dims: Mapping[str, int], target: Target, key: Array) -> Blended:
        if target.words != "classes of nodes":
            raise ValueError(f"scheme 'gradient_blend' weighs cross-entropies of nodes, got {target.words}")
        first, second = jax.random.split(key)
        model = make(feature_dims, first)
        return Blended(model, len(feature_dims), model.encoded, target.num_outputs, rngs=nnx.Rngs(second))

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        def begin(model, batch, target, weight, loss, key):
            del loss
            model.weights[...] = self.estimated(model, batch, target, weight, key)

        return (Stage(epochs, transform=self.transform, begin=begin),)

    def estimated(self, model: Blended, batch: Batch, target: Target, weight: Array, key: Array) -> Array:
        """The weights [M + 1], after M + 1 courses from the model as it is."""
        shuffle, learn = jax.random.split(key)
        train = jnp.flatnonzero(weight > 0)
        if len(train) < 2:
            raise ValueError(f"scheme 'gradient_blend' holds out training rows, of which there are {len(train)}")
        held = jax.random.permutation(shuffle, train)[: min(max(round(self.held_out * len(train)), 1), len(train) - 1)]
        unseen = jnp.zeros_like(weight).at[held].set(weight[held])
        graphdef, params, rest = nnx.split(model, nnx.Param, ...)
        courses = all_courses(
            params,
            rest,
            batch,
            target,
            weight - unseen,
            unseen,
            learn,
            graphdef=graphdef,
            steps=self.steps,
            learning_rate=self.learning_rate,
        )
        return blend(courses, self.overfit)


def cross_entropies(model: Blended, batch: Batch, target: Target, weight: Array, context: Context) -> Array:
    """[M + 1]: that of every modality's own prediction, over the rows that have it, and of the joint one."""
    output = model(batch, context=context)
    own = output.heads[-len(model.heads) :]
    each = [
        cross_entropy(
            dataclasses.replace(output, prediction=head.values),
            target,
            jnp.where(output.mask[:, m], weight, 0),
            context=context,
        )
        for m, head in enumerate(own)
    ]
    return jnp.stack([*each, cross_entropy(output, target, weight, context=context)])


@functools.partial(jax.jit, static_argnames=("graphdef", "steps", "learning_rate"))
def all_courses(params, rest, batch, target, seen, unseen, key, **how) -> Course:
    """`run_course` of every prediction, one after another, from the same parameters; each says its own numbers [K]."""
    count = len(nnx.merge(how["graphdef"], params, rest).heads) + 1

    def one(k: Array) -> Course:
        chosen = jax.nn.one_hot(k, count)
        course = run_course(chosen, params, rest, batch, target, seen, unseen, key, **how)
        return jax.tree.map(lambda values: values[k], course)

    return jax.lax.map(one, jnp.arange(count))


def run_course(
    chosen: Array,
    params: Any,
    rest: Any,
    batch: Batch,
    target: Target,
    seen: Array,
    unseen: Array,
    key: Array,
    *,
    graphdef: Any,
    steps: int,
    learning_rate: float,
) -> Course:
    """Trains on the chosen [M + 1] cross-entropy of the seen rows, and says all of them before and after."""
    tx = optax.adam(learning_rate)
    known = Context(target=tasks.of(target).hide_unseen(target, seen > 0), train=seen > 0)

    def loss(params, rest, key):
        model = nnx.merge(graphdef, params, rest, copy=True)
        value = (chosen * cross_entropies(model, batch, target, seen, dataclasses.replace(known, key=key))).sum()
        return value, nnx.split(model, nnx.Param, ...)[2]

    def step(carry, i):
        params, rest, state = carry
        (_, rest), grads = jax.value_and_grad(loss, has_aux=True)(params, rest, jax.random.fold_in(key, i))
        updates, state = tx.update(grads, state, params)
        return (optax.apply_updates(params, updates), rest, state), None

    def measured(params, rest):
        model = nnx.merge(graphdef, params, rest, copy=True)
        return [cross_entropies(model, batch, target, rows, known) for rows in (seen, unseen)]

    before = measured(params, rest)
    (params, rest, _), _ = jax.lax.scan(step, (params, rest, tx.init(params)), jnp.arange(steps))
    after = measured(params, rest)
    return Course(before[0], after[0], before[1], after[1])


def blend(course: Course, overfit: float) -> Array:
    """w [K] of the courses, see `GradientBlend`."""
    gain = jnp.maximum(course.unseen_before - course.unseen_after, 0)
    more = (course.unseen_after - course.seen_after) - (course.unseen_before - course.seen_before)
    ratio = gain / jnp.maximum(jnp.abs(more), overfit) ** 2
    total = ratio.sum()
    return jnp.where(total > 0, ratio / jnp.where(total > 0, total, 1), 1 / len(ratio))
