"""Features as a smooth band and sharpened detail bands of the modality's own graph, the input side of HFF-Net.

Reference: "Rethinking Brain Tumor Segmentation from the Frequency Domain Perspective", 2025 (HFF-Net); code
VinyehShaw/HFF at 7871d30; golden `hff-net`.
"""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx

from fusion_jax.encoders.base import Encoder
from fusion_jax.nn.learned_laplacian import PULL, LearnedLaplacian
from fusion_jax.nn.presence import reached_by_weight, zero_absent
from fusion_jax.nn.pyramid import laplacian, pyramid
from fusion_jax.records import EVALUATION, Info


class LaplacianPyramid(Encoder):
    """y = V [low_K; a_1; ...; a_K] + c, a_k = high_k - (L high_k) W, bands of z = U x + b (`nn.pyramid`).

    W [D, D] is all ones at the start, and the loss "laplacian" pulls it back there with pull * sum (W - 1)^2. The
    scheme `hff_net` resets what it has learned on the weights that matter. Nodes that lack the modality send nothing.

    Args:
        levels: K.
        pull: weight of the loss.
    Raises:
        ValueError: levels below 1, pull below 0.
    """

    info = Info(
        "Rethinking Brain Tumor Segmentation from the Frequency Domain Perspective (HFF-Net)",
        2025,
        pinned="authors' code",
        golden="hff-net",
        cost="O(K E D + K N D^2)",
        needs=("graph",),
    )

    def __init__(self, in_dim: int, dim: int, *, levels: int = 4, pull: float = PULL, rngs: nnx.Rngs):
        for name, value, least in (("levels", levels, 1), ("pull", pull, 0)):
            if value < least:
                raise ValueError(f"encoder 'laplacian_pyramid': {name}={value}; expected at least {least}")
        self.project = nnx.Linear(in_dim, dim, rngs=rngs)
        self.alc = LearnedLaplacian(dim)
        self.out = nnx.Linear((levels + 1) * dim, dim, rngs=rngs)
        self.levels, self.pull = levels, pull

    def __call__(self, x, graph=None, present=None, context=EVALUATION):
        del context
        z = self.project(zero_absent(x, present))
        low, high = pyramid(z, graph, self.levels, present)
        bands = jnp.stack(high, 1)  # [N, K, D]
        bands = self.alc(bands, -laplacian(bands, graph, present)[..., None, :])
        return self.out(jnp.concatenate([low, bands.reshape(len(x), -1)], -1))

    def reached(self, present, graph):
        return reached_by_weight(present, graph)

    def losses(self, x, present, context):
        del x, present, context
        return {"laplacian": self.pull * self.alc.distance()}
