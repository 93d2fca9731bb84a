"""Learned Laplacians are put back, after a while, where they matter: the Fisher reset of HFF-Net.

Reference: "Rethinking Brain Tumor Segmentation from the Frequency Domain Perspective", 2025 (HFF-Net); code
VinyehShaw/HFF at 7871d30 (`train.py`).
"""

from __future__ import annotations

import jax
from flax import nnx

from fusion_jax.nn.learned_laplacian import LearnedLaplacian
from fusion_jax.records import Array, Batch, Info, Target
from fusion_jax.schemes.base import Scheme, Stage, TrainingLoss


class HFFNet(Scheme):
    """After `warmup` epochs, entries of W with a Fisher information above mean + 1 std return to the Laplacian.

    W are the weights of every `LearnedLaplacian` of the model (fusion `hff_net`, encoder `laplacian_pyramid`). The
    information is the squared gradient of the training loss, mean over batches in the paper, of which there is one
    here. They stay there and have no gradient; which they are is stored with the model's variables. Training goes on
    with the optimiser as it is.

    Args:
        warmup: epochs before the reset; training of no more epochs has none.
    Raises:
        ValueError: warmup below 0; a model without such weights.
    """

    info = Info(
        "Rethinking Brain Tumor Segmentation from the Frequency Domain Perspective (HFF-Net)",
        2025,
        golden="hff-net",
        cost="one gradient",
    )

    checked_with = {"model.fusion.name": "hff_net", "model.fusion.options": dict(levels=1)}

    def __init__(self, *, warmup: int = 40):
        if warmup < 0:
            raise ValueError(f"scheme 'hff_net': warmup={warmup}; expected at least 0")
        self.warmup = warmup

    def build(self, make, feature_dims, target, key):
        model = make(feature_dims, key)
        if not learned_laplacians(model):
            raise ValueError(
                "scheme 'hff_net' resets learned Laplacians, the model has none: "
                "use the fusion 'hff_net' or the encoder 'laplacian_pyramid'"
            )
        return model

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        if epochs <= self.warmup:
            return (Stage(epochs),)
        after = Stage(epochs - self.warmup, begin=reset, start="last", same_optimizer=self.warmup > 0)
        return (Stage(self.warmup, keep="last"), after) if self.warmup else (after,)


def learned_laplacians(model: nnx.Module) -> list[LearnedLaplacian]:
    """All of them, wherever they are in the model."""
    return [module for _, module in nnx.iter_modules(model) if isinstance(module, LearnedLaplacian)]


def reset(model: nnx.Module, batch: Batch, target: Target, weight: Array, loss: TrainingLoss, key: Array) -> None:
    """Holds what matters; see `HFFNet`."""
    del batch, target, weight
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    gradient = jax.grad(lambda params: loss(nnx.merge(graphdef, params, rest, copy=True), key))(params)
    of = nnx.merge(graphdef, gradient, rest, copy=True)
    for module, slope in zip(learned_laplacians(model), learned_laplacians(of), strict=True):
        module.hold(slope.kernel[...] ** 2)
