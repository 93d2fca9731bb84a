"""Triplets in every embedding space of a node: under a condition, its class is more similar than another one.

Reference: the loss of Song et al., "Conditional Cross Attention Network", ICCV 2023, as far as it is known: triplets of
one condition, positives of the same value. Similarity and margin are those of Maryeon/asen at 7ec885b.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax import tasks
from fusion_jax.losses.adaptive_margin import triplets
from fusion_jax.losses.base import check_task, epoch_of, weighted_mean
from fusion_jax.records import Array, Context, Info, Output, Target, Tokens

INFO = Info(
    "Song et al., Conditional Cross Attention Network for Multi-Space Embedding without Entanglement in Only a SINGLE "
    "Network",
    2023,
    cost="O(K (N D + N log N))",
    tasks=("classes", "several"),
)
AXIS = "condition"


def conditional_triplet(
    output: Output, target: Target, weight: Array, *, context: Context, margin: float = 0.2
) -> Array:
    """Mean over the conditions k of that over the anchors of max(0, s(e_k, n_k) - s(e_k, p_k) + margin), s the cosine.

    e [N, K, D] is the last of `output.states` whose axis is "condition" (fusion `conditional_cross_attention`). Where
    each of several targets is a condition, those of classes count, each by its own; else the classes are those of the
    one target, and nodes count in a condition whose modality they have. Anchors, positives and negatives are nodes with
    weight > 0, one triplet an anchor, which turns with the epoch (`adaptive_margin.triplets`).

    Nothing here trains the prediction: add it to the loss of the task, `loss.extra={"conditional_triplet": 1.0}`.

    Raises:
        ValueError: no such states; a target without classes; labels that belong to graphs; several targets that are
            not the conditions.
    """
    check_task("conditional_triplet", INFO, target)
    states = _states(output)
    asked = _asked(states, target)
    found = [
        _one(states.values[:, k], states.mask[:, k] & (weight > 0), part, epoch_of(context), margin)
        for k, part in asked
    ]
    values, any_found = (jnp.stack(part) for part in zip(*found, strict=True))
    return weighted_mean(values, any_found.astype(values.dtype))


def _states(output: Output) -> Tokens:
    found = [states for states in output.states if states.axis == AXIS]
    if not found:
        raise ValueError(
            "loss 'conditional_triplet' reads embeddings under conditions, which the model has none of: "
            "fusion 'conditional_cross_attention' makes them"
        )
    return found[-1]


def _asked(states: Tokens, target: Target) -> list[tuple[int, Target]]:
    """The conditions that count, each with the target that says its classes."""
    count, of_targets = states.values.shape[1], states.name.endswith("targets")
    if target.kind == "several":
        parts = [part for _, part, _ in tasks.of(target).parts(target)]
        if not of_targets or len(parts) != count:
            raise ValueError(
                f"loss 'conditional_triplet': {count} conditions ({states.name!r}), {len(parts)} targets; expected "
                f"each target to be a condition"
            )
        asked = list(enumerate(parts))
    else:
        asked = [(k, target) for k in range(count)]
    asked = [(k, part) for k, part in asked if part.kind == "classes"]
    if not asked or target.level != "node":
        raise ValueError(f"loss 'conditional_triplet' forms triplets from classes of nodes, got {target.words}")
    return asked


def _one(e: Array, valid: Array, target: Target, step: Array | int, margin: float) -> tuple[Array, Array]:
    """Of one condition, e [N, D]: the mean over its anchors, and whether there is any."""
    positive, negative, found = triplets(target.labels, valid, target.num_outputs, step)
    e = unit(e)
    gap = (e * e[negative]).sum(-1) - (e * e[positive]).sum(-1) + margin
    return weighted_mean(jax.nn.relu(gap), found.astype(e.dtype)), found.any()


def unit(e: Array) -> Array:
    """e / |e| along the last axis, by which embeddings are compared; 0 of a vector without length."""
    return e * jax.lax.rsqrt(jnp.maximum((e**2).sum(-1, keepdims=True), 1e-24))
