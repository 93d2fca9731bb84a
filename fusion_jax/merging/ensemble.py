"""The mean of the networks' predicted probabilities: what a single merged network is measured against.

Folklore. It costs as many passes as there are networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax, logsumexp

from fusion_jax.merging.base import Merged, Parent
from fusion_jax.records import Info

INFO = Info("Folklore: ensemble of networks", cost="O(S N C)")


def ensemble(parents: Sequence[Parent], anchor: int, *, probabilities: bool | None = None) -> Merged:
    """prediction = log(mean over the networks of softmax(prediction_s)); no network.

    Args:
        probabilities: whether predictions are logits of classes; of values and risks the mean itself is taken. None: as
            the networks' task says.
    """
    del anchor  # all networks count alike
    each = np.stack([p.prediction for p in parents]).astype(np.float64)  # [S, N, C]
    if not (parents[0].classes if probabilities is None else probabilities):
        return Merged(each.mean(0).astype(parents[0].prediction.dtype))  # values are float64 in their own units
    return Merged((logsumexp(log_softmax(each, -1), axis=0) - np.log(len(each))).astype(np.float32))
