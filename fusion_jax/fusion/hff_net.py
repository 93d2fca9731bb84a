"""A smooth and a detailed branch, each gated in its frequency bands, exchange what they see and predict together.

Reference: "Rethinking Brain Tumor Segmentation from the Frequency Domain Perspective", 2025 (HFF-Net); code
VinyehShaw/HFF at 7871d30; golden `hff-net`. Wavelets and spectra of images are bands of the graph's
Laplacian here.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.focal_frequency import focal_frequency
from fusion_jax.nn.frequency_attention import GATES, FrequencyAttention
from fusion_jax.nn.learned_laplacian import PULL, LearnedLaplacian
from fusion_jax.nn.pooling import at_nodes, pool_mean
from fusion_jax.nn.pyramid import laplacian, pyramid
from fusion_jax.nn.stencil import around
from fusion_jax.records import Array, Attention, Context, Fused, Head, Info

BRANCHES = ("low", "high")


def instance_norm(x: Array, mask: Array, graph: Graph, epsilon: float = 1e-5) -> Array:
    """x [N, D] with mean 0 and variance 1 over the nodes of a graph where `mask` is true."""
    centred = x - at_nodes(pool_mean(x, mask, graph), graph, len(x))
    variance = pool_mean(centred**2, mask, graph)
    return centred * jax.lax.rsqrt(at_nodes(variance, graph, len(x)) + epsilon)


def at_unit_scale(r: Array, mask: Array, graph: Graph, epsilon: float = 1e-6) -> Array:
    """r [N, M, B, D] over the root of its mean square among what is there in a graph."""
    square = (r**2).mean((2, 3)).sum(1, keepdims=True)  # masked modalities are 0
    parts = square, mask.sum(1, keepdims=True).astype(r.dtype)
    square, count = (pool_mean(part, mask.any(1), graph) for part in parts)
    mean = square[:, 0] / jnp.maximum(count[:, 0], 1)
    return r * jax.lax.rsqrt(at_nodes(mean, graph, len(r)) + epsilon)[:, None, None, None]


class HFFNet(Fusion):
    """out = (z_low + z_high) / 2, z_b = relu(norm(W_b [u_b; u_b'] + c_b)), b' the other branch.

        low, high_k  the Laplacian pyramid of x (`nn.pyramid`), K levels
        ALC          high_k <- high_k - (L high_k) W (`LearnedLaplacian`), W all ones at the start
        stems        s_low = relu(V low),  s_high = relu(V' [high_1; ...; high_K]), a modality for itself
        FDCA         F = the K + 1 bands of s_b;  s_b <- sum of the bands of F * G (`FrequencyAttention`)
        u_b          = U_b [s_b1; ...; s_bM], zeros for a missing modality
        norm         over the nodes of a graph

    A modality is filtered on the subgraph of the nodes that have it. Two heads on z_low and z_high are trained beside
    the model's own; their mean is the prediction of the cell with `model.head="fusion"`.

    Losses: "laplacian" = pull * sum (W - 1)^2; "focal" = focal (step + 1) / total * the focal frequency distance of the
    two heads' predictions (`nn.focal_frequency`), whose spectra are their K + 1 Laplacian bands. The reset of W,
    in the paper after 40 epochs, is the scheme `hff_net`.

    Attention "low gates" and "high gates" [N, K + 1, D, M] are the products of the three gates.

    Args:
        levels: K (4: as many as the paper has directions).
        reduction: of the hidden width in the gate over features.
        gate: "product", G = R * sigmoid(att(R)), which contains R as the code has it; or "sigmoid".
        normalise: whether R has mean square 1 in a graph; the code has not, its R^8 explodes or vanishes.
        clip: bound of |R| inside the product gate, > 0; None as in the code.
        uncertainty: whether the gate over modalities is drawn in training; evaluation has its mean.
        rank: of the covariance it is drawn with.
        pull, focal: weights of the losses.
    Raises:
        ValueError: another `gate`, levels, rank or reduction below 1, clip not above 0, a negative weight.
    """

    info = Info(
        "Rethinking Brain Tumor Segmentation from the Frequency Domain Perspective (HFF-Net)",
        2025,
        pinned="authors' code",
        golden="hff-net",
        cost="O(K E M D + K N M D^2)",
        needs=("graph", "outputs"),
    )
    placements = ("before", "after")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        outputs: int,
        levels: int = 4,
        reduction: int = 16,
        gate: str = "product",
        normalise: bool = True,
        clip: float | None = 1.0,
        uncertainty: bool = True,
        rank: int = 5,
        pull: float = PULL,
        focal: float = 15.0,
        rngs: nnx.Rngs,
    ):
        if gate not in GATES:
            raise ValueError(f"fusion 'hff_net': gate={gate!r}; expected one of {GATES}")
        if clip is not None and not clip > 0:
            raise ValueError(f"fusion 'hff_net': clip={clip}; expected a number above 0, or None for no bound")
        for name, value, least in (
            ("levels", levels, 1),
            ("reduction", reduction, 1),
            ("rank", rank, 1),
            ("pull", pull, 0),
            ("focal", focal, 0),
        ):
            if value < least:
                raise ValueError(f"fusion 'hff_net': {name}={value}; expected at least {least}")
        self.alc = LearnedLaplacian(dim)
        self.low_stem = nnx.Linear(dim, dim, rngs=rngs)
        self.high_stem = nnx.Linear(levels * dim, dim, rngs=rngs)
        gates = dict(reduction=reduction, gate=gate, clip=clip, uncertainty=uncertainty, rank=rank)
        self.fdca = nnx.List([FrequencyAttention(modalities, dim, **gates, rngs=rngs) for _ in BRANCHES])
        self.merge = nnx.List([nnx.Linear(modalities * dim, dim, rngs=rngs) for _ in BRANCHES])
        self.exchange = nnx.List([nnx.Linear(2 * dim, dim, rngs=rngs) for _ in BRANCHES])
        self.heads = nnx.List([nnx.Linear(dim, outputs, rngs=rngs) for _ in BRANCHES])
        self.levels, self.normalise, self.pull, self.focal = levels, normalise, pull, focal

    def stems(self, x: Array, mask: Array, graph: Graph) -> list[Array]:
        """s_low and s_high, [N, M, D] each, 0 where masked."""
        low, high = pyramid(x, graph, self.levels, mask)
        bands = jnp.stack(high, 2)  # [N, M, K, D]
        bands = self.alc(bands, -laplacian(bands, graph, mask)[..., None, :])
        stems = self.low_stem(low), self.high_stem(bands.reshape(*x.shape[:2], -1))
        return [jnp.where(mask[..., None], jax.nn.relu(s), 0) for s in stems]

    def attend(self, fdca, s: Array, mask: Array, graph: Graph, key: Array | None) -> tuple[Array, Array]:
        """The gated sum of the bands of s, [N, M, D], and the gates [N, M, B, D]."""
        low, high = pyramid(s, graph, self.levels, mask)
        r = jnp.stack([low, *high], 2)
        r = jnp.where(mask[:, :, None, None], r, 0)
        if self.normalise:
            r = at_unit_scale(r, mask, graph)
        gates = fdca(r, mask, graph, around(graph, mask.any(1)), key=key)
        gates = jnp.where(mask[:, :, None, None], gates, 0)
        return (r * gates).sum(2), gates

    def nodes(self, x, mask, graph, context):
        u, shown = [], []
        there = mask.any(1)
        parts = zip(BRANCHES, self.fdca, self.merge, self.stems(x, mask, graph), context.split(2), strict=True)
        for name, fdca, merge, s, own in parts:
            s, gates = self.attend(fdca, s, mask, graph, own.key)
            u.append(merge(s.reshape(len(x), -1)))
            valid, axes = mask[:, None, None], ("node", "band", "feature", "modality")
            gates = jnp.moveaxis(gates, 1, -1)
            shown.append(Attention(f"{name} gates", gates, axes, "node", "modality", valid=valid, normalised=False))
        pairs = (u, u[::-1])
        z = [t(jnp.concatenate(pair, -1)) for t, pair in zip(self.exchange, pairs, strict=True)]
        z = [jax.nn.relu(instance_norm(v, there, graph)) for v in z]
        said = [head(v) for head, v in zip(self.heads, z, strict=True)]
        return Fused(
            (z[0] + z[1]) / 2,
            attention=tuple(shown),
            losses=self.losses(said, there, graph, context),
            heads=tuple(Head(name, values) for name, values in zip(BRANCHES, said, strict=True)),
            prediction=(said[0] + said[1]) / 2,
        )

    def losses(self, said: list[Array], there: Array, graph: Graph, context: Context) -> dict[str, Array]:
        """The two named losses; outside of training the second has its last weight."""
        low, high = pyramid(said[0] - said[1], graph, self.levels, there)
        distance = focal_frequency(jnp.stack([low, *high], 1), there, graph)
        done = 1.0 if context.total is None else (context.step + 1).astype(distance.dtype) / context.total
        return {"laplacian": self.pull * self.alc.distance(), "focal": self.focal * done * distance}
