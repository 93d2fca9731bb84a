"""Masked feature regression: the fused tokens of masked nodes tell what their modality was encoded as.

Reference: Xue et al., "Probing Inter-modality", NeurIPS 2021 (see `encoders.probing_inter_modality`, which masks).
Golden `probing-inter-modality`, computed independently from the equation.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from fusion_jax.losses.base import weighted_mean
from fusion_jax.nn.masked_groups import AXIS, PAPER
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info(PAPER, 2021, golden="probing-inter-modality", cost="O(N M D)")


def probing_inter_modality(output: Output, target: Target, weight: Array, *, context: Context) -> Array:
    """Mean over masked (node, modality) of |token - what the encoder made of it, without gradient|^2.

    Tokens [N, M, D] are those of the last fusion that has some; nodes count with their weight. Nothing here trains the
    prediction: add it to the loss of the task, `loss.extra={"probing_inter_modality": 0.1}`. It is 0 where nothing is
    masked, as in evaluation. Ours: the factor 0.1, and that the token itself is compared, without a head of its own.

    Raises:
        ValueError: no states of masked features, no tokens, or tokens of another width; a target whose rows are not
            nodes.
    """
    del context
    if target.level != "node":
        raise ValueError(f"loss 'probing_inter_modality' is of nodes, the target is {target.words}")
    states = [state for state in output.states if state.axis == AXIS]
    if not states:
        raise ValueError(
            "loss 'probing_inter_modality' reads masked features, which the model has none of: encoder "
            "'probing_inter_modality' makes them"
        )
    features, masked = (jnp.concatenate([getattr(s, name) for s in states], 1) for name in ("values", "mask"))
    tokens = next((t for t in reversed(output.tokens) if t is not None), None)
    if tokens is None or tokens.shape != features.shape:
        found = "none" if tokens is None else f"tokens of shape {tokens.shape}"
        raise ValueError(
            f"loss 'probing_inter_modality' compares the tokens of a fusion with features {features.shape}; the model "
            f"has {found}: take a fusion with tokens, placed before, after or interleaved"
        )
    return regression(tokens, features, jnp.where(masked, weight[:, None], 0))


def regression(tokens: Array, features: Array, weight: Array) -> Array:
    """The mean of |token - feature|^2 [..., D] over what has a weight [...]; gradients to the tokens alone."""
    counted = (weight > 0)[..., None]
    gap = jnp.where(counted, tokens, 0) - jnp.where(counted, jax.lax.stop_gradient(features), 0)
    return weighted_mean((gap**2).sum(-1), weight.astype(gap.dtype))
