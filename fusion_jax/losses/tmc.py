"""The loss of trusted multi-view classification: that of `evidential` without the term that MEFN adds.

Reference: Han, Zhang, Fu, Zhou, "Trusted Multi-View Classification", ICLR 2021; code of the authors, hanmenghan/TMC at
08d0ca4 (`TMC ICLR/model.py`; no licence stated). Golden `tmc`.
"""

from __future__ import annotations

from fusion_jax.losses.base import check_task
from fusion_jax.losses.evidential import evidential
from fusion_jax.nn.evidence import CAP
from fusion_jax.records import Array, Context, Info, Output, Target

INFO = Info(
    "Han et al., Trusted Multi-View Classification",
    2021,
    pinned="authors' code",
    golden="tmc",
    cost="O(N M C)",
    tasks=("classes",),
    rowwise=True,
)


def tmc(
    output: Output,
    target: Target,
    weight: Array,
    *,
    context: Context,
    annealing: float = 50.0,
    cap: float = CAP,
) -> Array:
    """mean_w of the sum over the present modalities and the combined opinion of `evidential.risk`.

    Args:
        annealing: steps until the Kullback-Leibler term counts in full (`--lambda-epochs` of the code).
        cap: largest evidence for one class.
    Raises:
        ValueError: a task other than classification; a model without per-modality predictions (placement other than
            `decision`).
    """
    check_task("tmc", INFO, target)
    if output.streams is None and output.evidence is None:
        raise ValueError("loss 'tmc' needs one prediction a modality: placement 'decision'")
    return evidential(output, target, weight, context=context, annealing=annealing, upl=0.0, cap=cap)
