"""The width at which a cell's model has the size that is asked for."""

from __future__ import annotations

import dataclasses

import jax
from flax import nnx

from fusion_jax.data.base import Dataset
from fusion_jax.plan import ModelPlan, Plan
from fusion_jax.schemes.base import Scheme
from fusion_jax.training.build import build_model, build_scheme
from fusion_jax.training.match import sized
from fusion_jax.training.prepare import select_modalities


def at_its_size(plan: Plan, data: Dataset) -> Plan:
    """The plan with the width at which its model has the size that is asked for (`match.sized`).

    The model of `size.like` is without the cell's scheme where that does not fit every model, and would refuse it.
    """
    features, _ = select_modalities(data, plan.data.modalities, plan.data.graph)
    dims = {name: x.shape[1] for name, x in features.items()}
    scheme = build_scheme(plan.scheme)

    def build(part: ModelPlan, key: jax.Array) -> nnx.Module:
        fits = part.fusion == plan.model.fusion or not scheme.checked_with
        return build_model(part, scheme if fits else Scheme(), dims, data.target, key)

    model = sized(plan.model, plan.size, build)
    return dataclasses.replace(plan, model=model)
