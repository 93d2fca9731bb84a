"""Dropout masks: the hash of `nn.dropout.keep_mask` against `jax.random.bernoulli`.

    python -m experiments.bench_dropout [--nodes=1797] [--modalities=4] [--width=32] [--repeats=30]

Both run in turn in one process; read the ratio, not the milliseconds.
"""

from __future__ import annotations

import argparse

import jax

from experiments.bench_segment import milliseconds
from fusion_jax.nn.dropout import keep_mask


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option, default in (("nodes", 1797), ("modalities", 4), ("width", 32), ("repeats", 30)):
        parser.add_argument(f"--{option}", type=int, default=default)
    args = parser.parse_args()
    shape = (args.nodes, args.modalities, args.width)
    functions = {
        "bernoulli": lambda key: jax.random.bernoulli(key, 0.5, shape),
        "hash": lambda key: keep_mask(key, 0.5, shape),
    }
    best = milliseconds(functions, (jax.random.key(0),), args.repeats)
    bernoulli, hashed = best["bernoulli"], best["hash"]
    print(f"bernoulli {bernoulli:.3f} ms, hash {hashed:.3f} ms, ratio {bernoulli / hashed:.1f}")


if __name__ == "__main__":
    main()
