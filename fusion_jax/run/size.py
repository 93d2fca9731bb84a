"""The width at which a cell's model has the size that is asked for."""

from __future__ import annotations

import dataclasses

from fusion_jax.data.base import Dataset
from fusion_jax.plan import Plan
from fusion_jax.training.build import build_model, build_scheme
from fusion_jax.training.match import sized
from fusion_jax.training.prepare import select_modalities


def at_its_size(plan: Plan, data: Dataset) -> Plan:
    """The plan with the width at which its model has the size that is asked for (`match.sized`)."""
    features, _ = select_modalities(data, plan.data.modalities, plan.data.graph)
    dims = {name: x.shape[1] for name, x in features.items()}
    scheme = build_scheme(plan.scheme)
    model = sized(plan.model, plan.size, lambda part, key: build_model(part, scheme, dims, data.target, key))
    return dataclasses.replace(plan, model=model)
