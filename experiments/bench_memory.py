"""Memory of training on sampled neighbourhoods: what it holds at N nodes and E edges, and how straight a line that is.

    python -m experiments.bench_memory                                 # .1M to 2M nodes, minutes
    python -m experiments.bench_memory --sizes=20000x10,40000x10,40000x20,80000x5 --json=FILE

A size is nodes x edges a node. Each runs in a process of its own: a graph and two modalities are made from a seed, then
prepared as a study does, then trained for some epochs in batches, with an exact evaluation of all nodes after each. Of
each part the most memory that the process has held is taken (Linux), and bytes = a + b N + c E is fitted to the sizes
by least squares of relative errors. What it means for graphs that no single device holds: `benchmarks/SCALE.md`.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import subprocess
import sys
import time
from typing import Any

import numpy as np

SIZES = "100000x10,500000x5,500000x10,500000x20,1000000x10,2000000x10"
PARTS = ("data", "prepared", "preparing", "training")
SAID = {
    "data": "the data set, held",
    "prepared": "with what is prepared, held",
    "preparing": "most while it is prepared",
    "training": "most while it trains and evaluates",
}


def measured(nodes: int, edges: int, args: argparse.Namespace) -> dict[str, Any]:
    """One size in this process: bytes of every part beyond what was held before, seconds, steps."""
    from fusion_jax import study
    from fusion_jax.data import splits
    from fusion_jax.data.base import Dataset, Provenance, edge_set
    from fusion_jax.records import Target
    from fusion_jax.run.model import train_model
    from fusion_jax.study import defaults
    from fusion_jax.training.compilation import own_settings
    from fusion_jax.training.prepare import prepare

    from .benchmarks.timing import peak_mb, settle

    rng = np.random.default_rng(0)
    start = settle()
    labels = rng.integers(0, args.classes, nodes, dtype=np.int32)
    centre = rng.standard_normal((args.classes, args.width), dtype=np.float32)
    features = {
        name: rng.standard_normal((nodes, args.width), dtype=np.float32) + 0.1 * centre[labels] for name in ("a", "b")
    }
    ids = rng.integers(0, nodes, (2, edges), dtype=np.int32)
    data = Dataset(
        name="made",
        features=features,
        mask=np.ones((nodes, 2), bool),
        graphs={"made": edge_set(*ids, nodes)},
        target=Target("classes", labels=labels, num_outputs=args.classes),
        splits=splits.fractions(labels, args.rows / nodes, args.rows / nodes),
        provenance=Provenance("made from a seed", "none"),
        default_graph="made",
    )
    del ids
    config = defaults.get_config()
    for key, value in {
        "model.dim": args.dim,
        "model.layer.name": args.layer,
        "training.epochs": args.epochs,
        "training.batch": args.batch,
        "training.fanout": tuple(args.fanout),
    }.items():
        study.set_key(config, key, value)
    plan = study.resolve(config).plan
    held = settle()
    with own_settings():
        begun = time.perf_counter()
        ready = prepare(plan.data, data, (0,), **plan.preparing)
        seconds = dict(prepare=time.perf_counter() - begun)
        preparing, prepared = peak_mb(), settle()
        trained = train_model(plan, data, ready)
        training = peak_mb()
    seconds |= dict(compile=trained.cost["compile_seconds"], train=trained.cost["train_seconds"])
    parts = dict(data=held - start, prepared=prepared - start, preparing=preparing - start, training=training - start)
    score = float(np.nanmax(trained.history["val_score"]))
    return dict(nodes=nodes, edges=edges, score=score, seconds=seconds, bytes={k: 1e6 * v for k, v in parts.items()})


def line(nodes: np.ndarray, edges: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """a, b, c of held = a + b nodes + c edges by least squares of relative errors, and the largest relative error.

    Raises:
        ValueError: fewer than three sizes, or sizes that do not tell nodes from edges.
    """
    terms = np.stack([np.ones(len(nodes)), nodes, edges], 1)
    if np.linalg.matrix_rank(terms / terms.max(0)) < 3:
        raise ValueError("--sizes: expected at least three, of several numbers of nodes and of edges a node")
    found = np.linalg.lstsq(terms / held[:, None], np.ones(len(held)), rcond=None)[0]
    error = np.abs(terms @ found / held - 1).max()
    return dict(fixed=float(found[0]), node=float(found[1]), edge=float(found[2]), error=float(error))


def table(found: list[dict[str, Any]], fits: dict[str, dict[str, float]]) -> str:
    """Markdown: a row a size, then the line of every part."""
    lines = ["| nodes | edges | " + " | ".join(f"{part}, GB" for part in PARTS) + " | epoch, s |", "|---:" * 7 + "|"]
    for one in found:
        held = " | ".join(f"{one['bytes'][part] / 1e9:.2f}" for part in PARTS)
        lines.append(f"| {one['nodes']:,} | {one['edges']:,} | {held} | {one['epoch']:.1f} |")
    lines += [
        "",
        "| | bytes a node | bytes an edge | fixed, MB | largest error of the line |",
        "|---|---:|---:|---:|---:|",
    ]
    for part, fit in fits.items():
        lines.append(
            f"| {part}: {SAID[part]} | {fit['node']:.0f} | {fit['edge']:.0f} | {fit['fixed'] / 1e6:.0f} "
            f"| {fit['error']:.1%} |"
        )
    return "\n".join(lines)


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line; what is wrong with it ends the program."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default=SIZES, help="nodes x edges a node, separated by commas")
    for option, default, what in (
        ("width", 32, "of each of the two modalities"),
        ("dim", 64, "of encoders and graph layers"),
        ("classes", 10, "of the target"),
        ("rows", 8192, "labelled rows to train on, and as many to validate on"),
        ("batch", 1024, "rows a step"),
        ("epochs", 2, "each with an evaluation of all nodes"),
    ):
        parser.add_argument(f"--{option}", type=int, default=default, help=what)
    parser.add_argument("--layer", default="sage", help="graph layer")
    parser.add_argument("--fanout", type=lambda text: [int(f) for f in text.split(",")], default=[10, 10])
    parser.add_argument("--json", type=pathlib.Path, help="the file for all raw numbers")
    parser.add_argument("--one", default="", help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    try:
        pairs = [tuple(int(part) for part in size.split("x")) for size in (args.one or args.sizes).split(",")]
        args.pairs = [(nodes, nodes * degree) for nodes, degree in pairs]
        if not args.one:
            line(*np.array(args.pairs, float).T, np.ones(len(args.pairs)))
    except ValueError as error:
        parser.error(f"--sizes={args.sizes}: {error}")
    return args


def main() -> None:
    args = arguments()
    if args.one:
        print(json.dumps(measured(*args.pairs[0], args)))
        return
    found = []
    own = [a for a in sys.argv[1:] if not a.startswith(("--sizes", "--json"))]
    for nodes, edges in args.pairs:
        one = f"--one={nodes}x{edges // nodes}"
        done = subprocess.run(
            [sys.executable, "-m", "experiments.bench_memory", *own, one], capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(f"error: {nodes} nodes, {edges} edges: {(done.stderr.strip() or 'ended').splitlines()[-1]}")
        held = json.loads(done.stdout.splitlines()[-1])
        held["epoch"] = held["seconds"]["train"] / args.epochs
        found.append(held)
        print(json.dumps(held), file=sys.stderr, flush=True)
    nodes, edges = np.array(args.pairs, float).T
    fits = {part: line(nodes, edges, np.array([one["bytes"][part] for one in found])) for part in PARTS}
    print(table(found, fits))
    if args.json:
        args.json.write_text(json.dumps(dict(arguments=sys.argv[1:], sizes=found, lines=fits), indent=1))


if __name__ == "__main__":
    main()
