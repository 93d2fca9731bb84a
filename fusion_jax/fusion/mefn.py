"""Evidential late fusion: each modality's prediction is an opinion with an uncertainty, combined by Dempster's rule.

Reference: "MEFN: Multi-modal Evidential Fusion Network for Trustworthy PET/CT Tumor Segmentation", 2024
(arXiv 2406.18327). Its code is not public: this is a reimplementation from the abstract, of which the softplus
evidence and the Dempster combination have a ground in the sources. Stand-in for the numbers: trusted
multi-view classification, hanmenghan/TMC, commit 08d0ca4, `TMC ICLR/model.py`. Golden `mefn`.
`mefn_calibrated` is the paper's calibration of features; the loss is `evidential`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.nn.calibration import Calibration
from fusion_jax.nn.evidence import CAP, discounted_gain, evidence, from_gain, gain, opinion
from fusion_jax.nn.segment import at_senders, edge_dot, segment_sum
from fusion_jax.records import Array, Evidence, Fused, Info


class MEFN(Fusion):
    """out = log p, p_k = b_k + u / C of the Dempster combination of the present modalities' opinions.

    x [N, M, C] are the modalities' logits z_m; e_m = softplus(z_m), and opinions as in `nn.evidence`. A missing
    modality is the vacuous opinion (b = 0, u = 1), so that softmax(out) = p is uniform where all are missing.

    Args:
        cap: largest evidence for one class.
        calibrate: whether one more opinion joins, the evidence W f + b of the calibrated vector f (`Calibration`).
            The paper calibrates features; at this placement the modalities' vectors are the logits, so it is off
            unless asked for. `mefn_calibrated` does it to features.
        learned_calibrator: ours: whether the calibrator's shares are learned.
        neighbours: ours: whether the fused opinions of a node's senders join too, each discounted by its edge's
            reliability sigmoid(a + c p_i . p_j), a and c learned from -2 and 0.

    `evidence` holds the z_m, the modalities' uncertainties (1 where missing) and the combined evidence [N, C].
    `uncertainty` is that of the combination, C / sum_k alpha_k: p does not determine it, as alpha and c alpha have the
    same p.

    Raises:
        ValueError: `neighbours` without a graph, at the call; `learned_calibrator` without `calibrate`.
    """

    info = Info(
        "MEFN: Multi-modal Evidential Fusion Network for Trustworthy PET/CT Tumor Segmentation",
        2024,
        pinned="stand-in",
        golden="mefn",
        cost="O(N M C)",
    )
    placements = ("decision",)
    loss = "evidential"
    symmetries = ("nodes", "modalities")

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        cap: float = CAP,
        calibrate: bool = False,
        learned_calibrator: bool = False,
        neighbours: bool = False,
        rngs: nnx.Rngs,
    ):
        del modalities
        if learned_calibrator and not calibrate:
            raise ValueError("fusion 'mefn': learned_calibrator=True needs calibrate=True")
        self.calibration = Calibration(dim, learned=learned_calibrator, rngs=rngs) if calibrate else None
        self.head = nnx.Linear(dim, dim, rngs=rngs) if calibrate else None
        self.reliability = nnx.Param(jnp.asarray([-2.0, 0.0], jnp.float32)) if neighbours else None
        self.needs = ("graph",) if neighbours else ()
        self.cap = cap

    def nodes(self, x, mask, graph, context):
        _, uncertainty = opinion(evidence(x, self.cap))
        uncertainty = jnp.where(mask, uncertainty, 1)
        total = jnp.where(mask[..., None], gain(evidence(x, self.cap)), 0).sum(1)  # [N, C]
        if self.calibration is not None:
            f, _, _ = self.calibration(x, uncertainty, mask, key=context.key)
            joined = gain(evidence(self.head(f), self.cap))
            total = total + jnp.where(mask.any(1)[:, None], joined, 0)
        if self.reliability is not None:
            total = total + self._from_neighbours(total, graph)
        _, fused_uncertainty, fused_evidence, log_p = from_gain(total, self.cap)
        return Fused(log_p, uncertainty=fused_uncertainty, evidence=Evidence(x, uncertainty, fused_evidence))

    def _from_neighbours(self, own: Array, graph: Graph) -> Array:
        """Sum of the discounted gains of a node's senders, itself left out; own gains [N, C] -> [N, C]."""
        belief, uncertainty, _, log_p = from_gain(own, self.cap)
        p = jnp.exp(log_p)
        base, slope = self.reliability[...]
        agreement = edge_dot(p[:, None], p[:, None], graph)[:, 0]
        trust = jax.nn.sigmoid(base + slope * agreement)
        gains = discounted_gain(at_senders(belief, graph), at_senders(uncertainty[:, None], graph)[:, 0], trust)
        return segment_sum(jnp.where((graph.senders != graph.receivers)[:, None], gains, 0), graph)
