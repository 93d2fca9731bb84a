"""MEFN's feature calibration: modalities attend to each other and are weighted by their own evidential certainty.

Reference: "MEFN: Multi-modal Evidential Fusion Network for Trustworthy PET/CT Tumor Segmentation", 2024
(arXiv 2406.18327). Code and formulas of this part are not public: a reimplementation from the abstract, whose
equations are ours. Golden `mefn/masked_fusion_independent`, computed independently from the same equations.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from fusion_jax.fusion.base import Fusion, check_heads
from fusion_jax.nn.calibration import Calibration
from fusion_jax.nn.evidence import CAP, evidence, opinion
from fusion_jax.nn.init import stack
from fusion_jax.records import Attention, Evidence, Fused, Info


class MEFNCalibrated(Fusion):
    """out = f = sum_m s_m f_m', tokens = f_m' (`Calibration`), with u_m of the opinion softplus(W_m x_m + b_m).

    Every modality has an evidence head of its own on its features, before anything is fused (an uncertainty taken
    afterwards would depend on itself). The model's head on out is the evidence head of the calibrated feature.
    Train with the loss `evidential`, the default: without it nothing teaches the heads what u means. Placed last
    before that head, this is the calibration without the Dempster fold of `mefn`, which stands at `decision`.

    Args:
        classes: K, the number of classes of the task; with another one the loss refuses.
        mutual: whether the modalities attend to each other first.
        learned_calibrator: ours: whether the shares are learned.
        heads: of the mutual attention, divides D.
        rate: dropout on its weights.
        cap: largest evidence for one class.

    `evidence` holds the logits [N, M, K] of the evidence heads and their uncertainties (1 where missing), attention
    "share" [N, M] the s_m.

    Raises:
        ValueError: heads do not divide D.
    """

    info = Info(
        "MEFN: Multi-modal Evidential Fusion Network for Trustworthy PET/CT Tumor Segmentation (calibration)",
        2024,
        pinned="independent",
        golden="mefn",
        cost="O(N M D (M + D))",
    )
    placements = ("before", "after")  # interleaved, all but the last would drop their shares and train no head
    loss = "evidential"

    def __init__(
        self,
        modalities: int,
        dim: int,
        *,
        classes: int = 2,
        mutual: bool = True,
        learned_calibrator: bool = False,
        heads: int = 1,
        rate: float = 0.0,
        cap: float = CAP,
        rngs: nnx.Rngs,
    ):
        check_heads("mefn_calibrated", dim, heads)
        self.head = stack(lambda rngs: nnx.Linear(dim, classes, rngs=rngs), modalities, rngs)
        self.calibration = Calibration(
            dim, mutual=mutual, learned=learned_calibrator, heads=heads, rate=rate, rngs=rngs
        )
        self.cap = cap

    def nodes(self, x, mask, graph, context):
        del graph
        logits = jax.vmap(lambda head, x: head(x), (0, 1), 1)(self.head, x)  # [N, M, K]
        _, uncertainty = opinion(evidence(logits, self.cap))
        uncertainty = jnp.where(mask, uncertainty, 1)
        out, tokens, share = self.calibration(x, uncertainty, mask, key=context.key)
        shares = Attention("share", share, ("node", "modality"), "node", "modality", valid=mask)
        return Fused(out, tokens, (shares,), evidence=Evidence(logits, uncertainty))
