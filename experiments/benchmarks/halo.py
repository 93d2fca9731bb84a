"""What it costs to share the nodes of one graph out over devices: bytes exchanged in a step, and memory of a device.

    python -m experiments.benchmarks.halo                                 # 100 000 nodes, 1 000 000 edges, 8 parts
    python -m experiments.benchmarks.halo --devices=4 --layer=gat --json=FILE

A step is the gradient of a training and one evaluation, of two graph layers on two fused modalities. Both figures are
the compiler's: bytes are those of every exchange in the compiled program, memory is its arguments and what it holds
beside them. The devices are the CPU's own, made for this, so that no time is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time
from typing import Any

import numpy as np

WIDTH, FEATURES, CLASSES = 64, 64, 8
KINDS = ("all-to-all", "all-gather", "reduce-scatter", "collective-permute", "all-reduce")
_LINE = re.compile(rf"= (.*?) ({'|'.join(KINDS)})(?:-start)?\(")
_SHAPE = re.compile(r"([a-z]+)(\d*)\[([\d,]*)\]")


def exchanged_bytes(program: str, devices: int) -> dict[str, int]:
    """{kind of exchange: bytes that a device receives in all of that kind}, of the text of a compiled program.

    The body of a loop counts once. Of what comes out of an exchange the device's own share is not counted; what is
    summed over devices counts once.
    """
    found = dict.fromkeys(KINDS, 0)
    for shapes, kind in _LINE.findall(program):
        for _, bits, sizes in _SHAPE.findall(shapes):
            found[kind] += int(np.prod([int(n) for n in sizes.split(",") if n])) * max(int(bits or 8) // 8, 1)
    return {k: n if k == "all-reduce" else n * (devices - 1) // devices for k, n in found.items()}


def random_edges(
    nodes: int, edges: int, communities: int, within: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Senders and receivers [E]: a share of them within communities of nodes side by side, all others anywhere."""
    rng = np.random.default_rng(seed)
    senders, anywhere = rng.integers(0, nodes, (2, edges))
    size = -(-nodes // communities)
    near = np.minimum(senders // size * size + rng.integers(0, size, edges), nodes - 1)
    order = rng.permutation(nodes)  # who belongs together does not stand in the order of the nodes
    return order[senders], order[np.where(rng.random(edges) < within, near, anywhere)]


def measured(kind: str, args: argparse.Namespace) -> dict[str, Any]:
    """Figures of one graph; needs as many devices as parts."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from fusion_jax.graphs import Graph
    from fusion_jax.model import Model
    from fusion_jax.nn.numbered import numbered
    from fusion_jax.plan import LayerPlan, Named
    from fusion_jax.records import Batch, Context, Target
    from fusion_jax.training.node_seats import node_seats
    from fusion_jax.training.parting import exchanged_rows

    within = dict(random=0.0, communities=0.9)[kind]
    senders, receivers = random_edges(args.nodes, args.edges, 64, within)
    graph = Graph.create(senders, receivers, args.nodes)
    rng = np.random.default_rng(1)
    features = {name: rng.normal(size=(args.nodes, FEATURES)).astype(np.float32) for name in "ab"}
    batch = Batch(features, np.ones((args.nodes, 2), bool), graph)
    target = Target("classes", labels=rng.integers(0, CLASSES, args.nodes).astype(np.int32), num_outputs=CLASSES)
    start = time.process_time()
    seats = node_seats(1, batch, args.devices)
    parted_seconds = time.process_time() - start
    layer, none = LayerPlan(args.layer, {}), Named("linear", {})
    plan = dict(encoder=none, fusion=Named("mean", {}), layer=layer, readout=Named("last", {}))
    model = Model(
        dict.fromkeys("ab", FEATURES), target, dim=WIDTH, placement="before", rate=0.5, rngs=nnx.Rngs(0), **plan
    )
    graphdef, params, rest = nnx.split(model, nnx.Param, ...)

    def step(params, rest, batch, labels, key):
        def loss(params):
            said = nnx.merge(graphdef, params, rest, copy=True)(batch, context=Context(key=key)).prediction
            rows = -jnp.take_along_axis(jax.nn.log_softmax(said), labels[:, None], 1)[:, 0]
            return jnp.where(labels >= 0, rows, 0).sum() / args.nodes

        with numbered(batch.graph):
            value, grads = jax.value_and_grad(loss)(params)
        params = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
        return value, params, nnx.merge(graphdef, params, rest, copy=True)(batch).prediction

    def compiled(batch, labels, everything):
        lowered = jax.jit(step).lower(*everything((params, rest)), batch, labels, everything(jax.random.key(0)))
        return lowered.compile()

    labels = np.where(seats.where.node.reshape(-1) < args.nodes, seats.where.of_rows(target.labels), -1)
    shared = seats.everywhere(batch)
    labels = jax.device_put(labels, shared.mask.sharding.update(spec=shared.graph.senders.sharding.spec))
    parted = compiled(shared, labels, seats.everywhere)
    whole = compiled(jax.tree.map(jnp.asarray, batch), jnp.asarray(target.labels), lambda tree: tree)
    part = seats.where.row // seats.where.node.shape[1]
    sent, least = exchanged_rows(shared.graph)
    return dict(
        graph=kind,
        nodes=args.nodes,
        edges=args.edges,
        devices=args.devices,
        layer=args.layer,
        cut_edges=int((part[senders] != part[receivers]).sum()),
        rows=int(seats.where.node.shape[1]),
        halo_rows=sent,
        halo_rows_needed=least,
        one_gather_rows=(args.devices - 1) * int(seats.where.node.shape[1]),
        exchanged_bytes=exchanged_bytes(parted.as_text(), args.devices),
        memory=_memory(parted),
        memory_of_one=_memory(whole),
        parted_seconds=parted_seconds,
    )


def _memory(program: Any) -> dict[str, int]:
    held = program.memory_analysis()
    return dict(arguments=held.argument_size_in_bytes, beside=held.temp_size_in_bytes)


def line(found: dict[str, Any]) -> str:
    """What was measured in a line of text."""
    moved = {kind: f"{count / 1e6:.2f} MB" for kind, count in found["exchanged_bytes"].items() if count}
    each, one = (sum(found[name].values()) / 1e6 for name in ("memory", "memory_of_one"))
    cut = found["cut_edges"] / found["edges"]
    return (
        f"{found['graph']:<12} {found['layer']}, {found['devices']} devices: {cut:.1%} of the edges cut; an exchange "
        f"brings a device {found['halo_rows']} rows ({found['halo_rows_needed']} needed, {found['one_gather_rows']} in "
        f"all); a step and a device {moved}; memory {each:.0f} MB of a device, {one:.0f} MB of one that has all; parts "
        f"made in {found['parted_seconds']:.1f} s"
    )


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=100_000)
    parser.add_argument("--edges", type=int, default=1_000_000)
    parser.add_argument("--devices", type=int, default=8)
    parser.add_argument("--layer", default="gcn")
    parser.add_argument("--json", type=pathlib.Path, help="the file for all raw numbers")
    args = parser.parse_args(given)
    for name in ("nodes", "edges", "devices"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}={getattr(args, name)}; expected at least 1")
    return args


def main() -> None:
    args = arguments()
    flag = f"--xla_force_host_platform_device_count={args.devices}"
    if flag not in os.environ.get("XLA_FLAGS", ""):  # has to stand there before JAX is imported
        env = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flag}", "JAX_PLATFORMS": "cpu"}
        sys.exit(
            subprocess.run([sys.executable, "-m", "experiments.benchmarks.halo", *sys.argv[1:]], env=env).returncode
        )
    found = []
    for kind in ("random", "communities"):
        found.append(measured(kind, args))
        print(line(found[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
