"""Message passing: the CSR product of `nn.segment.propagate` against a sorted `segment_sum`, forward and gradient.

    python -m experiments.bench_segment [--nodes=1797] [--degree=13] [--width=64] [--repeats=30]

Both run in turn in one process; read the ratio, not the milliseconds.
"""

from __future__ import annotations

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

from fusion_jax.graphs import Graph
from fusion_jax.nn.segment import propagate


def milliseconds(functions: dict, args: tuple, repeats: int) -> dict[str, float]:
    """Best of `repeats` interleaved runs of each compiled function."""
    compiled = {name: jax.jit(f) for name, f in functions.items()}
    best = dict.fromkeys(compiled, float("inf"))
    for _ in range(repeats + 1):  # the first round compiles
        for name, f in compiled.items():
            start = time.perf_counter()
            jax.block_until_ready(f(*args))
            best[name] = min(best[name], time.perf_counter() - start)
    return {name: 1e3 * seconds for name, seconds in best.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("nodes", 1797), ("degree", 13), ("width", 64), ("repeats", 30)):
        parser.add_argument(f"--{option}", type=int, default=default)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    edges = args.nodes * args.degree
    graph = Graph.create(rng.integers(0, args.nodes, edges), rng.integers(0, args.nodes, edges), args.nodes)
    weight = jnp.asarray(rng.random(edges), jnp.float32)
    x = jnp.asarray(rng.normal(size=(args.nodes, args.width)), jnp.float32)

    def scatter(x, weight):
        messages = weight[:, None] * x[graph.senders]
        return jax.ops.segment_sum(messages, graph.receivers, args.nodes, indices_are_sorted=True)

    def csr(x, weight):
        return propagate(x, graph, weight)

    def gradient(f):
        return jax.grad(lambda x, weight: (f(x, weight) ** 2).sum(), argnums=(0, 1))

    for name, wrap in (("forward", lambda f: f), ("gradient", gradient)):
        best = milliseconds({"segment_sum": wrap(scatter), "csr": wrap(csr)}, (x, weight), args.repeats)
        ratio = best["segment_sum"] / best["csr"]
        print(f"{name:<9} segment_sum {best['segment_sum']:.2f} ms, csr {best['csr']:.2f} ms, ratio {ratio:.1f}")


if __name__ == "__main__":
    main()
