"""Trusted multi-view classification: each modality's prediction is an opinion, combined by Dempster's reduced rule.

Reference: Han, Zhang, Fu, Zhou, "Trusted Multi-View Classification", ICLR 2021; code of the authors, hanmenghan/TMC at
08d0ca4 (`TMC ICLR/model.py`; no licence stated). Golden `tmc`. The arithmetic is that of `mefn`, for which TMC stands
in; the loss is `tmc`.
"""

from flax import nnx

from fusion_jax.fusion.base import Fusion
from fusion_jax.fusion.mefn import MEFN
from fusion_jax.nn.evidence import CAP
from fusion_jax.records import Info


class TMC(Fusion):
    """out = log p of the combined opinion: `MEFN` with neither calibrator nor neighbours, with all that it returns.

    x [N, M, C] are the logits of the modalities. With all modalities there p, and so what is predicted, is the code's
    for evidence up to `cap`; a missing one is the vacuous opinion (ours: the code has none missing).

    Args:
        cap: largest evidence for one class, > 0.
    Raises:
        ValueError: a cap that is not above 0.
    """

    info = Info(
        "Han et al., Trusted Multi-View Classification",
        2021,
        pinned="authors' code",
        golden="tmc",
        cost="O(N M C)",
    )
    placements = ("decision",)
    loss = "tmc"
    symmetries = ("nodes", "modalities")

    def __init__(self, modalities: int, dim: int, *, cap: float = CAP, rngs: nnx.Rngs):
        if not cap > 0:
            raise ValueError(f"fusion 'tmc': cap={cap}; expected a number above 0")
        self.mefn = MEFN(modalities, dim, cap=cap, rngs=rngs)

    def nodes(self, x, mask, graph, context):
        return self.mefn.nodes(x, mask, graph, context)
