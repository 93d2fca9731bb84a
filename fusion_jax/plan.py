"""A cell, resolved into small typed records: what every room is told, so that no one below reads a config.

Each record holds the keywords one part takes, under the names of the config's keys (`study/defaults.py` says what each
does).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

Options = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Named:
    """A mechanism by its name, with all of its options; the name "" stands for none."""

    name: str
    options: Options = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class LayerPlan(Named):
    """The graph layers; `last` are options in which the last one differs."""

    last: Options = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class MixerPlan(Named):
    """What stands in the place of softmax attention: in which attentions (`mixers.base.simple`) of which part."""

    name: str = "standard"
    layers: str = "uniform"
    part: str = "fusion"


@dataclasses.dataclass(frozen=True)
class DataPlan(Named):
    """Which data set, which of it, what of it is taken away, and how it is scaled."""

    modalities: tuple[str, ...] = ()
    graph: str = ""
    views: tuple[str, ...] = ()
    test_views: tuple[str, ...] = ()
    scale: str = "modality"
    setting: str = ""
    missing: Named = Named("")


@dataclasses.dataclass(frozen=True)
class ModelPlan:
    """The model: see `fusion_jax.model.Model`."""

    dim: int
    placement: str
    encoder: Named
    fusion: Named
    layer: LayerPlan
    readout: Named
    layers: int = 2
    activation: str = "relu"
    head: str = "linear"
    missing: str = "mask"
    presence: str = "received"
    rate: float = 0.0
    mixer: MixerPlan = MixerPlan()


@dataclasses.dataclass(frozen=True)
class SizePlan:
    """The size of the model: as with the fusion `like`, or so many `parameters`; by default what `model.dim` makes."""

    like: str = ""
    parameters: int = 0


@dataclasses.dataclass(frozen=True)
class LossPlan(Named):
    """The training loss: the named one, {name: weight} of others added to it, and the coupled L2 term."""

    class_weights: bool = False
    extra: Mapping[str, float] = dataclasses.field(default_factory=dict)
    l2: float = 0.0
    l2_parts: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class OptimizerPlan(Named):
    """The optimiser and its schedule: see `fusion_jax.training.optimizers.make`."""

    learning_rate: float = 3e-3
    clip: float = 0.0
    warmup: int = 0
    decay: bool = False
    rate_steps: tuple[tuple[int, float], ...] = ()
    part_rates: Mapping[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class TrainingPlan:
    """How long training runs, what it keeps, and how often the host looks."""

    epochs: int = 200
    patience: int = 50
    chunk: int = 50
    select: str = "score"
    select_every: int = 1
    seed_axis: str = "auto"
    node_devices: int = 0
    checkpoint_seconds: float = 60.0
    snapshots: int = 0
    batch: int = 0
    fanout: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Resources:
    """What an engine asks a cluster for, for one cell; 0 for what the cluster gives.

    Attributes:
        cpus, gpus: how many.
        memory_gb: gigabytes of memory.
        minutes: how long the cell may take; it is saved and queued again behind that.
    """

    cpus: int = 0
    gpus: int = 0
    memory_gb: float = 0.0
    minutes: int = 0


@dataclasses.dataclass(frozen=True)
class Plan:
    """All of a cell but its seeds.

    Attributes:
        per_seed: what differs from seed to seed, of "init", "dropout" and "split".
        protocol: "honest" or "paper".
        control: a control that stands in the place of the model; the name "" where there is a model.
        resources: what it is given, by engines that ask a cluster for it.
    """

    data: DataPlan
    model: ModelPlan
    size: SizePlan
    loss: LossPlan
    scheme: Named
    optimizer: OptimizerPlan
    training: TrainingPlan
    control: Named
    per_seed: tuple[str, ...]
    protocol: str
    resources: Resources = Resources()

    @property
    def uses_edges(self) -> bool:
        """Whether the graph layers pass messages."""
        return self.model.layers > 0 and self.model.layer.name != "none"

    @property
    def preparing(self) -> dict[str, Any]:
        """What `training.prepare.prepare` is told beside `data`."""
        weights, missing = self.loss.class_weights, self.model.missing
        return dict(per_seed=self.per_seed, protocol=self.protocol, class_weights=weights, missing=missing)


def of(config: Mapping[str, Any]) -> Plan:
    """The plan of a resolved config, whose sections hold the records' fields under their names."""
    model = config["model"]
    return Plan(
        data=_record(DataPlan, {**config["data"], "missing": _record(Named, config["data"]["missing"])}),
        model=_record(
            ModelPlan,
            {
                **model,
                "encoder": _record(Named, model["encoder"]),
                "fusion": _record(Named, model["fusion"]),
                "layer": _record(LayerPlan, model["layer"]),
                "readout": _record(Named, model["readout"]),
                "mixer": _record(MixerPlan, model["mixer"]),
            },
        ),
        size=_record(SizePlan, config["size"]),
        loss=_record(LossPlan, config["loss"]),
        scheme=_record(Named, config["scheme"]),
        optimizer=_record(OptimizerPlan, config["optimizer"]),
        training=_record(TrainingPlan, config["training"]),
        control=_record(Named, config["control"]),
        per_seed=tuple(config["per_seed"]),
        protocol=config["protocol"],
        resources=_record(Resources, config["resources"]),
    )


def _record(kind: type, section: Mapping[str, Any]) -> Any:
    return kind(**{name: _tuples(value) for name, value in section.items()})


def _tuples(value: Any) -> Any:
    """Lists as tuples, as JSON has no tuples; dictionaries as they are."""
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value
