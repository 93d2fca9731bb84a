"""A node is described by its similarities to anchors, which a transformer over the nodes nearest to it refines.

Reference: Ouyang, Wu, Wang, Zhou and Li, "Contextual Similarity Aggregation with Self-attention for Visual
Re-ranking", NeurIPS 2021 (arXiv 2110.13430); code MCC-WH/CSA at cbc835c. Golden `csa-rerank`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.base import Fusion
from fusion_jax.fusion.csa_rerank.lists import Lists, affinity, candidates_and_anchors
from fusion_jax.fusion.csa_rerank.reranker import Reranker, contrastive, similarities, strengths
from fusion_jax.losses.base import weighted_mean
from fusion_jax.nn.init import masked_mean
from fusion_jax.nn.prototypes import unit
from fusion_jax.records import Array, Attention, Context, Fused, Info, Tokens

READOUTS = ("refined", "vote")


class CSARerank(Fusion):
    """S^(m)_ka = u_k^m . u_a^m, S = its mean over the modalities both have; z = transformer(W S + b); n = z / |z|.

    Of every node v its list k = v, K candidates, ..., and its anchors a = v, A - 1 training nodes, both of v's graph,
    with u^m = x^m / |x^m|. Only S is fused, whatever the modalities' widths: no vector of one meets one of another.

        "refined"  out = V [z_0; mean of the x_v^m] + c
        "vote"     out = V log p + c, prediction = log p (`model.head="fusion"`),
                   p_c = (sum_j e_j [y_j = c] + 1 / C) / (sum_j e_j + 1), e_j = exp(n_0 . n_j / 2),
                   over the training nodes j of the list but v itself

    Losses: "contrastive" = contrastive * the mean over training nodes v of -log(sum_j e_j [y_j = y_v] / sum_j e_j) over
    the training nodes of the list, v included; "reconstruction" = alpha * the mean over entries of
    |S / |S| - x' / |x'||, x' = W' z + b', at least 0.01.

    Ours: nodes that v receives from stand first among the candidates, before the nearest; anchors are training nodes
    and not the first of the candidates, so they join the list, where they are not in it; the mean over modalities; one
    vote for each class beside those of the list, spread evenly; that a node without training nodes in its list has
    equal logits. A node without any modality is in no list and has 0.

    Attention "similarity" holds n_0 . n_j of every entry of every list, "block 1" ... the weights [N, H, L, L] in a
    list of L = K + A entries. State "refined" [N, L, E] is z.

    Args:
        candidates: K (512 in training, 1024 in tests of the paper, of few queries; here every node is one).
        anchors: A, v among them (512 in the paper); fewer are padded with zeros.
        width: E (768 in the paper), D if None.
        heads: H, divides E (12 in the paper).
        blocks: of the transformer.
        ratio: of the hidden width of its MLPs to E.
        readout: "refined" or "vote".
        edges: whether who v receives from comes first among the candidates; False for the nearest alone, as published.
        joined: whether anchors join the list.
        frozen: whether S is given, as in the paper, whose features are: no gradient passes it to what made x.
        contrastive, alpha: weights of the losses (alpha of the scripts; 0.5 is the default of the code).
        rate: dropout on S, W S + b, attention weights and steps.
        path_rate: how often a list skips a step of the last block.
    Raises:
        ValueError: an unknown readout, a count below 1, heads that do not divide E, a negative weight; at the call,
            labels that are no classes where "vote" or the contrastive loss needs them.
    """

    info = Info(
        "Ouyang et al., Contextual Similarity Aggregation with Self-attention for Visual Re-ranking",
        2021,
        pinned="authors' code",
        golden="csa-rerank",
        cost="O(N^2 M D + E M D + N L (A M D + E^2 + L E))",
        needs=("graph", "labels", "outputs"),
    )
    placements = ("before", "after")
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        outputs: int,
        candidates: int = 16,
        anchors: int = 16,
        width: int | None = None,
        heads: int = 4,
        blocks: int = 2,
        ratio: float = 4.0,
        readout: str = "refined",
        edges: bool = True,
        joined: bool = True,
        frozen: bool = True,
        contrastive: float = 1.0,
        alpha: float = 0.2,
        rate: float = 0.1,
        path_rate: float = 0.1,
        rngs: nnx.Rngs,
    ):
        del modalities
        width = dim if width is None else width
        if readout not in READOUTS:
            raise ValueError(
                f"fusion 'csa_rerank': readout={readout!r}{zoo.nearest(readout, READOUTS)}; expected one of {READOUTS}"
            )
        for name, value, least in (
            ("candidates", candidates, 1),
            ("anchors", anchors, 1),
            ("width", width, 1),
            ("heads", heads, 1),
            ("blocks", blocks, 1),
            ("contrastive", contrastive, 0),
            ("alpha", alpha, 0),
        ):
            if value < least:
                raise ValueError(f"fusion 'csa_rerank': {name}={value}; expected at least {least}")
        if width % heads:
            raise ValueError(f"fusion 'csa_rerank': heads={heads} does not divide the width E={width}")
        if not ratio * width >= 1:
            raise ValueError(f"fusion 'csa_rerank': ratio={ratio}; expected a hidden width of at least 1 of E={width}")
        rates = dict(rate=rate, path_rate=path_rate)
        hidden = int(width * ratio)
        self.reranker = Reranker(anchors, width, heads=heads, hidden=hidden, blocks=blocks, **rates, rngs=rngs)
        self.out = nnx.Linear(outputs if readout == "vote" else width + dim, dim, rngs=rngs)
        self.candidates, self.anchors, self.outputs, self.readout = candidates, anchors, outputs, readout
        self.edges, self.joined, self.frozen = edges, joined, frozen
        self.contrastive, self.alpha = contrastive, alpha

    def lists(self, u: Array, mask: Array, train: Array, graph) -> tuple[Lists, Lists]:
        """The lists and the anchors of all nodes; u [N, M, D] unit vectors, mask [N, M], train [N]."""
        u = jax.lax.stop_gradient(u)
        items, anchors = candidates_and_anchors(u, mask, train, graph, self.candidates, self.anchors, self.edges)
        return items.joined(Lists(anchors.rows[:, 1:], anchors.valid[:, 1:])) if self.joined else items, anchors

    def nodes(self, x, mask, graph, context):
        wide = x.astype(jnp.float64 if x.dtype == jnp.float64 else jnp.float32)  # ranks of halves would be ties
        if graph.present is not None:
            mask = mask & graph.present[:, None]
        train, known = self._known(mask.any(1), context)
        u = unit(wide)
        items, anchors = self.lists(u, mask, train, graph)
        s = affinity(jax.lax.stop_gradient(u) if self.frozen else u, mask, items, anchors)
        z, shown = self.reranker(s, items.valid, key=context.key)
        similarity = jnp.where(items.valid, similarities(z), 0)
        counted, labels = items.gather(train), items.gather(known)
        losses = self.losses(s, z, similarity, items.valid, labels == known[:, None], counted)
        prediction = None
        if self.readout == "vote":
            prediction = self.vote(similarity, labels, counted)
            out = self.out(prediction)
        else:
            out = self.out(jnp.concatenate([z[:, 0], masked_mean(wide, mask)], -1))
        return Fused(
            jnp.where(mask.any(1)[:, None], out, 0).astype(x.dtype),
            attention=_attention(items, similarity, shown),
            losses=losses,
            states=(Tokens("refined", z, items.valid, "candidate"),),
            prediction=prediction,
        )

    def _known(self, there: Array, context: Context) -> tuple[Array, Array]:
        """bool [N], the training nodes; and int [N], their classes, -1 elsewhere. Rows that stand for no row of the
        target, as one behind all may, are none."""
        target = context.target
        if target.kind != "classes" and (self.contrastive or self.readout == "vote"):
            raise ValueError(
                f"fusion 'csa_rerank': contrastive={self.contrastive} and readout={self.readout!r} compare classes, "
                f"the target is {target.words}: set contrastive=0 and readout='refined'"
            )
        room = (0, len(there) - len(context.train))
        train = jnp.pad(context.train, room) & there
        if target.kind != "classes":
            return train, jnp.full(len(there), -1, jnp.int32)
        return train, jnp.where(train, jnp.pad(context.labels.astype(jnp.int32), room), -1)

    def losses(self, s: Array, z: Array, similarity: Array, valid: Array, same: Array, counted: Array) -> dict:
        """The two, of lists: S [N, L, A], z [N, L, E], all else [N, L] (see `reranker.contrastive`)."""
        found = {}
        if self.contrastive:
            each = contrastive(similarity, same, counted)
            found["contrastive"] = self.contrastive * weighted_mean(each, counted[:, 0].astype(each.dtype))
        if self.alpha:
            each = self.reranker.reconstruction(s, z)
            found["reconstruction"] = self.alpha * weighted_mean(each, valid.astype(each.dtype))
        return found

    def vote(self, similarity: Array, labels: Array, counted: Array) -> Array:
        """log p [N, C], of what the list says; its first entry has no vote."""
        e = jnp.where(counted, strengths(similarity), 0)[:, 1:]
        member = labels[:, 1:, None] == jnp.arange(self.outputs, dtype=labels.dtype)
        votes = jnp.where(member, e[..., None], 0).sum(1)
        return jnp.log((votes + 1 / self.outputs) / (e.sum(1, keepdims=True) + 1))


def _attention(items: Lists, similarity: Array, shown: list[Array]) -> tuple[Attention, ...]:
    length = items.rows.shape[1]
    itself = jnp.repeat(items.rows[:, 0], length)
    ends = dict(senders=items.rows.reshape(-1), receivers=itself, valid=items.valid.reshape(-1), normalised=False)
    axes, valid = ("node", "head", "candidate", "candidate"), items.valid[:, None, None]
    return (
        Attention("similarity", similarity.reshape(-1), ("edge",), "node", "node", **ends),
        *(Attention(f"block {i + 1}", w, axes, "candidate", "candidate", valid=valid) for i, w in enumerate(shown)),
    )
