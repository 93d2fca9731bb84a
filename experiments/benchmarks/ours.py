"""Our side of every case: made ready, its weights and outputs handed over to the peers, warmed up by one run."""

from __future__ import annotations

import contextlib
import functools
import importlib.metadata
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import data, study, zoo
from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Provenance, edge_set
from fusion_jax.graphs import Graph
from fusion_jax.layers.gat import GAT
from fusion_jax.nn.attention import attend
from fusion_jax.nn.segment import propagate
from fusion_jax.plan import Plan
from fusion_jax.records import Target
from fusion_jax.run.model import train_model
from fusion_jax.study import defaults
from fusion_jax.training import programs
from fusion_jax.training.build import build_model, build_scheme
from fusion_jax.training.compilation import own_settings
from fusion_jax.training.prepare import Prepared, prepare
from fusion_jax.training.trial import whole

from .cases import Attending, Case, Modalities, Propagate, Study, Training, edges, made, values
from .study import ours as study_of
from .timing import Ready, called
from .weights import flat

EVERY = 97  # of the rows of a large output so many apart are compared
VERSIONS = ("fusion_jax", "jax", "jaxlib", "flax", "optax", "numpy")


def ready(case: Case, folder: pathlib.Path) -> Ready:
    """The case, warmed up; what the peers need of it lies in FOLDER/case.npz."""
    kinds = {
        Training: _training,
        Propagate: _propagate,
        Attending: _attending,
        Modalities: _modalities,
        Study: study_of,
    }
    make = kinds[type(case)]
    device = dict(platform=jax.default_backend(), device=jax.devices()[0].device_kind)
    made_ready = make(case, folder / "case.npz")
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    return Ready(made_ready.run, made_ready.facts | device | dict(versions=versions))


def plan_of(case: Training) -> Plan:
    """The plan of a cell as a study resolves it; it stops at no epoch but the last."""
    options = dict(hidden=case.hidden) if case.fusion == "concat_mlp" else {}
    config = defaults.get_config()
    for key, value in {
        "data.name": case.data or "digits",  # the data set itself is handed over
        "data.options": case.options,
        "data.scale": case.scale,
        "per_seed": ("init", "dropout"),  # the peers' seeds have one split too
        "model.dim": case.dim,
        "model.fusion.name": case.fusion,
        "model.fusion.options": options,
        "model.layer.name": case.layer,
        "model.layer.options": dict(heads=case.heads) if case.layer == "gat" else {},
        "model.layers": case.layers,
        "model.rate": case.rate,
        "optimizer.learning_rate": case.learning_rate,
        "optimizer.options": dict(weight_decay=case.weight_decay),
        "training.epochs": case.epochs,
        "training.patience": case.epochs,
    }.items():
        study.set_key(config, key, value)
    return study.resolve(config).plan


def dataset(case: Training) -> tuple[Dataset, bool]:
    """The case's data set, and whether it is the real one; else one of its shape is made from the seed."""
    if case.data:
        try:
            return data.load(case.data, **case.options), True
        except OSError:
            pass
    held = made(case.shape)
    x = {f"x{m}": held[f"x{m}"] for m in range(len(case.shape.widths))}
    found = Dataset(
        name="made",
        features=x,
        mask=np.ones((case.shape.nodes, len(x)), bool),
        graphs={"made": edge_set(*held["edges"], case.shape.nodes)},
        target=Target("classes", labels=held["labels"], num_outputs=case.shape.classes),
        splits=splits.fractions(held["labels"], 0.4, 0.3),
        provenance=Provenance("made from a seed", "none"),
        default_graph="made",
    )
    return found, False


def _training(case: Training, path: pathlib.Path) -> Ready:
    plan, (held, real) = plan_of(case), dataset(case)
    with own_settings():
        prepared = prepare(plan.data, held, range(case.seeds), **plan.preparing)
        if not case.alone:
            _hand_over(plan, held, prepared, path)

    def train() -> dict[str, Any]:
        start = time.perf_counter()
        with own_settings():
            trained = train_model(plan, held, prepared)
        if trained.diverged:
            raise FloatingPointError(f"seeds diverged: {trained.diverged}")
        scores = [float(np.nanmax(score)) for score in trained.history["val_score"]]
        return dict(trained.cost, whole_seconds=time.perf_counter() - start, scores=scores)

    kept = contextlib.ExitStack()
    kept.enter_context(programs.held())  # what is compiled stays for as long as `run` does, which has it
    first = train()

    def run(kept: contextlib.ExitStack = kept) -> float:
        del kept
        again = train()
        if again["compile_seconds"] > 0.5 * first["compile_seconds"]:
            raise RuntimeError(f"a run compiled again, {again['compile_seconds']:.1f} s, expected what is kept")
        return again["train_seconds"]

    edges_there = int(len(held.graphs[held.default_graph].senders))
    shape = dict(nodes=held.num_nodes, edges=edges_there, real=real, parameters=int(first["parameters"]))
    # the compiler's figure is of one epoch of `flops_seeds` seeds
    flops = first["flops"] * case.epochs * case.seeds / first["flops_seeds"]
    facts = dict(shape, flops=flops, compile_seconds=first["compile_seconds"], scores=first["scores"])
    return Ready(run, facts)


def _hand_over(plan: Plan, held: Dataset, prepared: Prepared, path: pathlib.Path) -> None:
    """Features as the first seed's model sees them, edges, labels, rows; its first weights, and what they predict."""
    trial = jax.tree.map(lambda a: a[0], prepared.trials)
    batch = whole(prepared.batch, trial)
    if not np.asarray(batch.mask).all():
        raise ValueError(f"data set {held.name!r} lacks modalities, which the peers do not know of")
    dims = {name: x.shape[1] for name, x in batch.features.items()}
    model = build_model(plan.model, build_scheme(plan.scheme), dims, held.target, prepared.init_keys[0])
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)
    output = jax.jit(lambda params, batch: nnx.merge(graphdef, params, rest)(batch).prediction)(params, batch)
    graph, split = batch.graph, prepared.splits[0]
    arrays = {f"x{m}": x for m, x in enumerate(batch.features.values())}
    arrays |= dict(edges=np.stack([graph.senders, graph.receivers]), labels=held.target.labels, expected=output)
    arrays |= dict(train=split.train, val=split.val)
    if "weight" in graph.edges:
        arrays["weight"] = graph.edges["weight"]
    _save(path, params, arrays)


def _save(path: pathlib.Path, params: Any, arrays: dict[str, Any]) -> None:
    named = {} if params is None else flat(nnx.to_pure_dict(params))
    np.savez(path, **{k: np.asarray(v) for k, v in arrays.items()}, **{f"params/{k}": v for k, v in named.items()})


def _kernel(call: Any, arguments: tuple, **facts: Any) -> Ready:
    """A function, compiled outside of what is timed."""
    start = time.perf_counter()
    program = jax.jit(call).lower(*arguments).compile()
    compile_seconds = time.perf_counter() - start
    memory = program.memory_analysis()
    peak = 0 if memory is None else memory.temp_size_in_bytes + memory.output_size_in_bytes
    facts |= dict(compile_seconds=compile_seconds, program_mb=peak / 1e6)

    def once():
        jax.block_until_ready(program(*arguments))

    once()
    return Ready(functools.partial(called, once), facts)


def _propagate(case: Propagate, path: pathlib.Path) -> Ready:
    graph = Graph.create(*edges(case.nodes, case.edges), case.nodes)
    x = jnp.asarray(values(case.nodes, case.width))
    _save(path, None, dict(expected=jax.jit(propagate)(x, graph)[::EVERY]))
    call = jax.grad(lambda x, graph: (propagate(x, graph) ** 2).sum()) if case.backward else propagate
    return _kernel(call, (x, graph), moved=case.moved)


def _attending(case: Attending, path: pathlib.Path) -> Ready:
    graph = Graph.create(*edges(case.nodes, case.edges), case.nodes)
    x = jnp.asarray(values(case.nodes, case.width))
    graphdef, params = nnx.split(GAT(case.width, heads=case.heads, rngs=nnx.Rngs(0)))

    def layer(params, x, graph):
        return nnx.merge(graphdef, params)(x, graph)

    _save(path, params, dict(expected=jax.jit(layer)(params, x, graph)[::EVERY]))
    call = jax.grad(lambda *given: (layer(*given) ** 2).sum(), argnums=(0, 1))
    return _kernel(call, (params, x, graph))


def _modalities(case: Modalities, path: pathlib.Path) -> Ready:
    size = case.nodes, case.modalities, case.width
    x = tuple(jnp.asarray(values(*size, number=k)) for k in range(1 if case.whole else 3))
    params = None
    if case.whole:
        fusion = zoo.make("fusion", "self_attention", case.modalities, case.width, options={}, rngs=nnx.Rngs(0))
        graphdef, params = nnx.split(fusion)
        there = jnp.ones(size[:2], bool)

        def call(params, x, there):
            return nnx.merge(graphdef, params)(x, there).out

        arguments = (params, *x, there)
    else:

        def call(q, k, v):
            return attend(q[:, :, None], k[:, :, None], v[:, :, None])[0][:, :, 0].mean(1)

        arguments = x
    found = _kernel(call, arguments, moved=case.moved)
    few = jax.tree.map(lambda a: a[::EVERY] if a.shape[:1] == (case.nodes,) else a, arguments)
    _save(path, params, dict(expected=jax.jit(call)(*few)))
    return found


def limits() -> dict[str, float]:
    """What this machine does at most: FLOP/s of a float32 product of 1024 x 1024, bytes/s of a copy (read and
    written)."""
    a = jnp.asarray(values(1024, 1024))
    product = jax.jit(jnp.dot)
    jax.block_until_ready(product(a, a))
    flops = 2 * 1024**3 / called(lambda: jax.block_until_ready(product(a, a)), 1.0)
    if jax.default_backend() == "cpu":
        source = np.ones(1 << 26, np.float32)
        target = np.empty_like(source)
        copied, count = called(lambda: np.copyto(target, source), 1.0), source.nbytes
    else:
        held = jnp.ones(1 << 28, jnp.float32)
        copy = jax.jit(lambda x: x + 1)
        jax.block_until_ready(copy(held))
        copied, count = called(lambda: jax.block_until_ready(copy(held)), 1.0), held.nbytes
    return dict(flops_per_second=flops, bytes_per_second=2 * count / copied)
