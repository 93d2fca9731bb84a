"""A predictor as one compiled program in a file, for CPUs, GPUs and TPUs, that runs without its cell (`jax.export`).

    predictor.export("exported/gmu")
    said = load_exported("exported/gmu")({"rna": x, "image": y}, ids=["p81"], edges=[("p81", "p7")])

    <path>/program.bin      StableHLO of the models of all seeds, with their parameters, scalers and the old nodes
    <path>/manifest.json    what it takes and returns by name, shape and dtype; classes; units of values; ids of the old
                            nodes; versions; sha256 of the program, and of what else stands here

No other file, no pickle. The program is a function of one dictionary:

    x      {modality: float32 [n, d]}, NaN where a value is missing
    mask   bool [n, M]
    edges  {edge set: {senders, receivers: int32 [e], and the edge arrays: float32 [e, ...]}}: old nodes are
           0, ..., N - 1, the new ones N, ..., N + n - 1. An edge from a node to itself, or with a number of no node,
           counts as none, so that e can be padded. Left out where the models read no graph.
    sizes  int32 [g], the nodes of each graph, where graphs are predicted; there are no old nodes then

It returns `prediction` float32 [S, n, C] as the models predict (g rows of graphs), and `uncertainty` [S, n] where they
state it. Where the manifest has `units`, shift and scale [S, C], the values that are predicted are prediction * scale +
shift, in float64: in float32 a large shift would swallow them. n, e and g are free (at least 1) unless it was exported
for fixed ones.

It is made of plain XLA operations: sums over edges are sorted segment sums on all platforms, not the CPU's sparse
kernel, and there is a last node that is not present, to which edges that count as none lead. So what it returns is the
predictor's up to the rounding of float32, in another order of additions.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import nnx

from fusion_jax import folders, tasks
from fusion_jax.data.base import Dataset
from fusion_jax.data.extended import symmetric
from fusion_jax.fusion.base import Fusion
from fusion_jax.graphs import Graph
from fusion_jax.model import Model
from fusion_jax.nn.segment import plain_xla
from fusion_jax.records import Batch, needs_of
from fusion_jax.results.environment import environment
from fusion_jax.results.restore import Restored
from fusion_jax.results.store import replacing, write_bytes, write_json
from fusion_jax.results.traced import joined
from fusion_jax.training.derived import structures_of
from fusion_jax.zoo import nearest

PLATFORMS = ("cpu", "cuda", "tpu")
KNOWN = (*PLATFORMS, "rocm")
# No kernels, but how StableHLO writes what it has no operation for while shapes are open; gone once they are known.
PLAIN = ("shape_assertion", "stablehlo.dynamic_reduce_window", "stablehlo.dynamic_top_k")
VERSION = 2  # of the manifest
OWN = "sha256_of_manifest"  # its field with the digest of the others


def exporter() -> Any:
    """`jax.export`, which writes programs by a package of its own.

    Raises:
        ImportError: it is not installed.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError("exported programs need flatbuffers: pip install 'fusion_jax[export]'")
    import jax.export

    return jax.export


def export(
    cell: Restored,
    seeds: Sequence[int],
    path: str | os.PathLike,
    platforms: Sequence[str] = PLATFORMS,
    *,
    fill: Mapping[str, np.ndarray],
    ids: Sequence[str] | None = None,
    nodes: int | None = None,
    edges: int | None = None,
) -> epath.Path:
    """Writes the folder; returns it.

    Args:
        fill: {modality: [S, d]}, what stands for single values that are missing, of the seeds in order.
        ids: of the old nodes; None where they have numbers only.
        platforms: of `KNOWN`. None of them has to be here.
        nodes, edges: the fixed numbers n (g, where graphs are predicted, is n too) and e; free if None.
    Raises:
        ImportError: flatbuffers is not installed.
        ValueError: what the cell does is not to be exported, by name; the model is not one for any number of nodes.
    """
    kit = exporter()
    for platform in platforms:
        if platform not in KNOWN:
            raise ValueError(f"platforms: {platform!r}{nearest(platform, KNOWN)}; expected some of {', '.join(KNOWN)}")
    _check(cell)
    program, names = _program(cell, seeds, fill)
    shapes = _arguments(kit, cell, names, nodes, edges)
    try:
        with plain_xla():
            exported = kit.export(jax.jit(program), platforms=tuple(platforms))(shapes)
    except Exception as error:
        if nodes is not None and edges is not None:
            raise
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        raise ValueError(
            f"cell {cell.identity} cannot be exported for any number of nodes: give nodes= and edges= ({reason})"
        ) from error
    _check_plain(exported.mlir_module())
    content = bytes(exported.serialize())
    target = cell.data.target
    about = dict(
        version=VERSION,
        cell=cell.identity,
        label=cell.label,
        program="program.bin",
        sha256=folders.digest(content),
        platforms=list(exported.platforms),
        calling_convention=exported.calling_convention_version,
        seeds=list(seeds),
        target=tasks.of(target).about(target),
        classes=list(cell.data.class_names),
        modalities={name: int(x.shape[1]) for name, x in cell.prepared.batch.features.items()},
        columns=cell.data.columns,
        edge_sets={name: symmetric(cell.data.graphs[name]) for name in names},
        old=cell.data.num_nodes if target.level == "node" else 0,
        ids=None if ids is None or target.level != "node" else [str(i) for i in ids],
        nodes=nodes,
        edges=edges,
        arguments=_described(shapes),
        results=_described(jax.tree.unflatten(exported.out_tree, exported.out_avals)),
        units=_units(cell, seeds),
        environment=environment(),
    )
    about[OWN] = digest(about)
    path = epath.Path(folders.expand(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as folder:
        write_bytes(folder / "program.bin", content)
        write_json(folder / "manifest.json", about)
    return path


def digest(about: Mapping[str, Any]) -> str:
    """sha256 of all fields of a manifest but `OWN`."""
    held = {name: value for name, value in about.items() if name != OWN}
    return folders.digest(json.dumps(json.loads(json.dumps(held)), sort_keys=True).encode())


def _units(cell: Restored, seeds: Sequence[int]) -> dict[str, list] | None:
    """Shift and scale [S, C] of values, of the seeds in order; None where predictions have no unit."""
    if cell.prepared.units is None:
        return None
    own = [cell.prepared.units[cell.seeds.index(seed)] for seed in seeds]
    return {what: [np.asarray(getattr(u, what), np.float64).tolist() for u in own] for what in ("shift", "scale")}


def _check(cell: Restored) -> None:
    """Raises ValueError for what a program of arrays cannot do."""
    level, data = cell.data.target.level, cell.data
    where = f"cell {cell.identity} cannot be exported"
    if level == "link":
        raise ValueError(f"{where}: it predicts links, whose edges are taken out of the graph on the host")
    if any(found := structures_of(cell.models[0])):
        names = ", ".join(str(s) for s in (*found[0], *found[1]))
        raise ValueError(f"{where}: its model reads {names}, made on the host from the whole graph")
    if "structure" in cell.prepared.batch.features:
        raise ValueError(f"{where}: modality 'structure' encodes the whole graph")
    for name, mechanism in mechanisms(cell.models[0]):
        if "labels" in needs_of(mechanism):
            raise ValueError(f"{where}: {name} reads the labels of training rows")
    if level == "node" and reads_graph(cell) and (made := [n for n in used(cell) if n in data.made]):
        raise ValueError(
            f"{where}: edge set {made[0]!r} is made from features, and its neighbours are found on the host; ask the "
            f"predictor itself"
        )


def mechanisms(model: nnx.Module):
    """(kind, mechanism) of everything that a model is made of."""
    for _, part in nnx.iter_modules(model):
        if isinstance(part, Model):
            streams = [streams.layers for streams in part.streams]  # one layer, its parameters stacked over modalities
            yield from (("encoder", m) for m in part.encoders)
            yield from (("fusion", m) for m in part.fusions)
            yield from (("layer", m) for m in (*streams, *part.layers))
            if part.readout is not None:
                yield "readout", part.readout


def reads_graph(cell: Restored) -> bool:
    """Whether a node's prediction may depend on edges or on other nodes."""
    if cell.plan.uses_edges:
        return True
    for _, mechanism in mechanisms(cell.models[0]):
        across = isinstance(mechanism, Fusion) and type(mechanism).nodes is not Fusion.nodes
        if across or "graph" in needs_of(mechanism) or mechanism.structures:
            return True
    return False


def used(cell: Restored) -> tuple[str, ...]:
    """The edge sets of evaluation: the shared one, then that of each modality."""
    part = cell.plan.data
    base = part.graph or cell.data.default_graph
    return (base, *(part.test_views or part.views)) if base else ()


def _program(cell: Restored, seeds: Sequence[int], fill: Mapping[str, np.ndarray]):
    """The function of the module, and the names of the edge sets it reads."""
    prepared, data, plan = cell.prepared, cell.data, cell.plan
    names = used(cell) if reads_graph(cell) else ()
    level, modalities = data.target.level, prepared.batch.names
    here = [cell.seeds.index(seed) for seed in seeds]
    graphdef = nnx.split(cell.models[0])[0]
    states = jax.tree.map(lambda *a: jnp.stack(a), *(nnx.split(cell.models[i])[1] for i in here))
    own = dict(
        shift={m: prepared.trials.shift[m][jnp.array(here)] for m in modalities},
        scale={m: prepared.trials.scale[m][jnp.array(here)] for m in modalities},
        fill={m: jnp.asarray(fill[m], jnp.float32) for m in modalities},
    )
    if prepared.trials.known is not None:
        own["known"] = prepared.trials.known[jnp.array(here)]
    old = prepared.batch if names and level == "node" else None
    count = len(data.mask) if old is not None else 0

    def program(given: Mapping[str, Any]) -> dict[str, jax.Array]:
        new = given["mask"].shape[0]
        graph = _graph(data if old is not None else None, names, given, count + new)
        more = 1 if names else 0
        mask = [given["mask"], jnp.zeros((more, len(modalities)), bool)]
        mask = jnp.concatenate(mask if old is None else [old.mask, *mask])

        def one(held):
            state, own = held
            x = {name: _filled(given["x"][name], own["fill"][name], plan.data.scale) for name in modalities}
            x = {name: jnp.concatenate([v, jnp.zeros_like(v[:1])]) if more else v for name, v in x.items()}
            if old is not None:
                was = {m: jnp.where(jnp.isnan(v), own["fill"][m], v) for m, v in old.features.items()}
                x = {name: jnp.concatenate([was[name], v]) for name, v in x.items()}
            there = mask & own["known"] if "known" in own else mask
            x = {
                name: jnp.where(there[:, i, None], (v - own["shift"][name]) * own["scale"][name], 0)
                for i, (name, v) in enumerate(x.items())
            }
            output = nnx.merge(graphdef, state)(Batch(x, there, graph))
            rows = slice(count, count + new) if level == "node" else slice(None)
            said = dict(prediction=output.prediction[rows].astype(jnp.float32))
            if output.uncertainty is not None:
                said["uncertainty"] = output.uncertainty[rows].astype(jnp.float32)
            return said

        return jax.lax.map(one, (states, own))

    return program, names


def _graph(data: Dataset | None, names: Sequence[str], given: Mapping[str, Any], nodes: int) -> Graph | None:
    if not names:
        return None
    made = {}
    for name in dict.fromkeys(names):
        own = dict(given["edges"][name])
        old = None if data is None else data.graphs[name]
        made[name] = joined(old, own.pop("senders"), own.pop("receivers"), own, nodes, given.get("sizes"))
    return dataclasses.replace(made[names[0]], views=tuple(made[name] for name in names[1:]))


def _filled(x: jax.Array, fill: jax.Array, scale: str) -> jax.Array:
    """Rows scaled where they are, then single values that are missing filled, as `training.prepare` does it."""
    missing = jnp.isnan(x)
    if scale == "row":
        total = jnp.abs(jnp.where(missing, 0, x)).sum(1, keepdims=True)
        x = jnp.where(total > 0, x / jnp.where(total > 0, total, 1), x)
    return jnp.where(missing, fill, x)


def _arguments(kit: Any, cell: Restored, names: Sequence[str], nodes: int | None, edges: int | None) -> dict[str, Any]:
    """Shapes and dtypes of what the program takes."""
    n, e, g = kit.symbolic_shape("n, e, g")
    n, e = n if nodes is None else nodes, e if edges is None else edges
    features = cell.prepared.batch.features
    shapes: dict[str, Any] = dict(
        x={name: jax.ShapeDtypeStruct((n, x.shape[1]), jnp.float32) for name, x in features.items()},
        mask=jax.ShapeDtypeStruct((n, len(features)), jnp.bool_),
    )
    if names:
        ends = dict.fromkeys(("senders", "receivers"), jax.ShapeDtypeStruct((e,), jnp.int32))
        shapes["edges"] = {
            name: ends
            | {
                key: jax.ShapeDtypeStruct((e, *np.shape(value)[1:]), jnp.asarray(value).dtype)
                for key, value in (cell.data.graphs[name].edges or {}).items()
            }
            for name in dict.fromkeys(names)
        }
    if cell.data.target.level == "graph":
        shapes["sizes"] = jax.ShapeDtypeStruct((g if nodes is None else nodes,), jnp.int32)
    return shapes


def custom_calls(text: str) -> set[str]:
    """The targets of the custom calls of a StableHLO module."""
    return set(re.findall(r'custom_call @"?([\w.$]+)', text)) | set(re.findall(r'call_target_name = "([^"]+)"', text))


def _check_plain(text: str) -> None:
    """Raises ValueError where a program calls what is no XLA operation."""
    if own := sorted(custom_calls(text) - set(PLAIN)):
        raise ValueError(
            f"the program calls {', '.join(own)}, which need not be there on other platforms and with other versions: "
            f"a mechanism of the cell uses an operation that is not plain XLA"
        )


def _described(tree: Any) -> Any:
    """Shapes and dtypes as JSON, in the form of the tree."""
    if isinstance(tree, Mapping):
        return {name: _described(value) for name, value in tree.items()}
    return [str(tree.dtype), str(tree.shape)]
