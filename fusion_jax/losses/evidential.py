"""Evidential classification: expected cross-entropy under a Dirichlet, pulled to no evidence for wrong classes.

Reference: trusted multi-view classification, hanmenghan/TMC, commit 08d0ca4, `TMC ICLR/model.py`, the stand-in
for MEFN's loss; the uncertainty perceptual term (UPL) is our reading of MEFN's abstract (arXiv 2406.18327, 2024).
Golden `mefn`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma, gammaln

from fusion_jax.losses.base import check_task, epoch_of, weighted_mean
from fusion_jax.nn.evidence import CAP, evidence
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info(
    "MEFN (2024), with the loss of Trusted Multi-View Classification",
    2024,
    pinned="stand-in",
    golden="mefn",
    cost="O(N M C)",
    tasks=("classes",),
    rowwise=True,
)


def evidential(
    output: Output,
    target: Target,
    weight: Array,
    *,
    context: Context,
    annealing: float = 50.0,
    upl: float = 1.0,
    cap: float = CAP,
) -> Array:
    """mean_w of sum over the present modalities and the fused opinion of `risk`, + upl * mean_w of `perceptual`.

    The modalities' opinions are softplus of `output.streams` (placement `decision`), or of `output.evidence.streams`.
    The fused one is `output.evidence.fused` (fusion `mefn`, whose prediction is log p); where the fusion gives none,
    softplus of the prediction.

    Args:
        annealing: steps until the Kullback-Leibler term counts in full, lambda = min(1, step / annealing).
        upl: weight of the uncertainty perceptual term.
        cap: largest evidence for one class.
    Raises:
        ValueError: a task other than classification; a model without per-modality predictions, or with another
            number of classes in them.
    """
    check_task("evidential", INFO, target)
    logits = _views(output)
    y = jax.nn.one_hot(target.labels, logits.shape[-1], dtype=logits.dtype)
    annealed = jnp.minimum(jnp.asarray(epoch_of(context)).astype(logits.dtype) / annealing, 1)
    views = risk(evidence(logits, cap) + 1, y[:, None], annealed)  # [N, M]
    alpha, uncertainty, log_p = _fused(output, cap)
    total = jnp.where(output.present, views, 0).sum(1) + risk(alpha, y, annealed)
    return weighted_mean(total + upl * perceptual(log_p, uncertainty, target.labels), weight)


def risk(alpha: Array, y: Array, annealed: Array) -> Array:
    """sum_k y_k (digamma(S) - digamma(alpha_k)) + lambda KL(Dir(y + (1 - y) alpha) || Dir(1)), [...]."""
    expected = (y * (digamma(alpha.sum(-1, keepdims=True)) - digamma(alpha))).sum(-1)
    return expected + annealed * kl_to_uniform(y + (1 - y) * alpha)


def kl_to_uniform(alpha: Array) -> Array:
    """KL(Dir(alpha) || Dir(1, ..., 1)) of alpha [..., K], >= 0."""
    total = alpha.sum(-1, keepdims=True)
    constant = gammaln(total[..., 0]) - gammaln(alpha).sum(-1) - gammaln(jnp.asarray(alpha.shape[-1], alpha.dtype))
    return constant + ((alpha - 1) * (digamma(alpha) - digamma(total))).sum(-1)


def perceptual(log_p: Array, uncertainty: Array, labels: Array) -> Array:
    """(1 + u) (-log p_y), [N]; u has no gradient, which would lower it without any evidence."""
    surprise = -jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]
    return (1 + jax.lax.stop_gradient(uncertainty)) * surprise


def _views(output: Output) -> Array:
    """The logits [N, M, C] of the single modalities."""
    if output.streams is None and output.evidence is None:
        raise ValueError(
            "loss 'evidential' needs one prediction a modality: placement 'decision', or fusion 'mefn_calibrated'"
        )
    logits = output.evidence.streams if output.streams is None else output.streams
    expected = (*output.mask.shape, output.prediction.shape[-1])
    if logits.shape != expected:
        raise ValueError(
            f"loss 'evidential': the modalities' logits have shape {logits.shape}, expected {expected} "
            f"(fusion 'mefn_calibrated' has the option `classes`)"
        )
    return logits


def _fused(output: Output, cap: float) -> tuple[Array, Array, Array]:
    """alpha [N, C], uncertainty [N] and log expected probability [N, C] of the model's prediction."""
    if output.evidence is not None and output.evidence.fused is not None:
        return output.evidence.fused + 1, output.uncertainty, jax.nn.log_softmax(output.prediction)
    alpha = evidence(output.prediction, cap) + 1
    total = alpha.sum(-1, keepdims=True)
    return alpha, alpha.shape[-1] / total[:, 0], jnp.log(alpha) - jnp.log(total)
