"""Cells that train on sampled neighbourhoods: which can, and what takes the place of full-batch training in them.

Training sees batches of rows (`batches`, `neighbourhood`), evaluation all nodes in blocks (`model.in_blocks`), so that
what a cell selects by, predicts and stores is exact.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import zoo
from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.model import Model
from fusion_jax.model.in_blocks import block_edges, in_blocks
from fusion_jax.nn.segment import segment_sum
from fusion_jax.plan import LossPlan, Plan, TrainingPlan
from fusion_jax.records import Batch, Context, Output, Target, needs_of
from fusion_jax.schemes.base import Scheme, Stage, unchanged, whole_model
from fusion_jax.training.batches import one_pass
from fusion_jax.training.build import loss_name
from fusion_jax.training.neighbourhood import Neighbourhood
from fusion_jax.training.prepare import Prepared

BLOCK = 8192  # nodes in a block of evaluation
WHERE = "training.batch"


def check(plan: Plan, model: nnx.Module, prepared: Prepared, stages: Sequence[Stage], target: Target) -> None:
    """Raises ValueError, by name, where something of a cell does not work on rows or sampled senders by themselves."""
    if target.level != "node":
        raise _refused(f"the target is {target.words}", "batches are of nodes")
    if not isinstance(model, Model):
        raise _refused(f"scheme {plan.scheme.name!r}", "it trains something else than the model")
    for stage in stages:
        hooks = ("loss", "gradients", "remember", "begin")
        own = [name for name in hooks if getattr(stage, name) is not None]
        own += ["forward"] if stage.forward is not whole_model else []
        if own:
            raise _refused(f"scheme {plan.scheme.name!r}", f"its {own[0]!r} is written for all training rows at once")
    _check_losses(plan.loss, loss_name(plan.loss, plan.model, target))
    _check_model(model)
    graph = prepared.evaluated[0]
    if graph is not None and graph.views:
        raise _refused("data.views", "there is one edge set for all modalities")
    _fanout(plan.training, _depth(model))
    _check_degrees(model, prepared, stages)
    _steps(plan, prepared)


def sampled(
    plan: Plan, model: Model, prepared: Prepared, stages: Sequence[Stage]
) -> tuple[Prepared, tuple[Stage, ...], tuple[int, int]]:
    """The prepared cell, its stages with batches for an epoch and blocks for evaluation, and what of its rows and edges
    is compiled in: the steps of an epoch, and the most edges of a block."""
    depth = _depth(model)
    graphs = {id(graph): graph for graph in prepared.evaluated if graph is not None}.values()
    form = Neighbourhood(plan.training.batch, _fanout(plan.training, depth))
    pointers = [np.asarray(graph.row_ptr) for graph in graphs]
    for each in (prepared.trials.graph, prepared.trials.evaluated):  # lost edges lie at one node, padding at another
        pointers += [] if each is None else list(np.asarray(each.row_ptr))
    edges = max((block_edges(row_ptr, min(BLOCK, len(row_ptr) - 1)) for row_ptr in pointers), default=1)
    forward = functools.partial(_forward, rows=BLOCK, edges=edges)
    own = [dataclasses.replace(s, forward=forward, one_pass=functools.partial(one_pass, form=form)) for s in stages]
    if any(layer.reads_strength for layer in _layers(model)):
        trials, batch = prepared.trials, prepared.batch
        trials = dataclasses.replace(
            trials, graph=with_strength(trials.graph, jax.vmap), evaluated=with_strength(trials.evaluated, jax.vmap)
        )
        batch = batch.with_graph(with_strength(batch.graph))
        prepared = dataclasses.replace(prepared, trials=trials, batch=batch)
    return prepared, tuple(own), (_steps(plan, prepared), edges)


def _forward(model: Model, batch: Batch, *, context: Context, rows: int, edges: int) -> Output:
    """In training, where there is a key, what the model says of a sampled neighbourhood; else of all nodes."""
    if context.key is not None:
        return model(batch, context=context)
    return in_blocks(model, batch, rows=rows, edges=edges)


def _refused(what: str, why: str) -> ValueError:
    return ValueError(f"{WHERE}: {what}: {why}; train on all rows at once ({WHERE}=0)")


def _layers(model: Model) -> list[nnx.Module]:
    return [*model.layers, *(streams.layers for streams in model.streams)]


def _depth(model: Model) -> int:
    """How many graph layers pass messages."""
    return sum("graph" in needs_of(layer) for layer in _layers(model))


def _fanout(training: TrainingPlan, depth: int) -> tuple[int, ...]:
    """One number a graph layer that passes messages; nobody is sampled where none does, as in a study's control."""
    given = training.fanout * depth if len(training.fanout) == 1 else training.fanout
    if depth and len(given) != depth:
        raise ValueError(f"training.fanout={given}, expected one number a graph layer ({depth}), or one for all")
    return given if depth else ()


def _check_losses(plan: LossPlan, main: str) -> None:
    for name in (main, *plan.extra):
        if not getattr(zoo.info("loss", name), "rowwise", False):
            raise _refused(f"loss {name!r}", "it is no weighted mean over rows (Info.rowwise)")


def _check_model(model: Model) -> None:
    if model.missing == "propagate":
        raise _refused("model.missing='propagate'", "it fills from nodes farther than the sampled ones")
    if model.mixed:
        raise _refused("model.mixer", "it is written for all nodes at once")
    for name, encoder in zip(model.names, model.encoders, strict=True):
        if "graph" in needs_of(encoder) or "edge_time" in needs_of(encoder) or encoder.structures:
            raise _refused(f"encoder {zoo.name_of(encoder)!r} of {name!r}", "it reads the graph")
    for fusion in model.fusions:
        what = f"fusion {zoo.name_of(fusion)!r}"
        if type(fusion).nodes is not Fusion.nodes or fusion.structures:
            raise _refused(what, "it is not written for one node by itself")
        if type(fusion).begin is not Fusion.begin or "labels" in needs_of(fusion):
            raise _refused(what, "it reads all training rows")
    for layer in _layers(model):
        if not layer.local:
            raise _refused(f"layer {zoo.name_of(layer)!r}", "it looks further than a node's senders (`local`)")
    if model.readout is not None and not model.readout.last_only:
        raise _refused(f"readout {zoo.name_of(model.readout)!r}", "it reads the states of all depths")


def _check_degrees(model: Model, prepared: Prepared, stages: Sequence[Stage]) -> None:
    """Refuses layers that normalise by what senders receive where not everybody is present all the time."""
    for layer in _layers(model):
        if not layer.reads_strength or model.missing != "mask":
            continue
        what = f"layer {zoo.name_of(layer)!r}"
        if any(not _unchanged(stage.transform) for stage in stages):
            raise _refused(what, "it normalises by degrees, which the scheme changes from step to step")
        if _some_lack(model, prepared):
            raise _refused(
                what,
                "it normalises by how many present senders a sender has, and some nodes lack a modality; a layer that "
                "does not is 'sage', and with model.missing='zeros' all are present",
            )


def _unchanged(transform: Callable) -> bool:
    """Whether a stage's transform is the one that changes nothing, by itself or as that of `Scheme`."""
    return transform is unchanged or getattr(transform, "__func__", None) is Scheme.transform


def _some_lack(model: Model, prepared: Prepared) -> bool:
    """Whether a node that is there has nothing in a stream on which messages pass, in training or in evaluation."""
    trials, seeds = prepared.trials, len(prepared.seeds)
    seen = [(prepared.batch.mask, graph.present, i) for i, graph in enumerate(prepared.evaluated)]
    if trials.mask is not None:
        seen += [(trials.mask[i], trials.graph.present[i], i) for i in range(seeds)]
    for mask, there, i in seen:
        known = mask if trials.known is None else mask & trials.known[i]
        has = known.any(1) if model.placement == "before" else known.all(1)
        if not bool((has if there is None else has | ~there).all()):
            return True
    return False


def _steps(plan: Plan, prepared: Prepared) -> int:
    """The batches of an epoch, those of the seed with most rows."""
    rows = np.asarray((prepared.trials.train_weight > 0).sum(1))
    steps = sorted({math.ceil(int(count) / plan.training.batch) for count in rows})
    own = plan.optimizer
    if len(steps) > 1 and (own.warmup or own.decay or own.rate_steps):
        raise ValueError(
            f"{WHERE}={plan.training.batch}: an epoch has {steps} steps, another number from seed to seed, which a "
            "schedule of the learning rate (optimizer.warmup, decay, rate_steps) has no place for"
        )
    return steps[-1]


def with_strength(graph: Graph | None, mapped=lambda f: f) -> Graph | None:
    """The graph with what each node receives in all of it (`Graph.strength`)."""
    if graph is None:
        return None

    def strength(looped: Graph):
        return segment_sum(looped.edges.get("weight", jnp.ones(looped.num_edges)).astype(jnp.float32), looped)

    looped = dataclasses.replace(graph.looped, strength=mapped(strength)(graph.looped))
    return dataclasses.replace(graph, looped=looped)
