"""Whether a cell can be trained with its nodes shared out over devices.

Where it cannot it is refused, and the reason is said: a mechanism that sees all nodes at once, or what is made of a
whole graph on the host, would have every device hold everything.
"""

from __future__ import annotations

from collections.abc import Iterator

import jax
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.base import Fusion
from fusion_jax.model import Model
from fusion_jax.schemes.base import Scheme
from fusion_jax.training.derived import mechanisms_of
from fusion_jax.training.prepare import Prepared

KEY = "training.node_devices"


def check_partable(model: nnx.Module, prepared: Prepared, scheme: Scheme) -> None:
    """Raises ValueError, by name, for what cannot be shared out over devices by nodes."""
    for reason in _reasons(model, prepared, scheme):
        raise ValueError(f"{KEY}: {reason}; set it to 0")


def _reasons(model: nnx.Module, prepared: Prepared, scheme: Scheme) -> Iterator[str]:
    trials = prepared.trials
    if jax.process_count() > 1:
        yield f"the devices are those of {jax.process_count()} processes, expected one"
    if prepared.target.level != "node":
        yield f"the data set labels {prepared.target.level}s, expected labels of nodes"
    if prepared.evaluated[0] is None:
        yield "the data set has no graph, whose nodes could be shared out"
    if trials.graph is not None or trials.mask is not None or trials.evaluated is not None:
        yield "every seed has a graph of its own (setting 'inductive', or other edges in evaluation)"
    if not (type(scheme) is Scheme or scheme.parted):
        yield f"scheme {zoo.name_of(scheme)!r} looks at all nodes at once"
    for part in (part for _, part in nnx.iter_modules(model) if isinstance(part, Model)):
        if part.mixed:
            yield f"mixer {zoo.name_of(part.mixers[0])!r} stands in the place of attention"
        if part.missing == "propagate":
            yield "model.missing='propagate' fills from neighbours, which is not written for nodes on several devices"
    for kind, mechanism in mechanisms_of(model):
        by_node = type(mechanism).nodes is Fusion.nodes if kind == "fusion" else mechanism.parted
        if not by_node:
            yield f"{kind} {zoo.name_of(mechanism)!r} is not written for nodes on several devices"
        if mechanism.structures:
            yield f"{kind} {zoo.name_of(mechanism)!r} reads {mechanism.structures[0]}, made of the whole graph"
