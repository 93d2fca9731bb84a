"""On-the-fly gradient modulation: the modality that is ahead learns more slowly, so that the others catch up.

Reference: Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022; code
GeWu-Lab/OGM-GE_CVPR2022 at 343dc1d (`main.py`). Golden `ogm-ge`.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import tasks
from fusion_jax.losses.base import weighted_mean
from fusion_jax.records import Array, Batch, Context, Info, Target
from fusion_jax.schemes.base import Scheme, Stage

TINY = 1e-8


class OGMGE(Scheme):
    """g_m <- k_m g_m + N(0, std(g_m)^2), k_m = 1 - tanh(alpha rho_m) where rho_m > 1, else 1.

    g_m are the gradients of the matrices of modality m: its encoder's and its own graph layers'. (Biases and scales are
    left alone, as the reference does.) rho_m = s_m / mean of the others' s, with s_m the mean probability of the true
    class over the training rows that have m, when the model sees m alone. The reference, whose fusion is linear, reads
    s_m from the columns of the head that belong to m and half its bias; seen alone is the same but for the other half,
    and exists for every fusion. With two modalities rho is the paper's; for more the mean of the others is ours.

    Where a modality has no parameters of its own (encoder `identity`, placement `before`), nothing changes.

    Args:
        alpha: > 0, how strongly who is ahead is slowed down; the paper takes 0.1 to 1.
        noise: whether the Gaussian noise of generalisation enhancement is added (OGM-GE), or not (OGM).
        until: in (0, 1], share of the epochs with modulation; the reference ends it at epoch 50 of 100.
    Raises:
        ValueError: an option out of range; a target that is no classes.
    """

    info = Info(
        "Peng et al., Balanced Multimodal Learning via On-the-fly Gradient Modulation",
        2022,
        pinned="authors' code",
        golden="ogm-ge",
        cost="M forward passes a step beside the training step",
    )

    def __init__(self, *, alpha: float = 0.5, noise: bool = True, until: float = 0.5):
        if not alpha > 0 or not 0 < until <= 1:
            raise ValueError(f"scheme 'ogm_ge': alpha={alpha}, until={until}; expected alpha > 0 and until in (0, 1]")
        self.alpha, self.noise, self.until = alpha, noise, until

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        last = round(self.until * epochs)

        def gradients(model, grads, batch, target, weight, epoch, key):
            changed = modulated(
                grads, coefficients(alone_scores(model, batch, target, weight), self.alpha), key if self.noise else None
            )
            return jax.tree.map(lambda a, b: jnp.where(epoch < last, a, b), changed, grads)

        return (Stage(epochs, transform=self.transform, gradients=gradients),)


def alone_scores(model: nnx.Module, batch: Batch, target: Target, weight: Array) -> Array:
    """s [M]: the mean probability of the true class over the training rows, of the model that sees one modality."""
    if target.kind != "classes":
        raise ValueError(f"scheme 'ogm_ge' compares probabilities of classes, got {target.words}")
    known = Context(target=tasks.of(target).hide_unseen(target, weight > 0), train=weight > 0)
    scores = []
    for m, name in enumerate(batch.names):
        only = jnp.arange(len(batch.names)) == m
        features = {k: x if k == name else jnp.zeros_like(x) for k, x in batch.features.items()}
        alone = dataclasses.replace(batch, features=features, mask=batch.mask & only)
        p = jax.nn.softmax(model(alone, context=known).prediction)
        own = jnp.take_along_axis(p, target.labels[:, None].astype(jnp.int32), axis=1)[:, 0]
        has = batch.mask[:, m] if target.level == "node" else jnp.ones(len(own), bool)
        scores.append(weighted_mean(own, jnp.where(has[: len(own)], weight, 0)))
    return jnp.stack(scores)


def coefficients(scores: Array, alpha: float) -> Array:
    """k [M] of scores s [M] >= 0."""
    count = len(scores)
    others = (scores.sum() - scores) / max(count - 1, 1)
    ratio = scores / jnp.maximum(others, TINY)
    return jnp.where((ratio > 1) & (count > 1), 1 - jnp.tanh(alpha * ratio), 1)


def modulated(grads: Any, factors: Array, key: Array | None) -> Any:
    """The gradients with those of the modalities' own matrices times their factor [M], and noise if there is a key."""
    paths, structure = jax.tree_util.tree_flatten_with_path(grads)
    keys = [None] * len(paths) if key is None else list(jax.random.split(key, len(paths)))
    changed = [
        _leaf(jax.tree_util.keystr(path, simple=True, separator="."), g, factors, k)
        for (path, g), k in zip(paths, keys, strict=True)
    ]
    return jax.tree.unflatten(structure, changed)


def _leaf(name: str, g: Array, factors: Array, key: Array | None) -> Array:
    part, _, rest = name.partition(".")
    if part == "encoders" and g.ndim > 1:
        return _one(g, factors[int(rest.partition(".")[0])], key)
    if part == "streams" and g.ndim > 2:  # the streams of all modalities, one behind another
        keys = None if key is None else jax.random.split(key, len(g))
        return jax.vmap(_one, (0, 0, None if keys is None else 0))(g, factors, keys)
    return g


def _one(g: Array, factor: Array, key: Array | None) -> Array:
    scaled = g * factor.astype(g.dtype)
    if key is None:
        return scaled
    spread = g.std(ddof=1) if g.size > 1 else jnp.zeros((), g.dtype)  # one number has none, and 0 / 0 is NaN
    return scaled + (spread + TINY) * jax.random.normal(key, g.shape, g.dtype)
