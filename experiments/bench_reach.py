"""What it costs to look further than edges: time and memory of layers and fusions against the number of nodes.

    python -m experiments.bench_reach --out=/tmp/reach                          # 1k to 64k nodes, all that are there
    python -m experiments.bench_reach --out=/tmp/reach --nodes=1024,4096 --names=dense "layer gat" "fusion npt"
    python -m experiments.bench_reach --out=/tmp/reach --names="layer long_sequence_unified(mixer='linear')"

A point is one mechanism on one random geometric graph (nodes in the unit square, joined where they are near, eight
neighbours on average) with 4 heads of 64 features in all, forward and gradient of parameters and features in float32;
a fusion is given one modality. "dense" is attention that holds all its weights. What a name is of that is not in the
catalogue is left out, and said. Every point has a process of its own, and points that OUT/points.csv has are not
measured again.

- seconds: the best of some runs of the compiled program, `cpu_seconds` those of all cores together, which others on
  the machine change less. What a structure takes on the host is counted apart.
- megabytes: what the compiled program holds beside its arguments (XLA's own figure), which is known of programs too
  large to run, too: beyond --memory they are not run. `resident` is by how much the process grew, compiler included.

Writes OUT/points.csv, OUT/reach.md and OUT/reach.png: exponents are the slopes of log cost over log nodes, by least
squares over all sizes from --fit_from nodes on.

Recorded on one core of a CPU, --time=cpu_seconds, at 65,536 nodes (and exponents of time and memory from 4,096 on): gat
.53 s, 443 MB (1.38, 1.00); neighborhood_attention 1.0 s, 963 MB (1.03, 1.00); halonet 1.5 s, 1,408 MB (1.54, 1.35);
combiner 7.1 s, 2,373 MB (1.55, 1.42) and biformer 14.6 s, 4,573 MB (1.68, 1.44), of sqrt(N) parts;
long_sequence_unified 105 s, 186 MB (2.01, 1.00), its linear mixer .34 s, 189 MB (1.14, 1.00); primal_attention 2.8 s,
656 MB (1.09, .99). dense, graphgps, graphormer and npt hold N^2 weights, 17 to 22 GB at 16,384 nodes.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import io
import json
import os
import pathlib
import re
import resource
import subprocess
import sys
import time

import numpy as np
import pandas as pd

WIDTH, HEADS, DEGREE, CLASSES = 64, 4, 8, 4
NODES = (1024, 4096, 16384, 65536)
NAMES = (
    "dense",
    "layer gat",
    "layer neighborhood_attention",
    "layer halonet",
    "layer biformer",
    "layer combiner",
    "layer graphgps",
    "layer graphormer",
    "layer long_sequence_unified",
    "layer long_sequence_unified(mixer='linear')",
    "fusion long_sequence_unified",
    "fusion primal_attention",
    "fusion npt",
)
CLOCKS = {"seconds": "what passed", "cpu_seconds": "what the processor worked, on all cores together"}
COLUMNS = (
    "name",
    "nodes",
    "status",
    "seconds",
    "megabytes",
    "resident",
    "cpu_seconds",
    "compile_seconds",
    "host_seconds",
    "device",
)


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is measured: "dense", or "layer NAME" or "fusion NAME", with options in brackets.

    Raises:
        ValueError: a text of another form.
    """

    kind: str
    name: str
    options: dict

    @classmethod
    def of(cls, text: str) -> Subject:
        if text == "dense":
            return cls("dense", "", {})
        found = re.fullmatch(r"(layer|fusion) (\w+)(?:\((.*)\))?", text)
        if found is None:
            raise ValueError(f"{text!r}: expected 'dense', 'layer NAME' or 'fusion NAME', or NAME(option=value)")
        kind, name, options = found.groups()
        try:
            call = ast.parse(f"f({options or ''})", mode="eval").body
            given = {k.arg: ast.literal_eval(k.value) for k in call.keywords}
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"{text!r}: expected option=value in the brackets, values as Python has them") from error
        if call.args or None in given:
            raise ValueError(f"{text!r}: expected option=value in the brackets")
        return cls(kind, name, given)

    @property
    def there(self) -> bool:
        from fusion_jax import zoo

        return self.kind == "dense" or self.name in zoo.names(self.kind)


def geometric(nodes: int, degree: float = DEGREE, seed: int = 0) -> np.ndarray:
    """Edges int [2, E], both directions, of nodes in the unit square that are near; `degree` on average."""
    from scipy.spatial import cKDTree

    places = np.random.default_rng(seed).random((nodes, 2))
    pairs = cKDTree(places).query_pairs(np.sqrt(degree / (np.pi * nodes)), output_type="ndarray")
    return np.concatenate([pairs, pairs[:, ::-1]]).T


def built(subject: Subject):
    """The module, what it needs, and its call as a function (module, x [N, D], graph, context) -> [N, D]."""
    from flax import nnx

    from fusion_jax import zoo
    from fusion_jax.nn.attention import MultiHeadAttention
    from fusion_jax.records import needs_of

    def dense(module, x, graph, context):
        del graph, context
        return module(x)[0]

    def layer(module, x, graph, context):
        return module(x, graph, None, context)

    def fusion(module, x, graph, context):
        return module(x[:, None], np.ones((len(x), 1), bool), graph, context).out

    rngs = nnx.Rngs(0)
    if subject.kind == "dense":
        return MultiHeadAttention(WIDTH, HEADS, bias=False, out_bias=False, rngs=rngs), (), dense
    own, needs = zoo.options(subject.kind, subject.name), zoo.get(subject.kind, subject.name).info.needs
    told = {k: v for k, v in dict(outputs=CLASSES, targets=(CLASSES,)).items() if k in needs}
    sizes = (WIDTH,) if subject.kind == "layer" else (1, WIDTH)
    options = {**(dict(heads=HEADS) if "heads" in own else {}), **subject.options}
    module = zoo.make(subject.kind, subject.name, *sizes, options=options, rngs=rngs, **told)
    return module, needs_of(module), layer if subject.kind == "layer" else fusion


def context(nodes: int, needs: tuple[str, ...]):
    """What a mechanism may know: the classes of every second node, if it needs them."""
    import jax.numpy as jnp

    from fusion_jax.records import Context, Target

    train = jnp.arange(nodes) % 2 == 0
    labels = jnp.where(train, jnp.arange(nodes) // 2 % CLASSES, -1)
    return Context(target=Target("classes", labels=labels, num_outputs=CLASSES), train=train).told(needs)


def measure(text: str, nodes: int, memory: float, repeats: int) -> dict:
    """One point, in this process."""
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from fusion_jax.graphs import Graph
    from fusion_jax.structures.base import derive

    module, needs, call = built(Subject.of(text))
    graph, structures = Graph.create(*geometric(nodes), nodes), getattr(module, "structures", ())
    started = time.perf_counter()
    graph = derive([graph], structures, structures)[0] if structures else graph
    host, device = time.perf_counter() - started, jax.devices()[0].device_kind
    found = dict(name=text, nodes=nodes, host_seconds=host, device=device)
    x = jnp.asarray(np.random.default_rng(1).normal(size=(nodes, WIDTH)), jnp.float32)
    graphdef, params, rest = nnx.split(module, nnx.Param, ...)

    told = context(nodes, needs)

    def loss(params, x, graph):
        return (call(nnx.merge(graphdef, params, rest, copy=True), x, graph, told) ** 2).mean()

    before = grown()
    started = time.perf_counter()
    program = jax.jit(jax.value_and_grad(loss, (0, 1))).lower(params, x, graph).compile()
    found |= dict(compile_seconds=time.perf_counter() - started)
    said = program.memory_analysis()
    found |= dict(megabytes=(said.temp_size_in_bytes + said.output_size_in_bytes) / 1e6)
    if found["megabytes"] > 1e3 * memory:
        return found | dict(status="too large")
    seconds, used = [], []
    for _ in range(repeats + 1):  # the first touches memory for the first time
        started, cpu = time.perf_counter(), time.process_time()
        jax.block_until_ready(program(params, x, graph))
        seconds.append(time.perf_counter() - started)
        used.append(time.process_time() - cpu)
        if sum(seconds) > 120 and len(seconds) > 1:
            break
    best = dict(seconds=min(seconds[1:]), cpu_seconds=min(used[1:]))
    return found | best | dict(status="measured", resident=grown() - before)


def grown() -> float:
    """The most that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def point(name: str, nodes: int, args: argparse.Namespace) -> dict:
    """One point, in a process of its own; one that fails or takes too long says so in its status."""
    command = [sys.executable, "-m", "experiments.bench_reach", f"--memory={args.memory}", f"--repeats={args.repeats}"]
    command += [f"--cores={args.cores}", f"--one={json.dumps([name, nodes])}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired:
        return dict(name=name, nodes=nodes, status="too slow")
    if done.returncode:
        print(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"exit {done.returncode}")
        return dict(name=name, nodes=nodes, status="failed")
    return json.loads(done.stdout.strip().splitlines()[-1])


def read(path: pathlib.Path) -> pd.DataFrame:
    """The points of a file, the later one where there are two of a name and size; none of one that is not there.

    Half a line at the end, which a run that was ended or a copy that broke off has left, is no point.

    Raises:
        ValueError: a file with other columns.
    """
    text = path.read_text() if path.exists() else ""
    whole = text[: text.rfind("\n") + 1]
    if not whole.strip():
        return pd.DataFrame(columns=COLUMNS)
    points = pd.read_csv(io.StringIO(whole))
    if tuple(points.columns) != COLUMNS:
        raise ValueError(f"{path}: columns {', '.join(map(str, points.columns))}; expected {', '.join(COLUMNS)}")
    return points.drop_duplicates(["name", "nodes"], keep="last", ignore_index=True)


def save(points: pd.DataFrame, path: pathlib.Path):
    """Writes the file as a whole or not at all."""
    part = path.with_name(path.name + ".part")
    points.to_csv(part, index=False)
    part.replace(path)


def exponent(nodes, costs, fit_from: int = 0) -> float:
    """The slope of log cost over log nodes by least squares, over sizes from `fit_from` on; NaN of fewer than two."""
    nodes, costs = np.asarray(nodes, float), np.asarray(costs, float)
    used = (nodes >= fit_from) & np.isfinite(costs) & (costs > 0)
    if len(set(nodes[used])) < 2:
        return float("nan")
    return float(np.polyfit(np.log(nodes[used]), np.log(costs[used]), 1)[0])


def exponents(points: pd.DataFrame, fit_from: int) -> pd.DataFrame:
    """A row a name in the order of the points: exponents of seconds and megabytes."""
    rows = []
    for name, own in points.groupby("name", sort=False):
        fits = {cost: exponent(own.nodes, own[cost], fit_from) for cost in ("seconds", "megabytes")}
        rows.append(dict(name=name, **fits))
    return pd.DataFrame(rows, columns=["name", "seconds", "megabytes"])


def table(points: pd.DataFrame, fit_from: int) -> str:
    """Markdown: a row a name, "seconds / MB" at each number of nodes, exponents behind."""
    sizes = sorted(points.nodes.unique())
    fits = exponents(points, fit_from).set_index("name")
    lines = [
        "| mechanism | " + " | ".join(f"N = {n:,}" for n in sizes) + " | time ~ N^a | memory ~ N^b |",
        "|---|" + "---:|" * (len(sizes) + 2),
    ]
    for name, own in points.groupby("name", sort=False):
        own = own.set_index("nodes")
        cells = [_cell(own.loc[n]) if n in own.index else "" for n in sizes]
        cells += [f"{a:.2f}" if np.isfinite(a) else "" for a in fits.loc[name]]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(of: pd.Series) -> str:
    """Such as "0.12 s / 34 MB"; of one that was not run what is known, and why."""
    memory = f"{of.megabytes:,.0f} MB" if np.isfinite(of.megabytes) else ""
    if of.status == "measured":
        return f"{of.seconds:.3g} s / {memory}"
    return f"{of.status}: {memory}" if memory else of.status


def drawn(points: pd.DataFrame, fit_from: int):
    """Time and memory over nodes, both logarithmic; exponents are in the legend."""
    from fusion_jax.results.figures import COLOURS, DASHES, MARKERS, new_figure

    figure, axes = new_figure(10, 4.2, 1, 2)
    fits = exponents(points, fit_from).set_index("name")
    for ax, cost, label in zip(axes[0], ("seconds", "megabytes"), ("seconds", "MB"), strict=True):
        for i, (name, own) in enumerate(points.groupby("name", sort=False)):
            own = own.sort_values("nodes")
            turn = i // len(COLOURS)  # a second round has other markers and dashes to the same colours
            style = dict(color=COLOURS[i % len(COLOURS)], marker=MARKERS[(i + 3 * turn) % len(MARKERS)], ms=4, lw=1.4)
            dashes = DASHES[(i + 2 * turn) % len(DASHES)]
            powers = ", ".join(f"{a:.1f}" if np.isfinite(a) else "?" for a in fits.loc[name])
            ax.plot(own.nodes, own[cost], ls=(0, dashes) if dashes else "-", label=f"{name} ({powers})", **style)
        ax.set(xscale="log", yscale="log", xlabel="nodes", ylabel=f"{label}, forward and gradient")
        ax.grid(alpha=0.3)
        sizes = sorted(points.nodes.unique())
        ax.set_xticks(sizes, [f"{n:,}" for n in sizes])
        ax.minorticks_off()
    handles, labels = axes[0, 0].get_legend_handles_labels()
    title = "(exponents of time, memory)"
    figure.legend(handles, labels, loc="outside right upper", fontsize=7, title=title, title_fontsize=7, frameon=False)
    return figure


def written(points: pd.DataFrame, out: pathlib.Path, fit_from: int, clock: str = "seconds") -> str:
    """Writes the points, the table and the figure, of the time that `clock` names; returns the table."""
    from etils import epath

    from fusion_jax.results.figures import save_figure

    save(points, out / "points.csv")
    points = points.assign(seconds=points[clock])
    text = f"{table(points, fit_from)}\nTime is {CLOCKS[clock]}.\n"
    (out / "reach.md").write_text(text)
    save_figure(epath.Path(out / "reach.png"), drawn(points, fit_from))
    return text


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="the folder that is written")
    parser.add_argument("--names", nargs="+", default=NAMES, help="what is measured, in order")
    parser.add_argument("--nodes", default=",".join(map(str, NODES)), help="numbers of nodes")
    parser.add_argument("--memory", type=float, default=8.0, help="GB beyond which a program is not run")
    parser.add_argument("--limit", type=float, default=3600.0, help="seconds after which a point is given up")
    parser.add_argument("--repeats", type=int, default=3, help="runs of which the best counts, behind a first one")
    parser.add_argument("--cores", type=int, default=0, help="how many cores are used (Linux); 0 for all")
    shown = "the time that is shown: cpu_seconds changes less beside other work on the machine"
    parser.add_argument("--time", choices=tuple(CLOCKS), default="seconds", help=shown)
    parser.add_argument("--fit_from", type=int, default=4096, help="the least number of nodes that exponents count")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args(given)
    if args.out is None and not args.one:
        parser.error("--out: the folder that is written")
    try:
        args.nodes = [int(n) for n in args.nodes.split(",")]
        for name in args.names:
            Subject.of(name)
    except ValueError as error:
        parser.error(str(error))
    if min(args.nodes) < 2:
        parser.error(f"--nodes: {min(args.nodes)}; expected at least 2")
    return args


def main():
    args = arguments()
    if args.one:
        if args.cores:
            os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
        print(json.dumps(measure(*json.loads(args.one), args.memory, args.repeats)))
        return
    held = args.out / "points.csv"
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        points = read(held)
        save(points, held)  # what cannot be written is known before anything is measured
    except (OSError, ValueError) as error:
        sys.exit(f"bench_reach: {error}")
    for name in args.names:
        if not Subject.of(name).there:
            print(f"{name}: not in the catalogue, left out")
            continue
        for nodes in args.nodes:
            if ((points.name == name) & (points.nodes == nodes)).any():
                continue
            new = pd.DataFrame([point(name, nodes, args)]).reindex(columns=COLUMNS)
            points = new if points.empty else pd.concat([points, new], ignore_index=True)
            print(points.iloc[-1].to_dict(), flush=True)
            save(points, held)
    print(written(points, args.out, args.fit_from, args.time))


if __name__ == "__main__":
    main()
