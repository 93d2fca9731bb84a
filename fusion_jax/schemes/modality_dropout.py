"""Hides random modalities of random nodes in training, always keeping one.

Reference: Neverova et al., "ModDrop: Adaptive Multi-Modal Gesture Recognition", TPAMI 2016 (the guarantee of
one kept modality is ours: the paper drops independently).
"""

import jax
import jax.numpy as jnp

from fusion_jax.nn.numbered import for_rows
from fusion_jax.records import Array, Batch, Info
from fusion_jax.schemes.base import Scheme


class ModalityDropout(Scheme):
    """Each present modality is dropped with probability `rate`; a node that would lose all keeps one at random.

    Args:
        rate: in [0, 1).
    """

    info = Info("Neverova et al., ModDrop: Adaptive Multi-Modal Gesture Recognition", 2016, cost="O(N M)")
    parted = True

    def __init__(self, *, rate: float = 0.2):
        if not 0 <= rate < 1:
            raise ValueError(f"scheme 'modality_dropout': rate={rate}, expected 0 <= rate < 1")
        self.rate = rate

    def transform(self, batch: Batch, key: Array) -> Batch:
        drop_key, keep_key = jax.random.split(key)
        mask = batch.mask
        rows, modalities = mask.shape
        lots = for_rows(lambda n: jax.random.uniform(keep_key, (n, modalities)), rows)
        kept = mask & for_rows(lambda n: jax.random.bernoulli(drop_key, 1 - self.rate, (n, modalities)), rows)
        draw = jnp.where(mask, lots, -1)
        one = jax.nn.one_hot(draw.argmax(-1), mask.shape[-1], dtype=bool) & mask
        return batch.with_mask(jnp.where(kept.any(-1, keepdims=True), kept, one))
