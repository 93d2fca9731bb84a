"""The values of random-feature attention in closed form: a ridge regression on the training rows in place of epochs.

Reference: Fu, Guo, Bai and Mei, 2023 (see `fusion.random_feature_attention`). Golden `random-feature-attention`, the
solution.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping

import jax
import numpy as np
import scipy.linalg
from flax import nnx

from fusion_jax import tasks, zoo
from fusion_jax.fusion.random_feature_attention import RandomFeatureAttention as Layer
from fusion_jax.model import Model
from fusion_jax.records import Array, Batch, Context, Info, Target
from fusion_jax.schemes.base import Make, Scheme, Stage, TrainingLoss

KINDS = ("values of nodes", "classes of nodes")


class RandomFeatureAttention(Scheme):
    """V = argmin sum_i w_i |V^T phi_i - y_i|^2 + ridge |V|^2 over the training rows i, and no epoch.

    phi_i are the features of the model's last fusion, which predicts (`model.head="fusion"`); y_i a row's values in the
    units that a model learns, or the one-hot row of its class, which predictions then are near instead of logits; w_i
    its weight in the loss. Encoders and graph layers before the fusion stay as they were drawn: with the encoder
    "identity" and the layer "none" there are none, and all of the model is trained.

    Solved on the host in float64, of the two systems (rows or features) the smaller.

    Args:
        ridge: above 0, the penalty.
    Raises:
        ValueError: ridge not above 0; another fusion, another head, or a target other than values or classes of nodes.
    """

    info = Info(
        "Fu et al., What Can a Single Attention Layer Learn? A Study Through the Random Features Lens",
        2023,
        golden="random-feature-attention",
        cost="O(n p min(n, p)) of n training rows and p = H (D + 1)",
    )
    checked_with = {
        "model.fusion.name": "random_feature_attention",
        "model.fusion.options": dict(heads=8),
        "model.head": "fusion",
        "model.placement": "after",
    }

    def __init__(self, *, ridge: float = 0.01):
        if not ridge > 0:
            raise ValueError(f"scheme 'random_feature_attention': ridge={ridge}, expected a number above 0")
        self.ridge = ridge

    def build(self, make: Make, feature_dims: Mapping[str, int], target: Target, key: Array) -> Model:
        if target.words not in KINDS:
            raise ValueError(
                f"scheme 'random_feature_attention' solves for {' or '.join(KINDS)}, got {target.words}: train by "
                "gradients (leave scheme.name out)"
            )
        model = make(feature_dims, key)
        if not isinstance(model.fusions[-1], Layer):
            raise ValueError(
                "scheme 'random_feature_attention' solves for the values of the fusion of this name, not of "
                f"{zoo.name_of(model.fusions[-1])!r}: set model.fusion.name to 'random_feature_attention'"
            )
        if model.head_kind != "fusion":
            raise ValueError(
                "scheme 'random_feature_attention' solves for what predicts, which here is the head "
                f"{model.head_kind!r}: set model.head to 'fusion'"
            )
        return model

    def stages(self, epochs: int) -> tuple[Stage, ...]:
        del epochs
        return (Stage(0, begin=self.begin),)

    def begin(self, model: Model, batch: Batch, target: Target, weight: Array, loss: TrainingLoss, key: Array) -> None:
        """Puts the solution in the place of the values that predict."""
        del loss, key
        fusion = model.fusions[-1]
        context = Context(target=tasks.of(target).hide_unseen(target, weight > 0), train=weight > 0)
        phi = np.asarray(_features(*nnx.split(model), batch, context))[: len(weight)]
        w = np.asarray(weight, np.float64)
        rows = w > 0
        solution = solved(phi[rows].reshape(rows.sum(), -1), wanted(target)[rows], self.ridge, w[rows])
        values = fusion.V_prediction
        values.set_value(jax.numpy.asarray(solution.reshape(values.shape), values.dtype))


@functools.partial(jax.jit, static_argnums=0)
def _features(graphdef, state, batch: Batch, context: Context) -> Array:
    """[N, H, D + 1], of the last fusion in evaluation."""
    model = nnx.merge(graphdef, state)
    name = f"fusion {len(model.fusions)}: features"
    (found,) = (s for s in model(batch, context=context).states if s.name == name)
    return found.values


def wanted(target: Target) -> np.ndarray:
    """float64 [rows, C]: the values, or 1 in the column of the class and 0 in the others."""
    if target.kind == "values":
        return np.asarray(target.values, np.float64)
    return np.eye(target.num_outputs)[np.asarray(target.labels)]


def solved(phi: np.ndarray, y: np.ndarray, ridge: float, weight: np.ndarray | None = None) -> np.ndarray:
    """argmin_V sum_i w_i |V^T phi_i - y_i|^2 + ridge |V|^2, phi [n, p] and y [n, C] -> float64 [p, C].

    Args:
        weight: w [n], all 1 if None.
    """
    phi, y = np.asarray(phi, np.float64), np.asarray(y, np.float64)
    if weight is not None:
        root = np.sqrt(weight)[:, None]
        phi, y = root * phi, root * y
    n, p = phi.shape
    if p > n:
        return phi.T @ scipy.linalg.solve(phi @ phi.T + ridge * np.eye(n), y, assume_a="pos")
    return scipy.linalg.solve(phi.T @ phi + ridge * np.eye(p), phi.T @ y, assume_a="pos")
