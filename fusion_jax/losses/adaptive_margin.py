"""Triplets of embeddings with a margin that adapts, and their variance and covariance.

Reference: Chudasama et al., "M2FNet", 2022, eq. 9-13 (the loss of its feature extractors); numbers from the
re-implementation iosonopersia/Multimodal-Emotion-Recognition at a279b917, golden `m2fnet/embedding_loss`.
"""

import jax
import jax.numpy as jnp

from fusion_jax.losses.base import epoch_of, weighted_mean
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info(
    "Chudasama et al., M2FNet: Multi-modal Fusion Network for Emotion Recognition in Conversation",
    2022,
    pinned="stand-in",
    golden="m2fnet",
    cost="O(N M D^2 + N M log N)",
    tasks=("classes",),
)
EPSILON = 1e-6  # in both denominators of the margin and under the root of the variance, as in the code


def adaptive_margin(
    output: Output,
    target: Target,
    weight: Array,
    *,
    context: Context,
    margin_grad: str = "literal",
    hinge: bool = True,
) -> Array:
    """Mean over modalities of `embedding_loss`, of their encodings scaled to unit length.

    Nothing here trains the prediction. The paper trains its extractors with this loss alone and the classifier
    afterwards; beside a cross-entropy the value, near 480 on the unit sphere, wants a factor about 0.01. Triplets
    are those of `triplets` among the nodes with weight > 0 that have the modality; which ones turns with the epoch.

    Args:
        margin_grad: "literal" differentiates through the margin, "stop" does not. Literal has the wrong sign
            where it matters: positives are pushed away below distance 0.52, negatives pulled in beyond 0.31.
            With "stop" the gradient is that of a triplet loss without margin. Say in tables which was used.
        hinge: variance as max(0, 1 - s) (the code) or 1 - s (eq. 12 as printed).
    Raises:
        ValueError: an unknown margin_grad, a target without classes, or labels that belong to graphs.
    """
    if target.words != "classes of nodes":
        raise ValueError(f"loss 'adaptive_margin' forms triplets from classes of nodes, got {target.words}")
    z = jnp.where(output.mask[..., None], output.embeddings, 0)
    z = z * jax.lax.rsqrt(jnp.maximum((z**2).sum(-1, keepdims=True), 1e-12))

    def one(z, present):  # [N, D], [N]
        valid = present & (weight > 0)
        positive, negative, found = triplets(target.labels, valid, target.num_outputs, epoch_of(context))
        loss = embedding_loss(z, z[positive], z[negative], found, margin_grad=margin_grad, hinge=hinge)
        return jnp.where(found.any(), loss, 0), found.any()

    losses, any_found = jax.vmap(one, in_axes=1)(z, output.mask)
    return weighted_mean(losses, any_found.astype(losses.dtype))


def triplets(labels: Array, valid: Array, classes: int, step=0) -> tuple[Array, Array, Array]:
    """For every anchor one positive (its class, another node) and one negative (another class), all valid.

    Deterministic in the order of the nodes: the nodes stand in a circle sorted by class; the positive is the
    1 + step-th after the anchor within its class, the negative the rank + step-th behind its class.

    Returns:
        positive, negative: int [N]; found: bool [N], false where the anchor is not valid or one is missing.
    """
    y = jnp.where(valid, labels, classes).astype(jnp.int32)  # nodes that do not count stand last
    order = jnp.argsort(y, stable=True).astype(jnp.int32)
    place = jnp.argsort(order).astype(jnp.int32)
    counts = (y[:, None] == jnp.arange(classes + 1, dtype=jnp.int32)).sum(0, dtype=jnp.int32)
    total, own = counts[:classes].sum(dtype=jnp.int32), counts[y]
    start = (jnp.cumsum(counts, dtype=jnp.int32) - counts)[y]
    rank, step = place - start, jnp.asarray(step, jnp.int32)
    others = total - own
    positive = start + (rank + 1 + step % jnp.maximum(own - 1, 1)) % jnp.maximum(own, 1)
    negative = (start + own + (rank + step) % jnp.maximum(others, 1)) % jnp.maximum(total, 1)
    return order[positive], order[negative], valid & (own > 1) & (others > 0)


def embedding_loss(
    anchor: Array,  # [B, D]
    positive: Array,
    negative: Array,
    valid: Array | None = None,  # bool [B]; all if None
    *,
    margin_grad: str = "literal",
    hinge: bool = True,
) -> Array:
    """20 L_AMT + 5 L_Cov + 1 L_Var over the valid triplets, the last two summed over the three embeddings."""
    three = (anchor, positive, negative)
    triplet = triplet_term(*three, valid, margin_grad=margin_grad)
    covariance = sum(covariance_term(z, valid) for z in three)
    return 20 * triplet + 5 * covariance + sum(variance_term(z, valid, hinge=hinge) for z in three)


def triplet_term(anchor, positive, negative, valid=None, *, margin_grad: str = "literal") -> Array:
    """L_AMT = mean(d_ap - (d_an + d_pn) / 2 + margin), not hinged (eq. 9)."""
    if margin_grad not in ("literal", "stop"):
        raise ValueError(f"loss 'adaptive_margin': margin_grad={margin_grad!r}, expected 'literal' or 'stop'")
    d_ap, d_an, d_pn = distance(anchor, positive), distance(anchor, negative), distance(positive, negative)
    m = margin(d_ap, d_an)
    m = jax.lax.stop_gradient(m) if margin_grad == "stop" else m
    return weighted_mean(d_ap - (d_an + d_pn) / 2 + m, _weight(anchor, valid))


def distance(a: Array, b: Array) -> Array:
    """Euclidean, [B]; gradient 0 where the two coincide."""
    square = ((a - b) ** 2).sum(-1)
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def margin(d_ap: Array, d_an: Array) -> Array:
    """(1 + 2 / e^(4 d_ap)) + (1 + 2 / e^(4 - 4 d_an)), between 2 and a bound set by EPSILON."""
    near = jnp.exp(-4 * d_ap)  # 2 / (e^(4 d) + eps) written so that a large d does not overflow
    return 2 + 2 * near / (1 + EPSILON * near) + 2 / (jnp.exp(4 - 4 * d_an) + EPSILON)


def variance_term(z: Array, valid: Array | None = None, *, hinge: bool = True) -> Array:
    """mean_j max(0, 1 - sqrt(Var_j + eps)), Var with 1 / (B - 1); eq. 12 prints it without the max."""
    centred, n = _centred(z, valid)
    gap = 1 - jnp.sqrt((centred**2).sum(0) / n + EPSILON)
    return (jax.nn.relu(gap) if hinge else gap).mean()


def covariance_term(z: Array, valid: Array | None = None) -> Array:
    """(1 / D) sum_(i != j) Cov_ij^2; eq. 13 prints the entries without the square."""
    centred, n = _centred(z, valid)
    covariance = centred.T @ centred / n
    off = jnp.where(jnp.eye(z.shape[-1], dtype=bool), 0, covariance)
    return (off**2).sum() / z.shape[-1]


def _weight(z, valid):
    return jnp.ones(len(z), z.dtype) if valid is None else valid.astype(z.dtype)


def _centred(z, valid):
    """z less its mean over the valid rows, 0 in the others, and their number less one."""
    weight = _weight(z, valid)
    count = weight.sum()
    mean = weight @ z / jnp.maximum(count, 1)
    return jnp.where(weight[:, None] > 0, z - mean, 0), jnp.maximum(count - 1, 1)
